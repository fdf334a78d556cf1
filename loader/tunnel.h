/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets in packets. */
#ifndef XDIVERT_TUNNEL_H
#define XDIVERT_TUNNEL_H

#include <stdint.h>

/*
 * Where the IP packet begins that a tunnel carries in this one (IP in IP, GRE
 * without checksums, VXLAN, Geneve, each at its usual port); 0: none that we
 * know. The packet is one that xdivert_parse() accepts, and no fragment.
 */
uint32_t tunnel_inner(const uint8_t *ip, uint32_t len);

#endif
