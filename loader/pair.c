// SPDX-License-Identifier: BSD-2-Clause
/*
 * A veth pair with its far end in a network namespace that nobody else can
 * see and that this process alone keeps alive: when the process ends, however
 * it ends, the kernel removes the namespace and with it both devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include "compartment.h"
#include "netdev.h"
#include "netlink.h"
#include "pair.h"
#include "steer.h"

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
	mnl_attr_put_strz(nlh, IFLA_IFNAME, PAIR_FAR);
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, netns);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
}

static int create_veth(const char *name, int netns)
{
	char buffer[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh =
		netlink_link(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);

	put_veth(nlh, name, netns);
	return netlink_request(nlh);
}

int pair_open(struct pair *pair)
{
	char name[IFNAMSIZ];
	int rc, i;

	pair->ifindex = 0;
	pair->netns = make_netns();
	if (pair->netns < 0)
		return pair->netns;
	for (i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "xdv%d", i);
		rc = create_veth(name, pair->netns);
		if (rc != -EEXIST)
			break;
	}
	if (!rc) {
		pair->ifindex = if_nametoindex(name);
		rc = steer_nowhere(name);
	}
	if (rc)
		pair_close(pair);
	return rc;
}

static void delete_link(int ifindex)
{
	char buffer[MNL_SOCKET_BUFFER_SIZE];

	netlink_request(netlink_link(buffer, RTM_DELLINK, 0, ifindex));
}

/*
 * By its far end: the near one's ifindex means nothing in this thread's
 * namespace, which may be another one.
 */
static void delete_veth(const struct pair *pair)
{
	int home = netns_enter(pair->netns);

	if (home < 0)
		return;
	delete_link(if_nametoindex(PAIR_FAR));
	netns_leave(home);
}

/* The kernel shall not talk on a device of ours. */
static void keep_quiet(const char *ifname)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6",
		 ifname);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, "1", 1);
	close(fd);
}

int pair_bring_up(const char *ifname, int mtu)
{
	int rc = netdev_set_mtu(ifname, mtu);

	keep_quiet(ifname);
	return rc ? rc : netdev_set_up(ifname);
}

void pair_close(struct pair *pair)
{
	/* Closing alone would do, but some time later. */
	if (pair->ifindex > 0)
		delete_veth(pair);
	if (pair->netns >= 0)
		close(pair->netns);
	pair->ifindex = 0;
	pair->netns = -1;
}
