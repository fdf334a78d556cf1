/* SPDX-License-Identifier: GPL-2.0-only */
/* What one injection handle owns: its UMEM, its ring, its completions. */
#ifndef XDV_HANDLE_H
#define XDV_HANDLE_H

#include "maps.h"
#include <asm-generic/errno.h>

struct xdv_frame {
	__u8 bytes[XDV_FRAME_SIZE];
};

/* AF_XDP receives into these, user space edits them, xdv_inject sends them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_FRAMES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_frame);
} xdv_umem XDV_SHARED;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_INFLIGHT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_desc);
} xdv_inflight XDV_SHARED;

/* Twice what can be in flight, so that a reservation never fails. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 65536);
} xdv_completions XDV_SHARED;
_Static_assert(XDV_INFLIGHT *(sizeof(struct xdv_completion) + 8) * 2 <=
		       4 * 65536,
	       "a completion record could be lost");

/* The ring's positions, and the slots that stand there. */
extern struct xdv_ring xdv_ring;
extern __u32 xdv_slots[XDV_INFLIGHT];

static __always_inline struct xdv_desc *desc_at(__u32 position)
{
	__u32 slot = xdv_slots[position & (XDV_INFLIGHT - 1)];

	return bpf_map_lookup_elem(&xdv_inflight, &slot);
}

/* A memory of injections, for all handles of the host; user space keeps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_INJECTED);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_injected);
} xdv_injected XDV_SHARED;

/* Where an injection counts; other compartments share the common row. */
static __always_inline struct xdv_stats *target_stats(struct xdv_desc *desc)
{
	return stats_of(desc->compartment ? 0 : desc->ifindex);
}

/* Write the one completion of desc. */
static __always_inline void complete(struct xdv_desc *desc, __s32 status,
				     __u32 reason,
				     const struct bpf_fib_lookup *fib)
{
	struct xdv_stats *stats = target_stats(desc);
	struct xdv_completion *c, *recent;
	struct xdv_control *control;
	__u32 key = 0;

	desc->state = XDV_DESC_DONE;
	if (stats && status)
		stats->failed++;
	else if (stats)
		stats->completed++;
	c = bpf_ringbuf_reserve(&xdv_completions, sizeof(*c), 0);
	if (!c)
		return; /* cannot be: see the size of xdv_completions */
	__builtin_memset(c, 0, sizeof(*c));
	c->id = desc->id;
	c->context = desc->context;
	c->submitted = desc->submitted;
	c->completed = bpf_ktime_get_ns();
	c->ifindex = desc->ifindex;
	c->compartment = desc->compartment;
	c->status = status;
	c->reason = reason;
	c->len = desc->len;
	c->slot = desc->slot;
	c->engine = desc->engine;
	if (fib) {
		c->family = fib->family;
		__builtin_memcpy(c->nexthop, fib->ipv6_dst, sizeof(c->nexthop));
	}
	control = bpf_map_lookup_elem(&xdv_control, &key);
	if (control) {
		c->seq = __sync_fetch_and_add(&control->completions, 1) + 1;
		key = (c->seq - 1) & (XDV_RECENT - 1);
		recent = bpf_map_lookup_elem(&xdv_recent, &key);
		if (recent)
			__builtin_memcpy(recent, c, sizeof(*c));
	}
	bpf_ringbuf_submit(c, BPF_RB_NO_WAKEUP);
}

#endif
