/* SPDX-License-Identifier: BSD-2-Clause */
/* What IP headers say, at any address. */
#ifndef XDIVERT_IP_H
#define XDIVERT_IP_H

#include <netinet/in.h>
#include <stdbool.h>

#include "bytes.h"

/* The packet's length as it says itself; 0: there is no header. */
static inline uint32_t ip_claims(const uint8_t *ip, uint32_t len)
{
	if (len >= 20 && ip[0] >> 4 == 4)
		return be16(ip + 2);
	if (len >= 40 && ip[0] >> 4 == 6)
		return 40 + be16(ip + 4);
	return 0;
}

/*
 * Walk the headers of IPv6 that may stand before a fragment header. *at and
 * *field: the first other one, and the byte that names it. false: cut short.
 */
static inline bool ip6_walk(const uint8_t *ip, uint32_t len, uint32_t *at,
			    uint32_t *field)
{
	*at = 40;
	*field = 6;
	while (ip[*field] == IPPROTO_HOPOPTS || ip[*field] == IPPROTO_ROUTING ||
	       ip[*field] == IPPROTO_DSTOPTS) {
		if (*at + 8 > len)
			return false;
		*field = *at;
		*at += (ip[*at + 1] + 1) * 8;
	}
	return *at <= len;
}

#endif
