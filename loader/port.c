// SPDX-License-Identifier: BSD-2-Clause
/*
 * The port is a tap: the kernel runs the XDP program of a tap within write(2),
 * sends where that redirects, and flushes, before it returns. Nobody but us
 * can write to it, so the program sees no packet that is not ours. Where the
 * kernel has no tap, a veth pair keeps the program in the XDP dispatcher. Its
 * far end is in a network namespace that nobody else can see. Either way the
 * devices go with the process that made them, however it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "port.h"
#include "steer.h"

/*
 * The kernel runs XDP within write() for descriptors that do not block. It
 * does so while the device is down, so down it stays: no addresses, no routes,
 * and no packets of the kernel's own.
 */
static int open_tap(struct port *port)
{
	struct ifreq ifr = {.ifr_name = "xdv%d",
			    .ifr_flags = IFF_TAP | IFF_NO_PI};

	port->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (port->tap < 0)
		return -errno;
	if (ioctl(port->tap, TUNSETIFF, &ifr))
		return -errno;
	port->ifindex = if_nametoindex(ifr.ifr_name);
	return steer_nowhere(ifr.ifr_name);
}

int port_open_pair(struct port *port)
{
	int rc;

	*port = PORT_NONE;
	rc = pair_open(&port->pair);
	port->ifindex = port->pair.ifindex;
	return rc;
}

int port_open(struct port *port)
{
	*port = PORT_NONE;
	if (!open_tap(port))
		return 0;
	port_close(port);
	return port_open_pair(port);
}

int port_send(const struct port *port, const uint8_t *packet, uint32_t len)
{
	static uint8_t header[14]; /* the program writes its own */
	struct iovec parts[] = {
		{.iov_base = header, .iov_len = sizeof(header)},
		{.iov_base = (void *)packet, .iov_len = len},
	};

	return writev(port->tap, parts, 2) < 0 ? -errno : 0;
}

void port_close(struct port *port)
{
	if (port->tap >= 0)
		close(port->tap);
	pair_close(&port->pair);
	*port = PORT_NONE;
}
