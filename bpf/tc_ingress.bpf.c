// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TC hook: what the rules flag goes into a tap. TC cannot redirect to an
 * AF_XDP socket, but to a veth of the daemon's, whose far end runs xdv_tap
 * (bpf/xdp_tap.bpf.c). On the way the kernel cuts GSO packets into segments and
 * completes checksums.
 */
#include "flow.h"
#include "ingress.h"

#define TC_ACT_UNSPEC	 (-1)
#define TC_ACT_SHOT	 2
#define PACKET_HOST	 0
#define PACKET_BROADCAST 1
#define PACKET_MULTICAST 2
#define VLAN_VID_MASK	 0xfff
#define VLAN_HLEN	 4
/* IPv4 with options, or IPv6 with hop-by-hop options and what follows. */
#define IP_HEADER_MAX	 128

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, XDV_STAGES);
	__type(key, __u32);
	__type(value, __u32);
} xdv_tc_stages SEC(".maps");

/* The first bytes of the frame with the tag where it was on the wire. */
static __always_inline void show_tag(struct __sk_buff *skb,
				     struct xdv_scratch *s)
{
	*(__be16 *)(s->head + 12) = skb->vlan_proto;
	*(__be16 *)(s->head + 14) = bpf_htons(skb->vlan_tci);
	bpf_skb_load_bytes(skb, 0, s->head, 12);
	if (bpf_skb_load_bytes(skb, 12, s->head + 16, 4))
		bpf_skb_load_bytes(skb, 12, s->head + 16, 2);
}

/* What is sent to somebody else is not ours to drop. */
static __always_inline __u32 flow_of(struct __sk_buff *skb, __u32 link)
{
	void *data = (void *)(long)skb->data;
	__u32 verdict = flow_verdict(data + link, (void *)(long)skb->data_end,
				     skb->protocol, skb->len);

	if (verdict == XDV_FLOW_DROP && skb->pkt_type != PACKET_HOST)
		return XDV_FLOW_NONE;
	if (verdict)
		count_flow(skb->ifindex, verdict);
	return verdict;
}

static __always_inline __u32 link_header(const struct xdv_scratch *s)
{
	return s->stage == XDV_STAGE_RULES_RAW ? 0 : ETH_HLEN;
}

/* The headers may lie beyond data_end. */
static __always_inline int pull(struct __sk_buff *skb, __u32 len)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if (len > skb->len)
		len = skb->len;
	return end - data < len ? bpf_skb_pull_data(skb, len) : 0;
}

static __always_inline bool is_fragment(struct __sk_buff *skb, __u32 link)
{
	struct piece p;

	if (skb->gso_size || (skb->protocol != bpf_htons(ETH_P_IP) &&
			      skb->protocol != bpf_htons(ETH_P_IPV6)))
		return false;
	if (pull(skb, link + sizeof(struct ipv6hdr)))
		return false;
	return piece_of((void *)(long)skb->data + link,
			(void *)(long)skb->data_end, &p);
}

/* The rules, or first the stage that awaits the rest of a datagram. */
static __always_inline void go_on(struct __sk_buff *skb, struct xdv_scratch *s)
{
	if (fragments_asked() && is_fragment(skb, link_header(s)))
		s->frag = XDV_FRAG_AWAITED;
	bpf_tail_call(skb, &xdv_tc_stages,
		      s->frag ? XDV_STAGE_DIVERT : s->stage);
}

SEC("tc")
int xdv_tc_ingress(struct __sk_buff *skb)
{
	__u32 stage =
		skb->vlan_present ? XDV_STAGE_RULES_TAGGED : XDV_STAGE_RULES;
	struct xdv_scratch *s = begin(skb->ifindex, stage);
	__u32 verdict;

	if (!s)
		return TC_ACT_UNSPEC;
	verdict = flow_of(skb, ETH_HLEN);
	if (verdict)
		return verdict == XDV_FLOW_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	if (stage == XDV_STAGE_RULES_TAGGED)
		show_tag(skb, s);
	go_on(skb, s);
	return TC_ACT_UNSPEC;
}

/* On a device without link headers. */
SEC("tc")
int xdv_tc_raw(struct __sk_buff *skb)
{
	struct xdv_scratch *s = begin(skb->ifindex, XDV_STAGE_RULES_RAW);
	__u32 verdict;

	if (!s)
		return TC_ACT_UNSPEC;
	verdict = flow_of(skb, 0);
	if (verdict)
		return verdict == XDV_FLOW_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	go_on(skb, s);
	return TC_ACT_UNSPEC;
}

/* What comes out of the tap: one packet, or segments of a GSO packet. */
struct pieces {
	__u32 len; /* of the longest, from its IP header on */
	__u32 count;
};

static __always_inline __u32 transport_header(struct __sk_buff *skb,
					      __u32 offset, __u8 protocol)
{
	__u8 words = 0x50;

	if (protocol == IPPROTO_UDP)
		return 8;
	if (protocol == IPPROTO_TCP)
		bpf_skb_load_bytes(skb, offset + 12, &words, 1);
	return (words >> 4) * 4;
}

static __always_inline void cut(struct __sk_buff *skb, __u32 link,
				__u32 ip_header, __u8 protocol,
				struct pieces *p)
{
	__u32 header = ip_header, payload, size = skb->gso_size;

	header += transport_header(skb, link + ip_header, protocol);
	if (skb->len < link + header)
		return;
	payload = skb->len - link - header;
	p->len = header + size;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ||
	    !skb->gso_segs)
		p->count = (payload + size - 1) / size;
	else
		p->count = skb->gso_segs;
}

/* One whole sound IP packet for this interface, or for many. A tagged one is
 * another interface's, but for VLAN 0.
 */
static __always_inline bool
sound(struct __sk_buff *skb, __u32 link, struct xdv_scratch *s, bool group,
      struct route_key *key, struct bpf_fib_lookup *fib, struct pieces *pieces)
{
	struct ethhdr *eth;
	void *data, *end;
	__u32 header;

	if ((skb->pkt_type != PACKET_HOST && !group) ||
	    (skb->vlan_present && skb->vlan_tci & VLAN_VID_MASK))
		return false;
	if (pull(skb, link + IP_HEADER_MAX))
		return false;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (!sound_ip(data + link, end, skb->len - link, s, group, key, fib))
		return false;
	eth = data;
	if (link && ((void *)(eth + 1) > end || !type_fits(eth->h_proto, key)))
		return false;
	pieces->len = key->len;
	pieces->count = 1;
	if (!skb->gso_size)
		return true;
	header = sizeof(struct ipv6hdr);
	if (key->family == AF_INET && data + link + 1 <= end)
		header = (*(__u8 *)(data + link) & 0xf) * 4;
	cut(skb, link, header, fib->l4_protocol, pieces);
	return true;
}

static __always_inline __u32 layer(struct __sk_buff *skb, struct xdv_scratch *s)
{
	struct bpf_fib_lookup fib = {};
	struct route_key key = {};
	struct pieces pieces = {};
	bool group = skb->pkt_type == PACKET_BROADCAST ||
		     skb->pkt_type == PACKET_MULTICAST;

	if (!sound(skb, link_header(s), s, group, &key, &fib, &pieces))
		return XDV_LAYER_NONE;
	s->piece = pieces.len;
	s->pieces = pieces.count;
	if (group)
		return XDV_LAYER_GROUP;
	return layer_of(skb, s, &key, &fib, skb->mark);
}

/* Which tap: packets of a flow stay in order. */
static __always_inline __u32 choose_tap(struct __sk_buff *skb,
					const struct xdv_control *control)
{
	__u32 taps = control->taps;

	if (taps <= 1)
		return 0;
	return bpf_get_hash_recalc(skb) % taps;
}

/* Note what xdv_tap must know of the packet; its number. */
static __always_inline __u64 note(struct xdv_control *control,
				  struct xdv_queue *queue, __u32 row,
				  const struct xdv_scratch *s)
{
	__u64 seq = __sync_fetch_and_add(&control->tapped, 1) + 1;
	__u32 key = seq & (XDV_TAPPED - 1);
	struct xdv_tapped *t = bpf_map_lookup_elem(&xdv_tapped, &key);

	if (!t)
		return 0;
	__sync_lock_test_and_set(&t->seq, 0);
	fill_meta(&t->meta, s);
	t->segments = s->pieces;
	t->row = row;
	t->slot = s->slot;
	queue->last = t->meta.timestamp;
	t->position = __sync_fetch_and_add(&queue->entered, s->pieces);
	__sync_lock_test_and_set(&t->seq, seq);
	return seq;
}

/* Write the link header that takes the number through the tap. Later failures
 * could not be undone, so this comes last.
 */
static __always_inline int address(struct __sk_buff *skb, __u32 link,
				   const struct xdv_control *control, __u64 seq)
{
	__u64 number = bpf_cpu_to_be64(seq << 16);
	struct ethhdr eth = {.h_proto = skb->protocol};

	__builtin_memcpy(eth.h_dest, &number, ETH_ALEN);
	__builtin_memcpy(eth.h_source, control->mac, ETH_ALEN);
	if (link)
		return bpf_skb_store_bytes(skb, 0, &eth, 2 * ETH_ALEN, 0);
	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, &eth, ETH_HLEN, 0);
}

static __always_inline int give_up(struct xdv_stats *stats,
				   const struct xdv_iface *iface,
				   const struct __sk_buff *skb,
				   const struct xdv_scratch *s)
{
	count_hit(s->slot, skb->len, s->now);
	return unserved(stats, iface, TC_ACT_UNSPEC, TC_ACT_SHOT);
}

/* What is in the tap; an old remainder was lost there. */
static __always_inline __u64 coming(const struct xdv_queue *queue, __u64 now)
{
	__u64 n = queue->entered - queue->left;

	return n && now - queue->last > XDV_TRANSIT_MAX ? 0 : n;
}

/* Are there pages for what the tap's socket does not take? */
static __always_inline bool has_pages(const struct xdv_queue *queue,
				      __u64 pieces, __u32 len)
{
	__u64 taken = queue->rest_taken - queue->rest_done;

	return taken + pieces * XDV_PAGES_OF(len - XDV_STUB_HEAD) <=
	       queue->rests;
}

/* Has the tap room for it? */
static __always_inline bool fits(const struct xdv_queue *queue,
				 const struct xdv_control *control,
				 struct xdv_scratch *s)
{
	__u64 n = coming(queue, s->now);
	__u32 len = s->piece + ETH_HLEN + VLAN_HLEN;

	s->frames = XDV_FRAMES_OF(len);
	if (s->piece > control->tap_longest) {
		s->frames = 1;
		if (!has_pages(queue, n + s->pieces, len))
			return false;
	}
	return has_room(queue, n * s->frames, s->pieces * s->frames);
}

/* Into a tap, or UNSERVED. */
static __always_inline int serve(struct __sk_buff *skb, struct xdv_scratch *s,
				 struct xdv_stats *stats)
{
	__u32 zero = 0, tap, row;
	struct xdv_control *control;
	struct xdv_queue *queue;
	__u64 seq;

	control = bpf_map_lookup_elem(&xdv_control, &zero);
	if (!control || routers_business(s))
		return UNSERVED;
	tap = choose_tap(skb, control);
	if (tap >= XDV_MAX_QUEUES || !control->tap[tap])
		return UNSERVED;
	row = XDV_TAP_SLOT * XDV_MAX_QUEUES + tap;
	queue = bpf_map_lookup_elem(&xdv_queues, &row);
	if (!queue || !bpf_map_lookup_elem(&xdv_xsks, &row) ||
	    !fits(queue, control, s))
		return UNSERVED;
	seq = note(control, queue, row, s);
	if (!seq || address(skb, link_header(s), control, seq)) {
		__sync_fetch_and_add(&queue->entered, -(__u64)s->pieces);
		return UNSERVED;
	}
	/* xdv_tap counts it again, each segment by itself. */
	stats->seen--;
	stats->tap_in += s->pieces;
	return bpf_redirect(control->tap[tap], 0);
}

static __always_inline int divert(struct __sk_buff *skb, struct xdv_scratch *s)
{
	struct xdv_stats *stats = stats_of(s->iif);
	__u32 iif = s->iif;
	struct xdv_iface *iface = bpf_map_lookup_elem(&xdv_ifaces, &iif);
	int action;

	if (!stats || !iface)
		return TC_ACT_UNSPEC;
	action = serve(skb, s, stats);
	return action == UNSERVED ? give_up(stats, iface, skb, s) : action;
}

/* A fragment that waits for the rest, or UNSERVED. */
static __always_inline int await(struct __sk_buff *skb, struct xdv_scratch *s)
{
	struct xdv_stats *stats = stats_of(s->iif);

	if (!stats || !fragments_wanted(s))
		return UNSERVED;
	no_rule(s);
	return serve(skb, s, stats);
}

SEC("tc")
int xdv_tc_divert(struct __sk_buff *skb)
{
	struct xdv_scratch *s = scratch();
	int action;

	if (!s ||
	    injected_here((void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_UNSPEC;
	if (!s->fib_done) {
		s->now = bpf_ktime_get_ns();
		s->oif = 0;
		s->layer = layer(skb, s);
		s->fib_done = 1;
	}
	if (!s->layer)
		return TC_ACT_UNSPEC;
	if (s->frag == XDV_FRAG_AWAITED) {
		s->frag = XDV_FRAG_ALONE;
		action = await(skb, s);
		if (action != UNSERVED)
			return action;
		bpf_tail_call(skb, &xdv_tc_stages, s->stage);
		return TC_ACT_UNSPEC;
	}
	if (!wanted(s)) {
		bpf_tail_call(skb, &xdv_tc_stages, s->stage);
		return TC_ACT_UNSPEC;
	}
	return divert(skb, s);
}

char _license[] SEC("license") = "GPL";
