/* SPDX-License-Identifier: GPL-2.0-only */
/* Options of IPv4, and hop-by-hop options of IPv6: whose business are they? */
#ifndef XDV_OPTIONS_H
#define XDV_OPTIONS_H

#include "fragments.h"

#define OPTIONS_MAX 64

enum options {
	OPTIONS_PLAIN,	/* none, or none that a router acts on */
	OPTIONS_ROUTER, /* the kernel records, routes or looks at them */
	OPTIONS_BAD,	/* the kernel drops such a packet */
};

/* IPv4: the end, no operation, record route, timestamp, loose and strict
 * source route, router alert.
 */
enum {
	IPOPT_EOL = 0,
	IPOPT_NOP = 1,
	IPOPT_RR = 7,
	IPOPT_TS = 68,
	IPOPT_LSRR = 131,
	IPOPT_SSRR = 137,
	IPOPT_RA = 148,
};

/* IPv6: the two kinds of padding. */
enum {
	HOPOPT_PAD1 = 0,
	HOPOPT_PADN = 1,
};

struct walk {
	__u8 bytes[OPTIONS_MAX];
	__u32 size, at;
	enum options found;
	bool v6;
	bool ended;
};

static __always_inline bool routers(const struct walk *w, __u8 type)
{
	if (w->v6)
		return type != HOPOPT_PADN;
	return type == IPOPT_RR || type == IPOPT_TS || type == IPOPT_LSRR ||
	       type == IPOPT_SSRR || type == IPOPT_RA;
}

/* One option. */
static long step(__u32 i, struct walk *w)
{
	__u32 at = w->at, len;
	__u8 type;

	if (at >= w->size)
		return 1;
	type = w->bytes[at & (OPTIONS_MAX - 1)];
	if (!w->ended && type == (w->v6 ? HOPOPT_PAD1 : IPOPT_NOP)) {
		w->at = at + 1;
		return 0;
	}
	/* The kernel clears what follows the end. */
	if (!w->v6 && (w->ended || type == IPOPT_EOL)) {
		if (type != IPOPT_EOL)
			w->found = OPTIONS_ROUTER;
		w->ended = true;
		w->at = at + 1;
		return 0;
	}
	len = w->bytes[(at + 1) & (OPTIONS_MAX - 1)];
	len += w->v6 ? 2 : 0;
	if (at + 1 >= w->size || len < 2 || at + len > w->size) {
		w->found = OPTIONS_BAD;
		return 1;
	}
	if (routers(w, type))
		w->found = OPTIONS_ROUTER;
	w->at = at + len;
	return 0;
}

static __always_inline enum options walk(void *from, void *end, struct walk *w)
{
	__u32 i;

#pragma unroll
	for (i = 0; i < OPTIONS_MAX; i += 2) {
		if (i >= w->size)
			break;
		if (from + i + 2 > end)
			return OPTIONS_BAD;
		*(__u16 *)(w->bytes + i) = *(__u16 *)(from + i);
	}
	bpf_loop(OPTIONS_MAX, step, w, 0);
	return w->found;
}

static __always_inline enum options options4(struct iphdr *ip, void *end)
{
	struct walk w = {};

	if ((void *)(ip + 1) > end)
		return OPTIONS_BAD;
	if (ip->ihl <= 5)
		return OPTIONS_PLAIN;
	w.size = (ip->ihl - 5) * 4;
	return walk(ip + 1, end, &w);
}

/* Only hop-by-hop options are for those on the way (RFC 8200 4.3). */
static __always_inline enum options options6(struct ipv6hdr *ip, void *end)
{
	__u8 *header = (void *)(ip + 1);
	struct walk w = {.v6 = true};
	__u32 size;

	if ((void *)header > end)
		return OPTIONS_BAD;
	if (ip->nexthdr != IPPROTO_HOPOPTS)
		return OPTIONS_PLAIN;
	if ((void *)(header + 2) > end)
		return OPTIONS_BAD;
	size = (header[1] + 1) * 8;
	if (size > bpf_ntohs(ip->payload_len))
		return OPTIONS_BAD;
	if (size > OPTIONS_MAX)
		return OPTIONS_ROUTER;
	w.size = size - 2;
	return walk(header + 2, end, &w);
}

static __always_inline enum options options_of(void *l3, void *end)
{
	if (l3 + 1 > end)
		return OPTIONS_BAD;
	return *(__u8 *)l3 >> 4 == 4 ? options4(l3, end) : options6(l3, end);
}

#endif
