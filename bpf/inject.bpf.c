// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a packet leaves: each run of xdv_inject takes the next descriptor of
 * the injection ring, turns its packet into a frame and redirects that to the
 * target interface. It runs over live frames (BPF_F_TEST_XDP_LIVE_FRAMES,
 * kernel 5.18): the kernel transmits what it makes, without an sk_buff.
 *
 * It is attached to the port (loader/port.c) too, whose frames have the packet
 * in them already: that is cheaper for a few. As long as it is attached, calls
 * with live frames do not wait for an RCU grace period.
 */
#include "handle.h"
#include "hits.h"
#include "parse.h"
#include "route.h"

/* User space moves the producer. */
struct xdv_ring xdv_ring;
__u32 xdv_slots[XDV_INFLIGHT];
struct xdv_lane xdv_lanes[XDV_LANES];
struct xdv_hop xdv_hops[XDV_HOPS];
__u64 xdv_cut[XDV_CUTS];
__u32 xdv_seed; /* random: nobody shall choose who shares a lane */

struct refusal {
	__s32 status;
	__u32 reason;
};

static __always_inline struct refusal refused(__s32 status, __u32 reason)
{
	return (struct refusal){status, reason};
}

static __always_inline struct refusal fib_refusal(long rc)
{
	switch (rc) {
	case BPF_FIB_LKUP_RET_BLACKHOLE:
		return refused(-ENETUNREACH, XDV_REASON_FIB_BLACKHOLE);
	case BPF_FIB_LKUP_RET_UNREACHABLE:
		return refused(-ENETUNREACH, XDV_REASON_FIB_UNREACHABLE);
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return refused(-EACCES, XDV_REASON_FIB_PROHIBIT);
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return refused(-ENETUNREACH, XDV_REASON_FIB_FWD_DISABLED);
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return refused(-EOPNOTSUPP, XDV_REASON_FIB_UNSUPP_LWT);
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return refused(-EHOSTUNREACH, XDV_REASON_FIB_NO_NEIGH);
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return refused(-EMSGSIZE, XDV_REASON_FIB_FRAG_NEEDED);
	case -ENODEV:
		return refused(rc, XDV_REASON_NO_DEVICE);
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		return refused(-ENETUNREACH, XDV_REASON_FIB_NOT_FWDED);
	}
	return refused(rc < 0 ? rc : -ENETUNREACH, XDV_REASON_FIB_NOT_FWDED);
}

/* Word by word, without a call; the last word may overlap the one before. */
static __always_inline bool write_short(struct xdp_md *ctx, const __u8 *from,
					__u32 len)
{
	__u8 *to = (void *)(long)ctx->data + ETH_HLEN;
	void *end = (void *)(long)ctx->data_end;
	__u32 i;

#pragma unroll
	for (i = 0; i < XDV_SHORT; i += 8) {
		if (len < i + 8)
			break;
		if ((void *)to + i + 8 > end)
			return false;
		*(__u64 *)(to + i) = *(const __u64 *)(from + i);
	}
	len -= 8;
	asm volatile("" : "+r"(len));
	if (len > XDV_SHORT || (void *)to + len + 8 > end)
		return false;
	*(__u64 *)(to + len) = *(const __u64 *)(from + len);
	return true;
}

/* Size a live frame and copy the packet behind room for an Ethernet header. */
static __always_inline int write_packet(struct xdp_md *ctx,
					const struct xdv_desc *desc)
{
	__u32 frame = desc->frame, offset = desc->offset, len = desc->len;
	__u8 *bytes;
	long size;

	if (desc->flags & XDV_DESC_BIG)
		len = XDV_BIG_HEAD;
	if (len < sizeof(struct iphdr) || len > XDV_PACKET_MAX)
		return -1;
	size = (long)ctx->data_end - (long)ctx->data;
	if (size != len + ETH_HLEN &&
	    bpf_xdp_adjust_tail(ctx, (int)(len + ETH_HLEN - size)))
		return -1;
	if (len <= XDV_SHORT)
		return write_short(ctx, desc->bytes, len) ? 0 : -1;
	bytes = bpf_map_lookup_elem(&xdv_umem, &frame);
	if (!bytes)
		return -1;
	/* The compiler must not derive the bounds anew. */
	asm volatile("" : "+r"(offset), "+r"(len));
	if (offset >= XDV_HEAD_MAX || len < 1 || len > XDV_PACKET_MAX)
		return -1;
	return bpf_xdp_store_bytes(ctx, ETH_HLEN, bytes + offset, len);
}

/* RFC 1624 for the word that holds TTL and protocol. */
static __always_inline void decrement_ttl4(struct iphdr *ip)
{
	__u32 check = ip->check;

	check += bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
}

static __always_inline void decrement_ttl(void *l3, void *end, __u8 family)
{
	struct ipv6hdr *ip6 = l3;
	struct iphdr *ip = l3;

	if (family == AF_INET && (void *)(ip + 1) <= end)
		decrement_ttl4(ip);
	else if (family == AF_INET6 && (void *)(ip6 + 1) <= end)
		ip6->hop_limit--;
}

/* Write the packet and read its header; -1 if it is not what desc says. */
static __always_inline int place(struct xdp_md *ctx,
				 const struct xdv_desc *desc,
				 struct route_key *key,
				 struct bpf_fib_lookup *fib)
{
	struct ethhdr *eth;
	void *end;

	if (desc->engine == XDV_ENGINE_LIVE && write_packet(ctx, desc))
		return -1;
	eth = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(eth + 1) > end || route_key(eth + 1, end, key, fib) ||
	    key->len != desc->len)
		return -1;
	eth->h_proto = key->family == AF_INET ? bpf_htons(ETH_P_IP)
					      : bpf_htons(ETH_P_IPV6);
	return 0;
}

/*
 * The frame for desc; status 0, or why there is none. With status 0 and reason
 * NO_NEIGH it has no link header yet.
 */
static __always_inline struct refusal build(struct xdp_md *ctx,
					    struct xdv_desc *desc,
					    struct bpf_fib_lookup *fib,
					    __u32 *to)
{
	struct route_key key = {};
	struct ethhdr *eth;
	void *end;
	long rc;

	if (place(ctx, desc, &key, fib))
		return refused(-EINVAL, XDV_REASON_BAD_PACKET);
	if (desc->flags & XDV_DESC_DECREMENT_TTL && key.ttl <= 1)
		return refused(-ETIME, XDV_REASON_HOP_LIMIT);
	fib->ifindex = desc->ifindex;
	__builtin_memcpy(to, fib->ipv6_dst, sizeof(fib->ipv6_dst));
	rc = ask_route(ctx, fib, key.len);
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return fib_refusal(rc);
	if (fib->ifindex != desc->ifindex)
		return refused(-ENETUNREACH, XDV_REASON_FIB_NOT_FWDED);
	eth = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(eth + 1) > end)
		return refused(-EINVAL, XDV_REASON_BAD_PACKET);
	if (desc->flags & XDV_DESC_DECREMENT_TTL)
		decrement_ttl(eth + 1, end, key.family);
	__builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
	desc->family = fib->family;
	__builtin_memcpy(desc->nexthop, fib->ipv6_dst, sizeof(desc->nexthop));
	return refused(0, rc ? XDV_REASON_FIB_NO_NEIGH : XDV_REASON_NONE);
}

/* It goes back to user space. What follows in its flow comes after it. */
static __always_inline int to_be_cut(struct xdv_desc *desc, __u16 lane)
{
	__u64 *cut = &xdv_cut[lane & (XDV_CUTS - 1)];

	count_injected(desc, target_stats(desc));
	desc->state = XDV_DESC_TOO_BIG;
	xdv_ring.cut += !*cut;
	if (!*cut || desc->id < *cut)
		*cut = desc->id;
	return XDP_DROP;
}

/* What was held is older, and goes before parts that were held behind it. */
static __always_inline bool follows_cut(const struct xdv_desc *desc, __u16 lane)
{
	__u64 cut = xdv_cut[lane & (XDV_CUTS - 1)];

	return cut && cut < desc->id;
}

static __always_inline int to_come_after(struct xdv_desc *desc)
{
	count_injected(desc, target_stats(desc));
	desc->state = XDV_DESC_AFTER_CUT;
	return XDP_DROP;
}

enum way {
	WAY_LIVE,
	WAY_STACK,
	WAY_HOLD, /* not now */
	WAY_FULL, /* neither now nor later */
};

/*
 * A flow stays in the stack while that has some of it. What follows a frame
 * that waits for its neighbour is held, for the stack might send what comes
 * after the answer before what waited for it.
 */
static __always_inline enum way way_of(struct xdv_desc *desc,
				       const struct bpf_fib_lookup *fib,
				       const __u32 *to, bool unresolved)
{
	bool stack = unresolved || desc->flags & XDV_DESC_VIA_STACK;
	struct xdv_lane *lane;
	struct xdv_hop *hop;

	if (!stack && !xdv_ring.in_stack && !xdv_ring.held)
		return WAY_LIVE;
	desc->lane = lane_between(fib->ipv6_src, to);
	desc->hop = hop_to(desc);
	lane = lane_of(desc);
	hop = hop_of(desc);
	if (waits(desc))
		return (hop->asking || lane->asking) &&
				       hop->held >= XDV_HELD_MAX
			       ? WAY_FULL
			       : WAY_HOLD;
	/* Those of this batch may have to ask, and this one would have asked
	 * before them.
	 */
	if (desc->flags & XDV_DESC_BIG && lane->entered == xdv_ring.batch)
		return WAY_HOLD;
	if (!stack && !lane->stacked)
		return WAY_LIVE;
	if (!xdv_ring.stack)
		return WAY_HOLD;
	return xdv_ring.in_stack <
			       (unresolved ? XDV_UNRESOLVED_MAX : XDV_STACK_MAX)
		       ? WAY_STACK
		       : WAY_FULL;
}

static __always_inline void enter(struct xdv_desc *desc,
				  enum xdv_desc_state state)
{
	count_injected(desc, target_stats(desc));
	desc->engine = XDV_ENGINE_NEIGH;
	desc->state = state;
	desc->waiting = desc->id;
	enter_stack(desc);
}

/* Only user space has all of it. What follows waits until it is past the
 * neighbour.
 */
static __always_inline int to_user(struct xdv_desc *desc)
{
	enter(desc, XDV_DESC_HANDED);
	begin_asking(desc);
	return XDP_DROP;
}

/* To xdv_neigh, with a tag instead of a link header. */
static __always_inline int to_stack(struct xdp_md *ctx, struct xdv_desc *desc)
{
	struct xdv_stack_tag *tag = (void *)(long)ctx->data;

	if ((void *)(tag + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	tag->unicast = 2;
	tag->pad = 0;
	tag->slot = desc->slot;
	tag->id = desc->id;
	tag->batch = xdv_ring.batch;
	lane_of(desc)->entered = xdv_ring.batch;
	enter(desc, XDV_DESC_ENTERING);
	return XDP_PASS;
}

/* Into the local stack, as if the interface had received it. */
static __always_inline int pass(struct xdp_md *ctx, struct xdv_desc *desc)
{
	struct xdv_stats *stats = target_stats(desc);
	struct bpf_fib_lookup fib = {};
	struct xdv_control *control;
	struct route_key key = {};
	struct ethhdr *eth;
	__u32 zero = 0;

	control = bpf_map_lookup_elem(&xdv_control, &zero);
	if (!control || place(ctx, desc, &key, &fib)) {
		complete(desc, -EINVAL, XDV_REASON_BAD_PACKET,
			 BPF_RB_NO_WAKEUP);
		return XDP_DROP;
	}
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end) {
		complete(desc, -EINVAL, XDV_REASON_BAD_PACKET,
			 BPF_RB_NO_WAKEUP);
		return XDP_DROP;
	}
	__builtin_memcpy(eth->h_dest, desc->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, control->mac, ETH_ALEN);
	desc->state = XDV_DESC_PASSED;
	count_injected(desc, stats);
	if (stats)
		__sync_fetch_and_add(&stats->completed, 1);
	return XDP_PASS;
}

/* Out through the target; the frame's fate comes with the flush at the end. */
static __always_inline int send(struct xdp_md *ctx, struct xdv_desc *desc)
{
	struct bpf_fib_lookup fib = {};
	struct refusal refusal;
	bool unresolved;
	__u32 to[4];

	refusal = build(ctx, desc, &fib, to);
	if (refusal.reason == XDV_REASON_FIB_NOT_FWDED) {
		struct xdv_stats *stats = target_stats(desc);

		/* No route, or is the interface down? An XDP program cannot
		 * know: user space writes this completion.
		 */
		desc->state = XDV_DESC_NO_ROUTE;
		count_injected(desc, stats);
		if (stats)
			__sync_fetch_and_add(&stats->failed, 1);
		return XDP_DROP;
	}
	if (refusal.reason == XDV_REASON_FIB_FRAG_NEEDED)
		desc->mtu = fib.mtu_result;
	if (refusal.reason == XDV_REASON_FIB_FRAG_NEEDED &&
	    !(desc->flags & XDV_DESC_PART))
		return to_be_cut(desc, lane_between(fib.ipv6_src, to));
	if (refusal.status) {
		complete(desc, refusal.status, refusal.reason,
			 BPF_RB_NO_WAKEUP);
		return XDP_DROP;
	}
	if (xdv_ring.cut && !(desc->flags & XDV_DESC_PART) &&
	    follows_cut(desc, lane_between(fib.ipv6_src, to)))
		return to_come_after(desc);
	unresolved = refusal.reason == XDV_REASON_FIB_NO_NEIGH;
	switch (way_of(desc, &fib, to, unresolved)) {
	case WAY_LIVE:
		desc->state = XDV_DESC_TAKEN;
		return bpf_redirect(desc->ifindex, 0);
	case WAY_STACK:
		return desc->flags & XDV_DESC_BIG ? to_user(desc)
						  : to_stack(ctx, desc);
	case WAY_HOLD:
		hold(desc);
		return XDP_DROP;
	case WAY_FULL:
		complete(desc, -ENOBUFS, XDV_REASON_QUEUE_FULL,
			 BPF_RB_NO_WAKEUP);
		return XDP_DROP;
	}
	return XDP_DROP;
}

static __always_inline int inject(struct xdp_md *ctx, struct xdv_desc *desc)
{
	if (desc->flags & XDV_DESC_VERDICT) {
		complete(desc, desc->status, desc->reason, BPF_RB_NO_WAKEUP);
		return XDP_DROP;
	}
	if (desc->flags & XDV_DESC_RECEIVE)
		return pass(ctx, desc);
	return send(ctx, desc);
}

SEC("xdp")
int xdv_inject(struct xdp_md *ctx)
{
	__u32 position = xdv_ring.consumer;
	struct xdv_desc *desc;
	int action;

	if (position == *(volatile __u32 *)&xdv_ring.producer)
		return XDP_DROP;
	desc = desc_at(position);
	if (!desc)
		return XDP_DROP;
	xdv_ring.consumer = position + 1;
	xdv_ring.cpu = bpf_get_smp_processor_id();
	action = inject(ctx, desc);
	/* Does it wait for a tracepoint of this batch? */
	if (desc->state != XDV_DESC_TAKEN && xdv_ring.settled == position)
		xdv_ring.settled = position + 1;
	return action;
}

/* User space counts what leaves in parts, once, and what rules matched that the
 * hook could not ask.
 */
SEC("syscall")
int xdv_count(struct xdv_count *count)
{
	struct xdv_stats *stats = stats_of(count->ifindex);

	if (count->hits)
		add_hits(count->slot, count->hits, count->bytes);
	if (!stats)
		return -ENOENT;
	__sync_fetch_and_add(&stats->injected, count->injected);
	__sync_fetch_and_add(&stats->completed, count->completed);
	__sync_fetch_and_add(&stats->failed, count->failed);
	return 0;
}

char _license[] SEC("license") = "GPL";
