/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel says of a network interface of this namespace. */
#ifndef XDIVERT_NETDEV_H
#define XDIVERT_NETDEV_H

#include <stdbool.h>
#include <stdint.h>

/* In bytes, or -errno. */
int netdev_mtu(const char *ifname);
/* As ethtool -l tells; 1 where the driver does not. */
uint32_t netdev_rx_queues(const char *ifname);
/* Administratively up (IFF_UP). */
bool netdev_up(uint32_t ifindex);

#endif
