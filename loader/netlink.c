// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "netlink.h"

struct nlmsghdr *netlink_link(char *buffer, uint16_t type, uint16_t flags,
			      int ifindex)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *ifm;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	ifm = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifm));
	ifm->ifi_index = ifindex;
	return nlh;
}

int netlink_request(struct nlmsghdr *nlh)
{
	char reply[MNL_SOCKET_BUFFER_SIZE];
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	ssize_t n;
	int rc;

	if (!nl)
		return -errno;
	nlh->nlmsg_seq = 1;
	rc = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID);
	if (rc >= 0)
		rc = mnl_socket_sendto(nl, nlh, nlh->nlmsg_len);
	if (rc >= 0) {
		n = mnl_socket_recvfrom(nl, reply, sizeof(reply));
		rc = n < 0 ? -1
			   : mnl_cb_run(reply, n, 1, mnl_socket_get_portid(nl),
					NULL, NULL);
	}
	rc = rc < 0 ? -errno : 0;
	mnl_socket_close(nl);
	return rc;
}

int netlink_watch_links(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK,
				      .nl_groups = RTMGRP_LINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_ROUTE);
	int rc;

	if (fd < 0)
		return -errno;
	if (!bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* Overrun is news too: something changed. */
bool netlink_drain(int fd)
{
	char buffer[8192];
	bool any = false;

	while (recv(fd, buffer, sizeof(buffer), 0) >= 0 || errno == ENOBUFS)
		any = true;
	return any;
}
