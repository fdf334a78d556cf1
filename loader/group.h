/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets to many. */
#ifndef XDIVERT_GROUP_H
#define XDIVERT_GROUP_H

#include "packet.h"

/* The Ethernet address that such a packet is received under (RFC 1112, RFC
 * 2464); false if it is for one host.
 */
bool group_mac_of(const struct xdivert_packet *p, uint8_t *mac);

#endif
