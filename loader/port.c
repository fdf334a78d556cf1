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
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include "netlink.h"
#include "port.h"

static void *new_netns(void *arg)
{
	int *fd = arg;

	*fd = unshare(CLONE_NEWNET)
		      ? -errno
		      : open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return NULL;
}

/* The thread lives only as long as it takes; the descriptor keeps the rest. */
static int make_netns(void)
{
	pthread_t thread;
	int fd = -1, rc = pthread_create(&thread, NULL, new_netns, &fd);

	if (rc)
		return -rc;
	pthread_join(thread, NULL);
	return fd == -1 ? -errno : fd;
}

static void put_veth(struct nlmsghdr *nlh, const char *name, int netns)
{
	struct nlattr *info, *data, *peer;

	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "peer");
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, netns);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
}

static int create_veth(const char *name, int netns)
{
	char buffer[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);

	nlh->nlmsg_type = RTM_NEWLINK;
	nlh->nlmsg_flags =
		NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	put_veth(nlh, name, netns);
	return netlink_request(nlh);
}

/* The first name that is free; the namespace goes if there is none. */
static int open_pair(struct port *port)
{
	char name[IFNAMSIZ];
	int rc, i;

	port->netns = make_netns();
	if (port->netns < 0)
		return port->netns;
	for (i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "xdv%d", i);
		rc = create_veth(name, port->netns);
		if (rc != -EEXIST)
			break;
	}
	if (!rc)
		port->ifindex = if_nametoindex(name);
	return rc;
}

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
	return 0;
}

int port_open_pair(struct port *port)
{
	int rc;

	*port = (struct port){.tap = -1, .netns = -1};
	rc = open_pair(port);
	if (rc)
		port_close(port);
	return rc;
}

int port_open(struct port *port)
{
	*port = (struct port){.tap = -1, .netns = -1};
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

static void delete_link(int ifindex)
{
	char buffer[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *ifm;

	nlh->nlmsg_type = RTM_DELLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	ifm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifm));
	ifm->ifi_index = ifindex;
	netlink_request(nlh);
}

/*
 * By its far end: the near one's ifindex means nothing in this thread's
 * namespace, which may be another one.
 */
static void delete_pair(int netns)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home >= 0 && !setns(netns, CLONE_NEWNET)) {
		delete_link(if_nametoindex("peer"));
		setns(home, CLONE_NEWNET);
	}
	if (home >= 0)
		close(home);
}

void port_close(struct port *port)
{
	if (port->tap >= 0)
		close(port->tap);
	/* Closing alone would do for the pair, but some time later. */
	else if (port->ifindex > 0)
		delete_pair(port->netns);
	if (port->netns >= 0)
		close(port->netns);
	*port = (struct port){.tap = -1, .netns = -1};
}
