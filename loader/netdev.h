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
/* The Ethernet address; zeroes for a device without one. -ENODEV. */
int netdev_mac(uint32_t ifindex, uint8_t mac[6]);
/* Administratively up (IFF_UP). */
bool netdev_up(uint32_t ifindex);
/* ARPHRD_..., or -errno. */
int netdev_type(const char *ifname);

int netdev_set_mtu(const char *ifname, int mtu);
int netdev_set_up(const char *ifname);
/* Neither checksums nor VLAN tags are left to the device. */
int netdev_no_tx_offloads(const char *ifname);

#endif
