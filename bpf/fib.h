/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the FIB says of a packet that came in. It is asked once for the many
 * packets of a flow that come within some microseconds: not longer than a
 * packet may be under way between two CPUs, so nobody sees a route late.
 */
#ifndef XDV_FIB_H
#define XDV_FIB_H

#include "maps.h"
#include "parse.h"
#include <bpf/bpf_core_read.h>

#define FIB_BITS  6	/* of the hash of what is kept, a CPU */
#define FIB_FRESH 20000 /* ns */

struct fib_answer {
	struct bpf_fib_lookup asked;
	__u64 time;
	__u32 oif;
	__s32 rc;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << FIB_BITS);
	__type(key, __u32);
	__type(value, struct fib_answer);
} xdv_fib SEC(".maps");

static __always_inline struct fib_answer *
fib_answer_at(const struct bpf_fib_lookup *fib)
{
	__u32 hash = fib->ipv6_src[0] ^ fib->ipv6_src[3] ^ fib->ipv6_dst[0] ^
		     fib->ipv6_dst[3];

	hash = hash * 0x9e3779b1 >> (32 - FIB_BITS);
	return bpf_map_lookup_elem(&xdv_fib, &hash);
}

/* As bpf_fib_lookup() says; of the answer, *oif alone. */
static __always_inline long fib_ask(void *ctx, struct bpf_fib_lookup *fib,
				    __u64 now, __u32 *oif)
{
	struct fib_answer *a = fib_answer_at(fib);
	struct bpf_fib_lookup asked;
	long rc;

	if (a && same_question(fib, &a->asked) && now - a->time < FIB_FRESH) {
		*oif = a->oif;
		return a->rc;
	}
	asked = *fib;
	rc = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	*oif = fib->ifindex;
	if (!a)
		return rc;
	a->asked = asked;
	a->time = now;
	a->oif = *oif;
	a->rc = rc;
	return rc;
}

/* Packets with a mark may have routes of their own. Kernels before 6.10 know
 * nothing of marks here.
 */
static __always_inline long fib_ask_marked(void *ctx,
					   struct bpf_fib_lookup *fib,
					   __u32 mark, __u64 now, __u32 *oif)
{
	long rc;

	if (!mark || !bpf_core_field_exists(fib->mark))
		return fib_ask(ctx, fib, now, oif);
	fib->mark = mark;
	rc = bpf_fib_lookup(ctx, fib, sizeof(*fib), BPF_FIB_LOOKUP_MARK);
	*oif = fib->ifindex;
	return rc;
}

#endif
