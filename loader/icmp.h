/* SPDX-License-Identifier: BSD-2-Clause */
/* "Fragmentation needed" and "packet too big". No input or output. */
#ifndef XDIVERT_ICMP_H
#define XDIVERT_ICMP_H

#include <stdbool.h>
#include <stdint.h>

/* What is kept of a packet as it came, to be quoted. */
#define ICMP_QUOTE 128
#define ICMP_MAX   (8 + ICMP_QUOTE)

/*
 * May an error answer the packet that begins with these bytes? Not another
 * error, a later fragment, nor what went to or came from many (RFC 1122
 * 3.2.2, RFC 1812 4.3.2.7, RFC 4443 2.4).
 */
bool icmp_may_answer(const uint8_t *data, uint32_t len);

/*
 * The message, without IP header, to the source of the packet that begins
 * with these bytes: RFC 1191 with its checksum, or RFC 4443 without, which
 * the kernel computes. Its length; out has room for ICMP_MAX.
 */
uint32_t icmp_too_big(const uint8_t *data, uint32_t len, uint32_t mtu,
		      uint8_t *out);

/* The kernel's defaults: icmp_msgs_per_sec, icmp_msgs_burst. */
#define ICMP_RATE  1000
#define ICMP_BURST 50

struct icmp_limit {
	uint64_t full; /* ns: when the bucket will be full */
};
bool icmp_allowed(struct icmp_limit *limit, uint64_t now);

#endif
