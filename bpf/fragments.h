/* SPDX-License-Identifier: GPL-2.0-only */
/* IP fragments, as far as a hook must know them. */
#ifndef XDV_FRAGMENTS_H
#define XDV_FRAGMENTS_H

#include "parse.h"

#define IP_MF		 0x2000
#define IP_OFFSET	 0x1fff
#define IPPROTO_HOPOPTS	 0
#define IPPROTO_ROUTING	 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS	 60
/* Headers that may stand before an IPv6 fragment header, and more. */
#define FRAGMENT_DEPTH	 5

struct piece {
	__u32 offset; /* bytes */
	__u32 len;    /* of the payload */
	bool more;
};

static __always_inline bool piece4(const struct iphdr *ip, void *end,
				   struct piece *p)
{
	__u16 bits;

	if ((void *)(ip + 1) > end)
		return false;
	bits = bpf_ntohs(ip->frag_off);
	if (!(bits & (IP_MF | IP_OFFSET)))
		return false;
	p->offset = (bits & IP_OFFSET) * 8;
	p->len = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
	p->more = bits & IP_MF;
	return true;
}

static __always_inline bool piece6(const struct ipv6hdr *ip, void *end,
				   struct piece *p)
{
	void *at = (void *)(ip + 1);
	__u32 front = 8, size; /* before the payload */
	__u16 bits;
	__u8 next;
	int i;

	if (at > end)
		return false;
	next = ip->nexthdr;
	for (i = 0; i < FRAGMENT_DEPTH; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_DSTOPTS)
			break;
		if (at + 8 > end)
			return false;
		next = *(__u8 *)at;
		size = (*(__u8 *)(at + 1) + 1) * 8;
		front += size;
		at += size;
	}
	if (next != IPPROTO_FRAGMENT || at + 8 > end)
		return false;
	bits = bpf_ntohs(*(__be16 *)(at + 2));
	p->offset = bits & 0xfff8;
	p->more = bits & 1;
	size = bpf_ntohs(ip->payload_len);
	p->len = size > front ? size - front : 0;
	return true;
}

/* Is the IP packet at l3 a fragment? Atomic ones (RFC 6946) are. */
static __always_inline bool piece_of(void *l3, void *end, struct piece *p)
{
	if (l3 + 1 > end)
		return false;
	if (*(__u8 *)l3 >> 4 == 4)
		return piece4(l3, end, p);
	return piece6(l3, end, p);
}

/* One that no datagram can have (RFC 791, RFC 8200 4.5) is the kernel's. */
static __always_inline bool bad_fragment(void *l3, void *end)
{
	struct piece p = {};

	if (!piece_of(l3, end, &p))
		return false;
	return !p.len || (p.more && p.len & 7) || p.offset + p.len > 65535;
}

#endif
