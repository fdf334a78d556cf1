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
extern struct xdv_lane xdv_lanes[XDV_LANES];
extern struct xdv_hop xdv_hops[XDV_HOPS];
extern __u64 xdv_cut[XDV_CUTS];
extern __u32 xdv_seed;

static __always_inline struct xdv_desc *desc_at(__u32 position)
{
	__u32 slot = xdv_slots[position & (XDV_INFLIGHT - 1)];

	return bpf_map_lookup_elem(&xdv_inflight, &slot);
}

/* A memory of injections, for all handles of the host; user space keeps it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_INJECTED_ELEMENTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_injected);
} xdv_injected XDV_SHARED;

/* Where an injection counts; other compartments share the common row. */
static __always_inline struct xdv_stats *target_stats(struct xdv_desc *desc)
{
	if (desc->flags & XDV_DESC_PART)
		return NULL;
	return stats_of(desc->compartment ? 0 : desc->ifindex);
}

/* Once, however often it comes by. What is sent counts with its flush. */
static __always_inline void count_injected(struct xdv_desc *desc,
					   struct xdv_stats *stats)
{
	if (stats && !(desc->flags & XDV_DESC_COUNTED))
		__sync_fetch_and_add(&stats->injected, 1);
	desc->flags |= XDV_DESC_COUNTED;
}

/* Into the history. Nobody may take it for a record while it is written. */
static __always_inline void record(struct xdv_completion *c, __u64 seq)
{
	__u32 key = (seq - 1) & (XDV_RECENT - 1);
	struct xdv_completion *place = bpf_map_lookup_elem(&xdv_recent, &key);

	if (place) {
		__sync_lock_test_and_set(&place->seq, 0);
		__builtin_memcpy(place, c, sizeof(*c));
		__sync_lock_test_and_set(&place->seq, seq);
	}
	c->seq = seq;
}

/* Write the one completion of desc. */
static __always_inline void complete(struct xdv_desc *desc, __s32 status,
				     __u32 reason, __u64 wakeup)
{
	struct xdv_stats *stats = target_stats(desc);
	struct xdv_completion *c;
	struct xdv_control *control;
	__u32 key = 0;

	desc->state = XDV_DESC_DONE;
	count_injected(desc, stats);
	/* What the stack had may complete in the midst of another's. */
	if (stats && status)
		__sync_fetch_and_add(&stats->failed, 1);
	else if (stats)
		__sync_fetch_and_add(&stats->completed, 1);
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
	if (status == -EHOSTUNREACH) {
		c->family = desc->family;
		__builtin_memcpy(c->nexthop, desc->nexthop, sizeof(c->nexthop));
	}
	if (reason == XDV_REASON_FIB_FRAG_NEEDED)
		c->mtu = desc->mtu;
	control = desc->flags & XDV_DESC_PART
			  ? NULL
			  : bpf_map_lookup_elem(&xdv_control, &key);
	if (control)
		record(c, __sync_fetch_and_add(&control->completions, 1) + 1);
	bpf_ringbuf_submit(c, wakeup);
}

static __always_inline __u32 hash_of(__u32 hash, const __u32 *words)
{
	int i;

	for (i = 0; i < 4; i++) {
		hash = (hash ^ words[i]) * 0x9e3779b1;
		hash ^= hash >> 15;
	}
	return hash;
}

static __always_inline __u16 lane_between(const __u32 *from, const __u32 *to)
{
	return hash_of(hash_of(xdv_seed, from), to) & (XDV_LANES - 1);
}

static __always_inline __u16 hop_to(const struct xdv_desc *desc)
{
	return hash_of(xdv_seed ^ desc->ifindex, desc->nexthop) &
	       (XDV_HOPS - 1);
}

static __always_inline struct xdv_lane *lane_of(const struct xdv_desc *desc)
{
	return &xdv_lanes[desc->lane & (XDV_LANES - 1)];
}

static __always_inline struct xdv_hop *hop_of(const struct xdv_desc *desc)
{
	return &xdv_hops[desc->hop & (XDV_HOPS - 1)];
}

/* May it not leave yet? */
static __always_inline bool waits(const struct xdv_desc *desc)
{
	const struct xdv_lane *lane = lane_of(desc);

	return hop_of(desc)->asking || lane->asking ||
	       (lane->held && lane->held < desc->id);
}

/* User space puts it into the ring again when it is its turn. What follows in
 * its flow waits as well, be it on its way to the stack.
 */
static __always_inline void hold(struct xdv_desc *desc)
{
	struct xdv_lane *lane = lane_of(desc);

	count_injected(desc, target_stats(desc));
	desc->state = XDV_DESC_HELD;
	xdv_ring.held++;
	hop_of(desc)->held++;
	if (!lane->held || desc->id < lane->held)
		lane->held = desc->id;
}

static __always_inline void enter_stack(struct xdv_desc *desc)
{
	__sync_fetch_and_add(&lane_of(desc)->stacked, 1);
	__sync_fetch_and_add(&xdv_ring.in_stack, 1);
}

static __always_inline void begin_asking(struct xdv_desc *desc)
{
	desc->asking = 1;
	__sync_fetch_and_add(&lane_of(desc)->asking, 1);
	__sync_fetch_and_add(&hop_of(desc)->asking, 1);
}

/* true: it did. What is read then is newer: only an atomic whose result is used
 * orders that on every architecture.
 */
static __always_inline bool end_asking(struct xdv_desc *desc)
{
	return __sync_val_compare_and_swap(&desc->asking, 1, 0) == 1 &&
	       __sync_fetch_and_sub(&lane_of(desc)->asking, 1) &&
	       __sync_fetch_and_sub(&hop_of(desc)->asking, 1);
}

static __always_inline void leave_stack(struct xdv_desc *desc)
{
	__sync_fetch_and_sub(&lane_of(desc)->stacked, 1);
	__sync_fetch_and_sub(&xdv_ring.in_stack, 1);
	end_asking(desc);
}

#endif
