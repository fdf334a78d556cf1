/* SPDX-License-Identifier: BSD-2-Clause */
/* Checksums of whole packets. */
#ifndef XDIVERT_CHECKSUM_H
#define XDIVERT_CHECKSUM_H

#include <xdivert.h>

/* The one's complement sum of a TCP/UDP/ICMPv6 pseudo header, not inverted. */
uint32_t csum_pseudo(const uint8_t *ip, const struct xdivert_headers *h,
		     uint32_t len);
uint32_t csum_add(uint32_t sum, const void *data, uint32_t len);
uint16_t csum_fold(uint32_t sum);
/* Compute and store the transport checksum; UDP over IPv4 with 0 stays 0. */
void csum_transport(uint8_t *ip, uint32_t len, const struct xdivert_headers *h);
void csum_ipv4(uint8_t *ip);
/*
 * Before len bytes at `at` become those at `to`: adjust the transport checksum
 * that covers them, if there is one. Right for fragments too, and a checksum
 * that was wrong stays wrong.
 */
void csum_edit(uint8_t *ip, const struct xdivert_headers *h, const uint8_t *at,
	       const uint8_t *to, uint32_t len);
/*
 * A sender on a veth leaves checksums to "hardware" (CHECKSUM_PARTIAL): the
 * field then holds the bare pseudo header sum. Complete such a checksum, of the
 * packet or of one that it carries as a tunnel.
 */
void csum_complete(uint8_t *ip, uint32_t len, const struct xdivert_headers *h);

#endif
