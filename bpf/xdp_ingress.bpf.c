// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a packet enters: count it, ask the rules, and put what they flag into
 * the AF_XDP socket of its queue. Three programs in a chain of tail calls:
 *
 *   xdv_xdp_ingress -> rules (generated, loader/ruleset.c) -> xdv_xdp_divert
 *
 * Whatever goes wrong on the way leaves the packet to the kernel.
 */
#include "hits.h"
#include "maps.h"
#include "parse.h"

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

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xdv_scratch);
} xdv_scratch SEC(".maps");

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

static __always_inline struct xdv_scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&xdv_scratch, &zero);
}

SEC("xdp")
int xdv_xdp_ingress(struct xdp_md *ctx)
{
	struct xdv_scratch *s = scratch();
	struct xdv_stats *stats = stats_of(ctx->ingress_ifindex);

	if (!s || !stats)
		return XDP_PASS;
	stats->seen++;
	s->iif = ctx->ingress_ifindex;
	s->fib_done = 0;
	s->too_big = 0;
	bpf_tail_call(ctx, &xdv_stages, XDV_STAGE_RULES);
	return XDP_PASS;
}

/* Frames for somebody else, broadcast and multicast are the kernel's. */
static __always_inline bool for_us(const struct ethhdr *eth,
				   const struct xdv_iface *iface)
{
	return *(__u32 *)eth->h_dest == *(__u32 *)iface->mac &&
	       *(__u16 *)(eth->h_dest + 4) == *(__u16 *)(iface->mac + 4);
}

/* The kernel drops a packet whose IPv4 header does not add up. */
static __always_inline bool ipv4_sum_good(const struct iphdr *ip, void *end)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;
	int i;

	for (i = 0; i < 30; i++) {
		if (i >= ip->ihl * 2)
			break;
		if ((void *)(word + i + 1) > end)
			return false;
		sum += word[i];
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* Sources that no host forwards: this network, loopback, multicast. */
static __always_inline bool martian(__be32 source)
{
	__u32 address = bpf_ntohl(source);

	return address >> 24 == 0 || address >> 24 == 127 ||
	       address >> 28 >= 14;
}

/* An Ethernet frame with one whole sound IP packet for this interface. */
static __always_inline bool sound(struct xdp_md *ctx,
				  const struct xdv_iface *iface,
				  struct route_key *key,
				  struct bpf_fib_lookup *fib)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end || !for_us(eth, iface))
		return false;
	if (eth->h_proto != bpf_htons(ETH_P_IP) &&
	    eth->h_proto != bpf_htons(ETH_P_IPV6))
		return false;
	if (route_key(eth + 1, end, key, fib))
		return false;
	if ((key->family == AF_INET) != (eth->h_proto == bpf_htons(ETH_P_IP)))
		return false;
	if (key->len > end - data - ETH_HLEN)
		return false;
	return key->family != AF_INET ||
	       (ipv4_sum_good((void *)(eth + 1), end) &&
		!martian(fib->ipv4_src));
}

/* What the kernel would do with this packet, and where it would send it. */
static __always_inline __u32 layer_of(struct xdp_md *ctx, struct xdv_scratch *s)
{
	struct bpf_fib_lookup fib = {};
	struct route_key key = {};
	struct xdv_iface *iface;
	__u32 iif = s->iif;
	long rc;

	iface = bpf_map_lookup_elem(&xdv_ifaces, &iif);
	if (!iface || !sound(ctx, iface, &key, &fib))
		return XDV_LAYER_NONE;
	fib.ifindex = iif;
	fib.tot_len = key.len;
	rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (rc == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		s->too_big = 1;
		fib.ifindex = iif;
		fib.tot_len = 0;
		rc = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	}
	if (rc == BPF_FIB_LKUP_RET_NOT_FWDED ||
	    rc == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return XDV_LAYER_RECEIVE;
	/* An unresolved neighbour does not make the packet any less ours. */
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return XDV_LAYER_NONE;
	/* The kernel answers for hops that end here. */
	if (key.ttl <= 1)
		return XDV_LAYER_NONE;
	s->oif = fib.ifindex;
	return XDV_LAYER_FORWARD;
}

/* In generic mode the hook sees what we put into the receive path. */
static __always_inline bool injected_here(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct xdv_control *control;
	__u32 zero = 0;

	control = bpf_map_lookup_elem(&xdv_control, &zero);
	if (!control || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return false;
	return *(__u32 *)eth->h_source == *(__u32 *)control->mac &&
	       *(__u16 *)(eth->h_source + 4) == *(__u16 *)(control->mac + 4);
}

static __always_inline int write_meta(struct xdp_md *ctx,
				      const struct xdv_scratch *s, __u64 now)
{
	struct xdv_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return -1;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -1;
	meta->timestamp = now;
	meta->rule = s->rule;
	meta->iif = s->iif;
	meta->oif = s->oif;
	meta->l3_offset = ETH_HLEN;
	meta->layer = s->layer;
	return 0;
}

static __always_inline int unserved(struct xdv_stats *stats,
				    const struct xdv_iface *iface)
{
	stats->unserved++;
	return iface->fail == XDV_FAIL_CLOSED ? XDP_DROP : XDP_PASS;
}

static __always_inline int divert(struct xdp_md *ctx,
				  const struct xdv_scratch *s)
{
	struct xdv_stats *stats = stats_of(s->iif);
	__u32 iif = s->iif, row;
	struct xdv_iface *iface = bpf_map_lookup_elem(&xdv_ifaces, &iif);
	__u64 now = bpf_ktime_get_ns();
	struct xdv_queue *queue;

	if (!stats || !iface)
		return XDP_PASS;
	count_hit(s->slot, bpf_xdp_get_buff_len(ctx), now);
	/* The kernel fragments it, or says that it is too big. */
	if (s->too_big)
		return unserved(stats, iface);
	/* Generic mode shows what a sender left to segmentation offload. */
	if (bpf_xdp_get_buff_len(ctx) > XDV_PACKET_MAX + ETH_HLEN)
		return unserved(stats, iface);
	if (ctx->rx_queue_index >= XDV_MAX_QUEUES)
		return unserved(stats, iface);
	row = iface->slot * XDV_MAX_QUEUES + ctx->rx_queue_index;
	queue = bpf_map_lookup_elem(&xdv_queues, &row);
	if (!queue || !bpf_map_lookup_elem(&xdv_xsks, &row))
		return unserved(stats, iface);
	if ((__s64)(queue->produced - queue->lost - queue->consumed) >=
	    (__s64)queue->limit)
		return unserved(stats, iface);
	if (write_meta(ctx, s, now))
		return unserved(stats, iface);
	if (bpf_redirect_map(&xdv_xsks, row, 0) != XDP_REDIRECT)
		return unserved(stats, iface);
	stats->redirected++;
	/* In generic mode several CPUs run the hook for one queue. */
	if (iface->mode == XDV_MODE_GENERIC)
		__sync_fetch_and_add(&queue->produced, 1);
	else
		queue->produced++;
	return XDP_REDIRECT;
}

SEC("xdp")
int xdv_xdp_divert(struct xdp_md *ctx)
{
	struct xdv_scratch *s = scratch();

	if (!s)
		return XDP_PASS;
	if (!s->fib_done) {
		s->oif = 0;
		s->layer = layer_of(ctx, s);
		s->fib_done = 1;
	}
	if (!s->layer)
		return XDP_PASS;
	if (s->want_layer != s->layer ||
	    (s->want_oif && s->want_oif != s->oif)) {
		/* Not this rule's packet. With fib_done set the rules check
		 * layer and egress themselves, so a packet comes back here at
		 * most once.
		 */
		bpf_tail_call(ctx, &xdv_stages, XDV_STAGE_RULES);
		return XDP_PASS;
	}
	if (s->layer == XDV_LAYER_RECEIVE && injected_here(ctx))
		return XDP_PASS;
	return divert(ctx, s);
}

char _license[] SEC("license") = "GPL";
