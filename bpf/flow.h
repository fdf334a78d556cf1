/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows that user space has decided: TCP and UDP connections whose packets
 * need not be asked about any more. Both directions are one flow.
 */
#ifndef XDV_FLOW_H
#define XDV_FLOW_H

#include "maps.h"
#include "parse.h"

#define IPPROTO_TCP   6
#define IPPROTO_UDP   17
#define FRAGMENT_BITS 0x3fff /* offset and "more follow" */
#define TCP_FLAGS_AT  13
#define TCP_SYN	      0x02
#define TCP_ACK	      0x10

struct flow_table {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, XDV_FLOWS);
	__uint(key_size, sizeof(struct xdv_flow_key));
	__uint(value_size, sizeof(struct xdv_flow));
};

/* One table, made when the first flow is decided. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct flow_table);
} xdv_flows XDV_SHARED;

/* What was read of a packet. */
struct flow_packet {
	struct xdv_flow_key key;
	__u32 direction;
	bool opens; /* a TCP connection */
};

/* Ports and flags behind the IP header; -1: there are none. */
static __always_inline int read_transport(void *l4, void *end, __u8 protocol,
					  const __u32 *source,
					  const __u32 *destination,
					  struct flow_packet *p)
{
	__be16 *port = l4;
	__u8 *flags = l4 + TCP_FLAGS_AT;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return -1;
	if ((void *)(port + 2) > end)
		return -1;
	p->key.protocol = protocol;
	p->direction = xdv_flow_key_set(&p->key, source, destination, port[0],
					port[1]);
	p->opens = false;
	if (protocol == IPPROTO_TCP && (void *)(flags + 1) <= end)
		p->opens = (*flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	return 0;
}

static __always_inline int read_flow4(struct iphdr *ip, void *end,
				      struct flow_packet *p)
{
	__u32 source[4] = {}, destination[4] = {};

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 ||
	    ip->frag_off & bpf_htons(FRAGMENT_BITS))
		return -1;
	source[0] = ip->saddr;
	destination[0] = ip->daddr;
	p->key.family = AF_INET;
	return read_transport((void *)ip + ip->ihl * 4, end, ip->protocol,
			      source, destination, p);
}

static __always_inline int read_flow6(struct ipv6hdr *ip, void *end,
				      struct flow_packet *p)
{
	__u32 source[4], destination[4];

	if ((void *)(ip + 1) > end || ip->version != 6)
		return -1;
	copy_in6(source, &ip->saddr);
	copy_in6(destination, &ip->daddr);
	p->key.family = AF_INET6;
	return read_transport(ip + 1, end, ip->nexthdr, source, destination, p);
}

static __always_inline int read_flow(void *l3, void *end, __be16 type,
				     struct flow_packet *p)
{
	if (type == bpf_htons(ETH_P_IP))
		return read_flow4(l3, end, p);
	if (type == bpf_htons(ETH_P_IPV6))
		return read_flow6(l3, end, p);
	return -1;
}

/* What the flow's entry says now; it may have had its time. */
static __always_inline __u32 ask_flow(void *table, struct xdv_flow *flow,
				      const struct flow_packet *p, __u32 bytes)
{
	__u64 now = bpf_ktime_get_ns();
	struct xdv_control *control;
	__u32 zero = 0;

	control = bpf_map_lookup_elem(&xdv_control, &zero);
	if (!control || flow->epoch != control->flow_epoch ||
	    now - flow->last > flow->timeout || p->opens) {
		bpf_map_delete_elem(table, &p->key);
		return XDV_FLOW_NONE;
	}
	flow->last = now;
	/* Directions meet on several CPUs. */
	if (flow->seen < flow->after) {
		__sync_fetch_and_add(&flow->seen, 1);
		return XDV_FLOW_NONE;
	}
	__sync_fetch_and_add(&flow->packets[p->direction & 1], 1);
	__sync_fetch_and_add(&flow->bytes[p->direction & 1], bytes);
	return flow->verdict;
}

/* Is this packet decided? bytes is its frame's length. The headers must lie in
 * front of end, else nothing is.
 */
static __always_inline __u32 flow_verdict(void *l3, void *end, __be16 type,
					  __u32 bytes)
{
	struct flow_packet p = {};
	struct xdv_flow *flow;
	__u32 zero = 0;
	void *table;

	table = bpf_map_lookup_elem(&xdv_flows, &zero);
	if (!table || read_flow(l3, end, type, &p))
		return XDV_FLOW_NONE;
	flow = bpf_map_lookup_elem(table, &p.key);
	return flow ? ask_flow(table, flow, &p, bytes) : XDV_FLOW_NONE;
}

static __always_inline void count_flow(__u32 iif, __u32 verdict)
{
	struct xdv_stats *stats = stats_of(iif);

	if (stats && verdict == XDV_FLOW_PASS)
		stats->flow_passed++;
	else if (stats)
		stats->flow_dropped++;
}

#endif
