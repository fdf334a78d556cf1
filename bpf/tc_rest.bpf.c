// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way into a tap for packets that its AF_XDP socket cannot take in several
 * frames (before kernel 6.6). All packets, for they stay in order, take it:
 *
 *   TC hook -> veth: the kernel cuts GSO packets -> xdv_rest_pass, xdv_tc_rest
 *           -> veth: xdv_tap (bpf/xdp_tap.bpf.c)
 *
 * Here a packet that is too long becomes a stub. The kernel cuts at the first
 * veth because that has XDP at its far end, and so it is one NAPI poll after
 * another that delivers them.
 */
#include "maps.h"
#include "parse.h"

#define TC_ACT_SHOT 2
#define TRIES	    16

/* Set by user space: the tap's row in xdv_queues, and its near end. */
const volatile __u32 xdv_row;
const volatile __u32 xdv_inner;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_REST_PAGES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_rest);
} xdv_rest SEC(".maps");

SEC("xdp")
int xdv_rest_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* One page; user space may be reading what it was before. */
static __always_inline int fill_page(struct __sk_buff *skb, __u32 from,
				     __u32 len, __u64 number)
{
	__u32 key = number & (XDV_REST_PAGES - 1);
	struct xdv_rest *page = bpf_map_lookup_elem(&xdv_rest, &key);
	int rc;

	/* So that 6.1's verifier sees that it is not 0. */
	len--;
	asm volatile("" : "+r"(len));
	if (!page || len >= XDV_REST_PAGE)
		return -1;
	len++;
	__sync_lock_test_and_set(&page->number, 0);
	rc = bpf_skb_load_bytes(skb, from, page->bytes, len);
	__sync_lock_test_and_set(&page->number, number + 1);
	return rc;
}

static __always_inline int fill_pages(struct __sk_buff *skb, __u32 from,
				      __u32 len, __u64 first)
{
	__u32 i, n;

	for (i = 0; i < XDV_REST_MOST && len; i++) {
		n = len < XDV_REST_PAGE ? len : XDV_REST_PAGE;
		if (fill_page(skb, from, n, first + i))
			return -1;
		from += n;
		len -= n;
	}
	return len ? -1 : 0;
}

/* Pages for so many bytes; -1 if there are not so many. Whoever wrote into the
 * tap has looked, but not all at once. Other CPUs may be here as well (RPS).
 */
static __always_inline int take_pages(__u32 len, __u64 *first)
{
	__u32 row = xdv_row, n = XDV_PAGES_OF(len), i;
	struct xdv_queue *queue = bpf_map_lookup_elem(&xdv_queues, &row);
	__u64 taken;

	for (i = 0; queue && i < TRIES; i++) {
		taken = *(volatile __u64 *)&queue->rest_taken;
		if (taken + n - *(volatile __u64 *)&queue->rest_done >
		    XDV_REST_PAGES)
			return -1;
		*first = __sync_val_compare_and_swap(&queue->rest_taken, taken,
						     taken + n);
		if (*first == taken)
			return 0;
	}
	return -1;
}

/* By its source address xdv_tap knows a stub. */
static __always_inline int mark(struct __sk_buff *skb)
{
	const __u32 at = 2 * 6 - 1;
	__u8 byte;

	if (bpf_skb_load_bytes(skb, at, &byte, 1))
		return -1;
	byte ^= 1;
	return bpf_skb_store_bytes(skb, at, &byte, 1, 0);
}

static __always_inline int make_stub(struct __sk_buff *skb)
{
	const __u32 head = ETH_HLEN + XDV_STUB_HEAD;
	struct xdv_stub stub = {.len = skb->len - head};

	if (take_pages(stub.len, &stub.first) ||
	    fill_pages(skb, head, stub.len, stub.first))
		return -1;
	if (bpf_skb_change_tail(skb, head + sizeof(stub), 0) ||
	    bpf_skb_store_bytes(skb, head, &stub, sizeof(stub), 0))
		return -1;
	return mark(skb);
}

/* What is dropped here never comes out of the tap, and is counted as that. */
SEC("tc")
int xdv_tc_rest(struct __sk_buff *skb)
{
	if (skb->len > ETH_HLEN + XDV_PACKET_MAX && make_stub(skb))
		return TC_ACT_SHOT;
	return bpf_redirect(xdv_inner, 0);
}

char _license[] SEC("license") = "GPL";
