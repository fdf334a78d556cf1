/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last route that was looked up: what follows in the same kernel call goes
 * to the same place, as a rule. Until the call ends nothing is asked anew.
 */
#ifndef XDV_ROUTE_H
#define XDV_ROUTE_H

#include "handle.h"
#include "parse.h"

struct route {
	struct bpf_fib_lookup asked;
	__u32 batch;
	__u32 len; /* of a packet that did not exceed its MTU */
	__u32 nexthop[4];
	__u8 smac[ETH_ALEN];
	__u8 dmac[ETH_ALEN];
	__u8 family; /* of nexthop */
};

static struct route xdv_route;

/* fib holds what is asked about, and then the answer. */
static __always_inline long ask_route(struct xdp_md *ctx,
				      struct bpf_fib_lookup *fib, __u32 len)
{
	struct bpf_fib_lookup asked;
	long rc;

	if (xdv_route.batch == xdv_ring.batch && len <= xdv_route.len &&
	    same_question(fib, &xdv_route.asked)) {
		fib->family = xdv_route.family;
		__builtin_memcpy(fib->ipv6_dst, xdv_route.nexthop,
				 sizeof(fib->ipv6_dst));
		__builtin_memcpy(fib->smac, xdv_route.smac, ETH_ALEN);
		__builtin_memcpy(fib->dmac, xdv_route.dmac, ETH_ALEN);
		return BPF_FIB_LKUP_RET_SUCCESS;
	}
	asked = *fib;
	fib->tot_len = len;
	rc = bpf_fib_lookup(ctx, fib, sizeof(*fib), BPF_FIB_LOOKUP_OUTPUT);
	/* An answer from another interface is refused. */
	if (rc != BPF_FIB_LKUP_RET_SUCCESS || fib->ifindex != asked.ifindex)
		return rc;
	xdv_route.asked = asked;
	xdv_route.batch = xdv_ring.batch;
	xdv_route.len = len;
	xdv_route.family = fib->family;
	__builtin_memcpy(xdv_route.nexthop, fib->ipv6_dst,
			 sizeof(xdv_route.nexthop));
	__builtin_memcpy(xdv_route.smac, fib->smac, ETH_ALEN);
	__builtin_memcpy(xdv_route.dmac, fib->dmac, ETH_ALEN);
	return rc;
}

#endif
