// SPDX-License-Identifier: GPL-2.0-only
/* The XDP hook: what the rules flag goes to the AF_XDP socket of its queue. */
#include "flow.h"
#include "ingress.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, XDV_STAGES);
	__type(key, __u32);
	__type(value, __u32);
} xdv_stages SEC(".maps");

/* The same for the TC hook, which runs programs of another type. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, XDV_STAGES);
	__type(key, __u32);
	__type(value, __u32);
} xdv_tc_stages SEC(".maps");

/* The rules as they were given, for user space alone; the hook runs what they
 * compile to.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XDV_RULES_KEPT);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct xdv_rule);
} xdv_rules SEC(".maps");

/* What is sent to somebody else is not ours to drop. */
static __always_inline __u32 flow_of(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u32 iif = ctx->ingress_ifindex, verdict;
	struct xdv_iface *iface;

	if ((void *)(eth + 1) > end)
		return XDV_FLOW_NONE;
	verdict = flow_verdict(eth + 1, end, eth->h_proto,
			       bpf_xdp_get_buff_len(ctx));
	if (verdict != XDV_FLOW_DROP)
		return verdict;
	iface = bpf_map_lookup_elem(&xdv_ifaces, &iif);
	return iface && same_mac(eth->h_dest, iface->mac) ? verdict
							  : XDV_FLOW_NONE;
}

static __always_inline bool is_fragment(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct piece p;

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto != bpf_htons(ETH_P_IP) &&
	    eth->h_proto != bpf_htons(ETH_P_IPV6))
		return false;
	return piece_of(eth + 1, end, &p);
}

SEC("xdp")
int xdv_xdp_ingress(struct xdp_md *ctx)
{
	struct xdv_scratch *s = begin(ctx->ingress_ifindex, XDV_STAGE_RULES);
	__u32 verdict;

	if (!s)
		return XDP_PASS;
	verdict = flow_of(ctx);
	if (verdict) {
		count_flow(ctx->ingress_ifindex, verdict);
		return verdict == XDV_FLOW_DROP ? XDP_DROP : XDP_PASS;
	}
	if (fragments_asked() && is_fragment(ctx))
		s->frag = XDV_FRAG_AWAITED;
	bpf_tail_call(ctx, &xdv_stages,
		      s->frag ? XDV_STAGE_DIVERT : XDV_STAGE_RULES);
	return XDP_PASS;
}

/* An Ethernet frame with one whole sound IP packet for this interface, or for
 * many: frames for somebody else are the kernel's.
 */
static __always_inline bool
sound(struct xdp_md *ctx, const struct xdv_iface *iface, struct xdv_scratch *s,
      bool *group, struct route_key *key, struct bpf_fib_lookup *fib)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return false;
	*group = group_mac(eth->h_dest);
	if (!*group && !same_mac(eth->h_dest, iface->mac))
		return false;
	if (eth->h_proto != bpf_htons(ETH_P_IP) &&
	    eth->h_proto != bpf_htons(ETH_P_IPV6))
		return false;
	return sound_ip(eth + 1, end, bpf_xdp_get_buff_len(ctx) - ETH_HLEN, s,
			*group, key, fib) &&
	       type_fits(eth->h_proto, key);
}

static __always_inline __u32 layer(struct xdp_md *ctx, struct xdv_scratch *s,
				   const struct xdv_iface *iface)
{
	struct bpf_fib_lookup fib = {};
	struct route_key key = {};
	bool group = false;

	if (!sound(ctx, iface, s, &group, &key, &fib))
		return XDV_LAYER_NONE;
	if (group)
		return XDV_LAYER_GROUP;
	return layer_of(ctx, s, &key, &fib, 0);
}

static __always_inline int write_meta(struct xdp_md *ctx,
				      const struct xdv_scratch *s)
{
	struct xdv_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return -1;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -1;
	fill_meta(meta, s);
	return 0;
}

static __always_inline int give_up(struct xdv_stats *stats,
				   const struct xdv_iface *iface)
{
	return unserved(stats, iface, XDP_PASS, XDP_DROP);
}

/* Into the socket of its queue, or UNSERVED. */
static __always_inline int serve(struct xdp_md *ctx, struct xdv_scratch *s,
				 struct xdv_stats *stats,
				 const struct xdv_iface *iface)
{
	__u32 row, len = bpf_xdp_get_buff_len(ctx);
	struct xdv_queue *queue;

	if (routers_business(s))
		return UNSERVED;
	/* Generic mode shows what a sender left to segmentation offload. */
	if (len > iface->longest + ETH_HLEN)
		return UNSERVED;
	s->frames = XDV_FRAMES_OF(len);
	if (ctx->rx_queue_index >= XDV_MAX_QUEUES)
		return UNSERVED;
	row = iface->slot * XDV_MAX_QUEUES + ctx->rx_queue_index;
	queue = bpf_map_lookup_elem(&xdv_queues, &row);
	if (!queue || !bpf_map_lookup_elem(&xdv_xsks, &row))
		return UNSERVED;
	if (!has_room(queue, 0, s->frames))
		return UNSERVED;
	if (write_meta(ctx, s))
		return UNSERVED;
	if (bpf_redirect_map(&xdv_xsks, row, 0) != XDP_REDIRECT)
		return UNSERVED;
	stats->redirected++;
	/* In generic mode several CPUs run the hook for one queue. */
	if (iface->mode == XDV_MODE_GENERIC)
		__sync_fetch_and_add(&queue->produced, s->frames);
	else
		queue->produced += s->frames;
	return XDP_REDIRECT;
}

static __always_inline int divert(struct xdp_md *ctx, struct xdv_scratch *s,
				  const struct xdv_iface *iface)
{
	struct xdv_stats *stats = stats_of(s->iif);
	int action;

	if (!stats)
		return XDP_PASS;
	count_hit(s->slot, bpf_xdp_get_buff_len(ctx), s->now);
	action = serve(ctx, s, stats, iface);
	return action == UNSERVED ? give_up(stats, iface) : action;
}

/* A fragment that waits for the rest, or UNSERVED. */
static __always_inline int await(struct xdp_md *ctx, struct xdv_scratch *s,
				 const struct xdv_iface *iface)
{
	struct xdv_stats *stats = stats_of(s->iif);

	if (!stats || !fragments_wanted(s))
		return UNSERVED;
	no_rule(s);
	return serve(ctx, s, stats, iface);
}

SEC("xdp")
int xdv_xdp_divert(struct xdp_md *ctx)
{
	struct xdv_scratch *s = scratch();
	__u32 iif = ctx->ingress_ifindex;
	struct xdv_iface *iface = bpf_map_lookup_elem(&xdv_ifaces, &iif);
	int action;

	/* In generic mode the hook sees what we put into the receive path. */
	if (!s || !iface ||
	    injected_here((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_PASS;
	if (!s->fib_done) {
		s->now = bpf_ktime_get_ns();
		s->oif = 0;
		s->layer = layer(ctx, s, iface);
		s->fib_done = 1;
	}
	if (!s->layer)
		return XDP_PASS;
	if (s->frag == XDV_FRAG_AWAITED) {
		s->frag = XDV_FRAG_ALONE;
		action = await(ctx, s, iface);
		if (action != UNSERVED)
			return action;
		bpf_tail_call(ctx, &xdv_stages, XDV_STAGE_RULES);
		return XDP_PASS;
	}
	if (!wanted(s)) {
		bpf_tail_call(ctx, &xdv_stages, XDV_STAGE_RULES);
		return XDP_PASS;
	}
	return divert(ctx, s, iface);
}

char _license[] SEC("license") = "GPL";
