/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The same job for each peer: DSCP EF, one hop less, and the addresses of the
 * next link.
 */
#ifndef BENCH_EDIT_H
#define BENCH_EDIT_H

#include "../net.h"

#define TOS_EF 0xb8

struct link_addresses {
	__u8 dst[6];
	__u8 src[6];
};

/* What a word of the header becomes, into its sum: RFC 1624. */
static __always_inline __u16 edit_sum(__u16 check, __u16 from, __u16 to)
{
	__u32 sum = (__u16)~check + (__u32)(__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

static __always_inline void edit_ip(struct iphdr *ip)
{
	word16 *words = (word16 *)ip;
	__u16 tos = words[0], ttl = words[4];

	ip->tos = TOS_EF;
	ip->ttl--;
	ip->check = edit_sum(edit_sum(ip->check, tos, words[0]), ttl, words[4]);
}

static __always_inline void edit_frame(void *frame,
				       const volatile struct link_addresses *to)
{
	/* dst and src follow each other in both. */
	word16 *words = frame;
	int i;

#pragma GCC unroll 6
	for (i = 0; i < 6; i++)
		words[i] = ((const volatile word16 *)to)[i];
	edit_ip(frame + sizeof(struct ethhdr));
}

#endif
