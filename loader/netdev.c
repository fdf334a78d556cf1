// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/sockios.h>

#include "netdev.h"

static int ask(const char *ifname, unsigned long request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", ifname);
	err = ioctl(fd, request, ifr) ? -errno : 0;
	close(fd);
	return err;
}

int netdev_mtu(const char *ifname)
{
	struct ifreq ifr = {0};
	int err = ask(ifname, SIOCGIFMTU, &ifr);

	return err ? err : ifr.ifr_mtu;
}

uint32_t netdev_rx_queues(const char *ifname)
{
	struct ethtool_channels ch = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq ifr = {.ifr_data = (void *)&ch};
	uint32_t n;

	if (ask(ifname, SIOCETHTOOL, &ifr))
		return 1;
	n = ch.rx_count > ch.combined_count ? ch.rx_count : ch.combined_count;
	return n ? n : 1;
}

int netdev_mac(uint32_t ifindex, uint8_t mac[6])
{
	struct ifreq ifr = {0};
	char name[IF_NAMESIZE];
	int err;

	if (!if_indextoname(ifindex, name))
		return -ENODEV;
	err = ask(name, SIOCGIFHWADDR, &ifr);
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	return err;
}

bool netdev_up(uint32_t ifindex)
{
	struct ifreq ifr = {0};
	char name[IF_NAMESIZE];

	return if_indextoname(ifindex, name) &&
	       !ask(name, SIOCGIFFLAGS, &ifr) && ifr.ifr_flags & IFF_UP;
}

int netdev_type(const char *ifname)
{
	struct ifreq ifr = {0};
	int err = ask(ifname, SIOCGIFHWADDR, &ifr);

	return err ? err : ifr.ifr_hwaddr.sa_family;
}

int netdev_set_mtu(const char *ifname, int mtu)
{
	struct ifreq ifr = {.ifr_mtu = mtu};

	return ask(ifname, SIOCSIFMTU, &ifr);
}

int netdev_set_up(const char *ifname)
{
	struct ifreq ifr = {0};
	int err = ask(ifname, SIOCGIFFLAGS, &ifr);

	if (err)
		return err;
	ifr.ifr_flags |= IFF_UP;
	return ask(ifname, SIOCSIFFLAGS, &ifr);
}

int netdev_no_tx_offloads(const char *ifname)
{
	struct ethtool_value value = {.cmd = ETHTOOL_STXCSUM};
	struct ifreq ifr = {.ifr_data = (void *)&value};
	int err = ask(ifname, SIOCETHTOOL, &ifr);

	value.cmd = ETHTOOL_GFLAGS;
	err = err ? err : ask(ifname, SIOCETHTOOL, &ifr);
	value.cmd = ETHTOOL_SFLAGS;
	value.data &= ~ETH_FLAG_TXVLAN;
	return err ? err : ask(ifname, SIOCETHTOOL, &ifr);
}
