// SPDX-License-Identifier: GPL-2.0-only
/* TC ingress: copy each IPv4 packet to user space and drop it here. */
#include "../net.h"
#include <linux/pkt_cls.h>
#include "ringbuf_afpacket.h"

const volatile __u32 in;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} packets SEC(".maps");

/* A record's size must be a constant: short packets get short ones. */
static __always_inline int copy(struct __sk_buff *skb, __u32 size)
{
	struct record *r = bpf_ringbuf_reserve(&packets, sizeof(*r) + size, 0);
	__u32 len = skb->len;

	if (!r)
		return TC_ACT_SHOT;
	r->len = len;
	r->from = skb->ifindex == in ? 0 : 1;
	asm volatile("" : "+r"(len));
	if (len < 1 || len > size || bpf_skb_load_bytes(skb, 0, r->bytes, len))
		bpf_ringbuf_discard(r, 0);
	else
		bpf_ringbuf_submit(r, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int divert(struct __sk_buff *skb)
{
	if (skb->protocol != be16(ETH_P_IP) || skb->len > RECORD_MAX)
		return TC_ACT_UNSPEC;
	if (skb->len <= 128)
		return copy(skb, 128);
	return skb->len <= 768 ? copy(skb, 768) : copy(skb, RECORD_MAX);
}

char _license[] SEC("license") = "GPL";
