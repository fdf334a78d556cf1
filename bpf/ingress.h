/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the XDP and the TC hook have in common: a packet is counted, the rules
 * are asked, the FIB is asked, and the hook does what it alone can do. Three
 * programs in a chain of tail calls, for each hook:
 *
 *   ingress -> rules (generated, loader/ruleset.c) -> divert
 *
 * Whatever goes wrong on the way leaves the packet to the kernel.
 */
#ifndef XDV_INGRESS_H
#define XDV_INGRESS_H

#include "fib.h"
#include "fragments.h"
#include "hits.h"
#include "maps.h"
#include "options.h"
#include "parse.h"

/* No action of either hook: the packet cannot be served. */
#define UNSERVED (-2)

static __always_inline struct xdv_scratch *scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&xdv_scratch, &zero);
}

/* A packet comes; NULL if it can only pass. */
static __always_inline struct xdv_scratch *begin(__u32 iif, __u32 stage)
{
	struct xdv_scratch *s = scratch();
	struct xdv_stats *stats = stats_of(iif);

	if (!s || !stats)
		return NULL;
	stats->seen++;
	s->iif = iif;
	s->stage = stage;
	s->fib_done = 0;
	s->frag = XDV_FRAG_NO;
	s->router = 0;
	return s;
}

static __always_inline __u32 fragments(void)
{
	struct xdv_control *control;
	__u32 zero = 0;

	control = bpf_map_lookup_elem(&xdv_control, &zero);
	return control ? control->fragments : 0;
}

/* Does any rule ask for them? */
static __always_inline bool fragments_asked(void)
{
	return fragments();
}

/* Are they to be put together, in that layer? */
static __always_inline bool fragments_wanted(const struct xdv_scratch *s)
{
	return fragments() >> s->layer & 1;
}

/* Which rule it is for, and whose hit, is found when it is whole. */
static __always_inline void no_rule(struct xdv_scratch *s)
{
	s->rule = 0;
	s->slot = XDV_HITS;
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

/* Sources that nobody forwards: no host, loopback, multicast, broadcast. */
static __always_inline bool martian(__be32 source)
{
	__u32 address = bpf_ntohl(source);

	return !address || address >> 24 == 127 || address >> 28 == 14 ||
	       address == 0xffffffff;
}

/* The same for IPv6, and link-local ones: RFC 4291 2.5.2, 2.5.3, 2.5.6, 2.7. */
static __always_inline bool martian6(const __u32 *source)
{
	__u32 first = bpf_ntohl(source[0]);

	if (first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6)
		return true;
	return !source[0] && !source[1] && !source[2] &&
	       bpf_ntohl(source[3]) <= 1;
}

/* A sound IP header at l3, of a packet of which len bytes are there. */
static __always_inline bool sound_ip(void *l3, void *end, __u32 len,
				     struct xdv_scratch *s, bool group,
				     struct route_key *key,
				     struct bpf_fib_lookup *fib)
{
	enum options options;

	if (route_key(l3, end, key, fib) || key->len > len ||
	    bad_fragment(l3, end))
		return false;
	options = options_of(l3, end);
	if (options == OPTIONS_BAD)
		return false;
	s->router = options == OPTIONS_ROUTER;
	/* Who has no address yet asks everybody. */
	if (group)
		return key->family == AF_INET6 || ipv4_sum_good(l3, end);
	if (key->family == AF_INET6)
		return !martian6(fib->ipv6_src);
	return ipv4_sum_good(l3, end) && !martian(fib->ipv4_src);
}

static __always_inline bool type_fits(__be16 type, const struct route_key *key)
{
	return type == (key->family == AF_INET ? bpf_htons(ETH_P_IP)
					       : bpf_htons(ETH_P_IPV6));
}

/* We do not record routes and the like; the kernel does. */
static __always_inline bool routers_business(const struct xdv_scratch *s)
{
	return s->router && s->layer == XDV_LAYER_FORWARD;
}

/* What the kernel would do with a packet, and where it would send it. That it
 * is too big to be sent there is not asked: injection cuts it, or answers.
 */
static __always_inline __u32 layer_of(void *ctx, struct xdv_scratch *s,
				      const struct route_key *key,
				      struct bpf_fib_lookup *fib, __u32 mark)
{
	__u32 oif;
	long rc;

	fib->ifindex = s->iif;
	/* 0 would ask about the length of the sk_buff. */
	fib->tot_len = 1;
	rc = fib_ask_marked(ctx, fib, mark, s->now, &oif);
	if (rc == BPF_FIB_LKUP_RET_NOT_FWDED ||
	    rc == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return XDV_LAYER_RECEIVE;
	/* An unresolved neighbour does not make the packet any less ours. */
	if (rc != BPF_FIB_LKUP_RET_SUCCESS && rc != BPF_FIB_LKUP_RET_NO_NEIGH)
		return XDV_LAYER_NONE;
	/* The kernel answers for hops that end here. */
	if (key->ttl <= 1)
		return XDV_LAYER_NONE;
	s->oif = oif;
	return XDV_LAYER_FORWARD;
}

/* Is it the packet that the rule wants? If not, to the rules again: with
 * fib_done set they check layer and egress themselves, so a packet comes back
 * here at most once.
 */
static __always_inline bool wanted(struct xdv_scratch *s)
{
	return s->want_layer == s->layer &&
	       (!s->want_oif || s->want_oif == s->oif);
}

/* Frames that we put into the receive path have this source. */
static __always_inline bool injected_here(const struct ethhdr *eth, void *end)
{
	struct xdv_control *control;
	__u32 zero = 0;

	control = bpf_map_lookup_elem(&xdv_control, &zero);
	if (!control || (void *)(eth + 1) > end)
		return false;
	return same_mac(eth->h_source, control->mac);
}

/* Nobody serves it: the interface's --fail decides. */
static __always_inline int unserved(struct xdv_stats *stats,
				    const struct xdv_iface *iface, int pass,
				    int drop)
{
	stats->unserved++;
	return iface->fail == XDV_FAIL_CLOSED ? drop : pass;
}

/* Has the daemon room for n frames more, when `coming` are on their way to it?
 */
static __always_inline bool has_room(const struct xdv_queue *queue,
				     __u64 coming, __u32 n)
{
	__s64 waiting =
		queue->produced - queue->lost - queue->consumed + coming;

	return waiting + n <= (__s64)queue->limit;
}

static __always_inline void fill_meta(struct xdv_meta *meta,
				      const struct xdv_scratch *s)
{
	meta->timestamp = s->now;
	meta->rule = s->rule;
	meta->iif = s->iif;
	meta->oif = s->oif;
	meta->l3_offset = ETH_HLEN;
	meta->layer = s->layer;
	meta->stub = 0;
}

#endif
