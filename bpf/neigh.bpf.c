// SPDX-License-Identifier: GPL-2.0-only
/*
 * The universal engine: a frame that the target cannot or shall not transmit
 * as a live one goes into the target's own stack. xdv_inject passes it into
 * the receive path of a device of ours; there xdv_neigh hands it to the stack
 * as if that had routed it: the neighbour is resolved, the link header written
 * (none where there is none), the egress qdisc asked.
 *
 * From then on an sk_buff has it, and what becomes of that is what became of
 * the frame. It is found again by its address, which the tracepoint of receive
 * has seen just before xdv_neigh ran on the same CPU. Addresses are used again
 * at once: if its end went unseen, another's would be taken for it.
 */
#include "handle.h"
#include "parse.h"
#include <bpf/bpf_tracing.h>

#define TC_ACT_SHOT	      2
#define PACKET_HOST	      0
#define IFF_UP		      1
#define LINK_STATE_NO_CARRIER (1 << 2)
#define NETDEV_TX_BUSY	      0x10
#define NET_XMIT_DROP	      1
#define REASONS		      512
#define HEADERS		      (ETH_HLEN + 40) /* which a stack wants to see */

/* errno of each of the kernel's drop reasons; user space knows their names. */
__u16 xdv_errno[REASONS];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4 * XDV_INFLIGHT);
	__type(key, __u64);
	__type(value, struct xdv_tracked);
} xdv_tracked SEC(".maps");

/* The sk_buff that this CPU received last. */
struct received {
	__u64 skb;
	__u64 data; /* behind its link header */
	__u64 net;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct received);
} xdv_received SEC(".maps");

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(xdv_receive_skb, struct sk_buff *skb)
{
	struct received *last;
	__u32 zero = 0;

	if (!xdv_ring.in_stack)
		return 0;
	last = bpf_map_lookup_elem(&xdv_received, &zero);
	if (!last)
		return 0;
	last->skb = (__u64)skb;
	last->data = (__u64)skb->data;
	last->net = (__u64)skb->dev->nd_net.net;
	return 0;
}

/* Who gets true may complete the frame, and nobody else may. */
static __always_inline bool claim(struct xdv_desc *desc, __u64 id)
{
	if (!id || __sync_val_compare_and_swap(&desc->waiting, id, 0) != id)
		return false;
	leave_stack(desc);
	return true;
}

/* User space looks for what is held of the call that brought it, and no other:
 * a backlog (RPS) may be late.
 */
static __always_inline bool of_this_batch(const struct __sk_buff *skb)
{
	const struct xdv_stack_tag *tag = (void *)(long)skb->data;

	return (void *)(tag + 1) <= (void *)(long)skb->data_end &&
	       tag->batch == xdv_ring.batch;
}

static __always_inline bool in_batch(void)
{
	return xdv_ring.cpu == bpf_get_smp_processor_id();
}

/* The descriptor that xdv_inject wrote into a frame's link header. */
static __always_inline struct xdv_desc *desc_in(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	struct xdv_stack_tag *tag = data;
	struct xdv_desc *desc;
	__u32 slot;

	if (data + ETH_HLEN > (void *)(long)skb->data_end)
		return NULL;
	slot = tag->slot;
	desc = bpf_map_lookup_elem(&xdv_inflight, &slot);
	return desc && desc->waiting == desc->id && (__u32)desc->id == tag->id
		       ? desc
		       : NULL;
}

/* NULL if the tracepoint was silent about the one that this is. */
static __always_inline struct received *received(const struct __sk_buff *skb)
{
	__u64 data = (__u64)(long)skb->data;
	__u32 zero = 0;
	struct received *last = bpf_map_lookup_elem(&xdv_received, &zero);

	return last && last->data == data + ETH_HLEN ? last : NULL;
}

static __always_inline bool track(const struct received *last,
				  const struct xdv_desc *desc, __u32 iif)
{
	struct xdv_tracked tracked = {
		.id = desc->id, .slot = desc->slot, .iif = iif};
	__u64 key;

	if (!last)
		return false;
	tracked.net = last->net;
	key = last->skb;
	return !bpf_map_update_elem(&xdv_tracked, &key, &tracked, BPF_ANY);
}

SEC("tc")
int xdv_neigh(struct __sk_buff *skb)
{
	struct xdv_desc *desc = desc_in(skb);
	struct bpf_redir_neigh nexthop = {};
	struct received *last;

	if (!desc)
		return TC_ACT_SHOT; /* not ours */
	last = received(skb);
	/* What user space has handed over asks already: it had its turn in its
	 * own batch, and this may be a later one.
	 */
	if (!desc->asking && in_batch() && of_this_batch(skb) && waits(desc)) {
		if (claim(desc, desc->id))
			hold(desc);
		return TC_ACT_SHOT;
	}
	/* User space may have it from a socket that keeps no header together.
	 */
	bpf_skb_pull_data(skb, HEADERS);
	if (!desc->asking)
		begin_asking(desc);
	/* Given up on in this moment, elsewhere? */
	if (desc->waiting != desc->id) {
		end_asking(desc);
		return TC_ACT_SHOT;
	}
	if (!track(last, desc, skb->ingress_ifindex)) {
		if (claim(desc, desc->id))
			complete(desc, -ENOBUFS, XDV_REASON_ENGINE, 0);
		return TC_ACT_SHOT;
	}
	desc->state = XDV_DESC_TRACKED;
	bpf_skb_change_type(skb, PACKET_HOST);
	nexthop.nh_family = desc->family;
	__builtin_memcpy(nexthop.ipv6_nh, desc->nexthop,
			 sizeof(nexthop.ipv6_nh));
	return bpf_redirect_neigh(desc->ifindex, &nexthop, sizeof(nexthop), 0);
}

/*
 * IPv6 names no reason when nobody answered its solicitations. But a frame that
 * waits for an answer has nothing else to fail of some time after the batch
 * that brought it.
 */
static __always_inline bool gave_up_waiting(const struct xdv_desc *desc,
					    const struct xdv_tracked *frame,
					    __s32 status)
{
	return status == -EIO && !frame->device && desc->asking &&
	       desc->family == AF_INET6 && !in_batch();
}

static __always_inline void finish(const struct sk_buff *skb,
				   const struct xdv_tracked *frame,
				   __s32 status, __u32 reason)
{
	__u32 slot = frame->slot;
	__u64 id = frame->id, key = (__u64)skb;
	struct xdv_desc *desc = bpf_map_lookup_elem(&xdv_inflight, &slot);

	if (desc && gave_up_waiting(desc, frame, status)) {
		status = -EHOSTUNREACH;
		reason = XDV_REASON_NEIGH_FAILED;
	}
	bpf_map_delete_elem(&xdv_tracked, &key);
	if (desc && claim(desc, id))
		complete(desc, status, reason, 0);
}

static __always_inline struct xdv_tracked *find(const struct sk_buff *skb)
{
	__u64 key = (__u64)skb;

	return xdv_ring.in_stack ? bpf_map_lookup_elem(&xdv_tracked, &key)
				 : NULL;
}

/*
 * Nothing but our frames came in by our device, and they say so until a device
 * has them.
 */
static __always_inline bool came_our_way(const struct sk_buff *skb,
					 const struct xdv_tracked *frame)
{
	return (__u32)skb->skb_iif == frame->iif &&
	       (__u64)skb->dev->nd_net.net == frame->net;
}

/*
 * Another sk_buff at the address: nobody saw what became of ours. Some kernels
 * run no tracing program while a softirq interrupts init.
 */
static __always_inline struct xdv_tracked *tracked(const struct sk_buff *skb)
{
	struct xdv_tracked *frame = find(skb);

	if (!frame || frame->device || came_our_way(skb, frame))
		return frame;
	finish(skb, frame, -ETIMEDOUT, XDV_REASON_UNKNOWN);
	return NULL;
}

/* While a device transmits it on another CPU, it is the device's already:
 * whoever is at the other end may be done with it before the driver returns.
 */
static __always_inline bool taken_elsewhere(const struct xdv_tracked *frame)
{
	return frame->device && frame->cpu != bpf_get_smp_processor_id();
}

/* The qdisc has it: what follows may come. Without a qdisc the driver has. */
SEC("tp_btf/qdisc_enqueue")
int BPF_PROG(xdv_qdisc_enqueue, void *qdisc, void *txq,
	     const struct sk_buff *skb)
{
	struct xdv_tracked *frame = tracked(skb);
	struct xdv_desc *desc;
	__u32 slot;
	void *nudge;

	if (!frame)
		return 0;
	slot = frame->slot;
	desc = bpf_map_lookup_elem(&xdv_inflight, &slot);
	if (!desc || desc->waiting != frame->id)
		return 0;
	/* User space looks at what it holds when anything completes. */
	if (!end_asking(desc) || !xdv_ring.waiting)
		return 0;
	nudge = bpf_ringbuf_reserve(&xdv_completions, 8, 0);
	if (nudge)
		bpf_ringbuf_submit(nudge, 0);
	return 0;
}

/* A device below (of a bridge, a macvlan) transmits the same sk_buff. */
SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(xdv_start_xmit, const struct sk_buff *skb,
	     const struct net_device *dev)
{
	struct xdv_tracked *frame = tracked(skb);

	if (!frame || frame->device)
		return 0;
	frame->cpu = bpf_get_smp_processor_id();
	frame->device = (__u64)dev;
	return 0;
}

SEC("tp_btf/net_dev_xmit")
int BPF_PROG(xdv_dev_xmit, const struct sk_buff *skb, int rc,
	     const struct net_device *dev, unsigned int len)
{
	struct xdv_tracked *frame = find(skb); /* it may be gone by now */

	if (!frame || frame->device != (__u64)dev || taken_elsewhere(frame))
		return 0;
	if (rc == NETDEV_TX_BUSY)
		frame->device = 0; /* it will be tried again */
	else if (rc == NET_XMIT_DROP || rc < 0)
		finish(skb, frame, -EIO, XDV_REASON_DEVICE_REFUSED);
	else
		finish(skb, frame, 0, XDV_REASON_NONE);
	return 0;
}

/* Some reasons are as vague as NOT_SPECIFIED; then the device knows better. */
static __always_inline __s32 status_of(const struct sk_buff *skb, __u32 reason)
{
	const struct net_device *dev = skb->dev;
	__s32 status = reason < REASONS ? xdv_errno[reason] : 0;

	if (dev && !(dev->flags & IFF_UP))
		return -ENETDOWN;
	if (dev && dev->state & LINK_STATE_NO_CARRIER)
		return -ENXIO;
	return status ? -status : -EIO;
}

static __always_inline int dropped(const struct sk_buff *skb, __u32 reason)
{
	struct xdv_tracked *frame = tracked(skb);

	if (!frame)
		return 0;
	if (taken_elsewhere(frame))
		finish(skb, frame, 0, XDV_REASON_NONE);
	else
		finish(skb, frame, status_of(skb, reason),
		       XDV_REASON_KERNEL | reason);
	return 0;
}

/* A device may be done with a frame, or with a copy of it. Who takes it before
 * a device sees it (TC) does not say what for.
 */
static __always_inline int consumed(const struct sk_buff *skb)
{
	struct xdv_tracked *frame = tracked(skb);

	if (!frame)
		return 0;
	if (taken_elsewhere(frame))
		finish(skb, frame, 0, XDV_REASON_NONE);
	else
		finish(skb, frame, frame->device ? 0 : -ETIMEDOUT,
		       XDV_REASON_CONSUMED);
	return 0;
}

/*
 * The kernel does not run a tracing program on a CPU that is in the midst of
 * it. But a softirq that ends one of our frames may interrupt what ends an
 * sk_buff of somebody else's. It cannot be in the midst of two programs: one
 * of each pair sees every end. No other tracepoint here is reached with
 * softirqs enabled.
 */
SEC("tp_btf/kfree_skb")
int BPF_PROG(xdv_kfree_skb, const struct sk_buff *skb, void *location,
	     __u32 reason)
{
	return dropped(skb, reason);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(xdv_kfree_skb2, const struct sk_buff *skb, void *location,
	     __u32 reason)
{
	return dropped(skb, reason);
}

SEC("tp_btf/consume_skb")
int BPF_PROG(xdv_consume, const struct sk_buff *skb)
{
	return consumed(skb);
}

SEC("tp_btf/consume_skb")
int BPF_PROG(xdv_consume2, const struct sk_buff *skb)
{
	return consumed(skb);
}

char _license[] SEC("license") = "GPL";
