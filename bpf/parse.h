/* SPDX-License-Identifier: GPL-2.0-only */
/* Ethernet and IP headers, and what the FIB says of them. */
#ifndef XDV_PARSE_H
#define XDV_PARSE_H

#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_HLEN   14
#define ETH_ALEN   6
#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86DD
#define AF_INET	   2
#define AF_INET6   10

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(__u32 *)a == *(__u32 *)b &&
	       *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

/* Multicast, broadcast. */
static __always_inline bool group_mac(const __u8 *mac)
{
	return mac[0] & 1;
}

struct route_key {
	__u8 family;
	__u8 ttl;
	__u16 len; /* of the IP packet */
};

static __always_inline void copy_in6(__u32 *to, const struct in6_addr *from)
{
	__builtin_memcpy(to, from, 16);
}

static __always_inline int route_key4(void *l3, void *end,
				      struct route_key *key,
				      struct bpf_fib_lookup *fib)
{
	struct iphdr *ip = l3;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return -1;
	key->family = AF_INET;
	key->ttl = ip->ttl;
	key->len = bpf_ntohs(ip->tot_len);
	fib->family = AF_INET;
	fib->tos = ip->tos;
	fib->l4_protocol = ip->protocol;
	fib->ipv4_src = ip->saddr;
	fib->ipv4_dst = ip->daddr;
	return key->len < ip->ihl * 4 ? -1 : 0;
}

static __always_inline int route_key6(void *l3, void *end,
				      struct route_key *key,
				      struct bpf_fib_lookup *fib)
{
	struct ipv6hdr *ip = l3;
	__u32 len;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return -1;
	len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	if (len > 0xffff)
		return -1;
	key->family = AF_INET6;
	key->ttl = ip->hop_limit;
	key->len = len;
	fib->family = AF_INET6;
	fib->flowinfo = *(__be32 *)ip & bpf_htonl(0x0fffffff);
	fib->l4_protocol = ip->nexthdr;
	copy_in6(fib->ipv6_src, &ip->saddr);
	copy_in6(fib->ipv6_dst, &ip->daddr);
	return 0;
}

/* Is the same asked of the FIB? By the words that were written last: the CPU
 * would wait for them to come together in longer ones.
 */
static __always_inline bool same_question(const struct bpf_fib_lookup *a,
					  const struct bpf_fib_lookup *b)
{
	int i;

	if (a->family != b->family || a->l4_protocol != b->l4_protocol ||
	    a->ifindex != b->ifindex || a->flowinfo != b->flowinfo)
		return false;
	for (i = 0; i < 4; i++)
		if (a->ipv6_src[i] != b->ipv6_src[i] ||
		    a->ipv6_dst[i] != b->ipv6_dst[i])
			return false;
	return true;
}

/* Read the IP header at l3 into key and fib; -1 if it is not a sound one. */
static __always_inline int route_key(void *l3, void *end, struct route_key *key,
				     struct bpf_fib_lookup *fib)
{
	if (l3 + 1 > end)
		return -1;
	if (*(__u8 *)l3 >> 4 == 4)
		return route_key4(l3, end, key, fib);
	return route_key6(l3, end, key, fib);
}

#endif
