// SPDX-License-Identifier: GPL-2.0-only
/*
 * What became of it: bpf_redirect() only says that it will try. The kernel's
 * own tracepoints say what it did, and these programs turn that into exactly
 * one completion for each descriptor that xdv_inject redirected.
 *
 * A batch runs with bottom halves disabled on one CPU and ends with a flush,
 * so while descriptors are taken but not settled, whatever this CPU transmits
 * is ours, and the frames of one target leave in the order of the ring. When
 * the batch has ended all are settled: what others transmit is nothing to us.
 */
#include "handle.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* What the kernel calls the map of a bpf_redirect(), since 5.13; 0 before. */
#define NO_MAP 0x7fffffff

/* Set by user space: id of xdv_xsks in the handles that serve, 0 in others, so
 * that what it refuses is counted once.
 */
__u32 xdv_xsks_id;
__u32 xdv_share, xdv_shares = 1; /* of them */
__u32 xdv_inject_id;

/* What one flush to a device did, while its frames are found in the ring. */
struct flush {
	__u32 target;
	__s32 sent;
	__s32 drops;
	__s32 err;
	__u32 position;
	bool gap; /* a descriptor was passed whose fate is not known */
	__u64 time;
	/* Of those that were sent. */
	__u64 first;
	__u32 compartment;
	__u32 count;
	__u32 completed; /* that are whole injections */
	__u32 injected;	 /* and were not counted as that before */
};

static __always_inline bool batch_is_ours(void)
{
	return xdv_ring.cpu == bpf_get_smp_processor_id() &&
	       xdv_ring.settled != xdv_ring.consumer;
}

/* The device takes no XDP frames at all, or its peer does not. */
static __always_inline bool cannot(int err)
{
	return err == -EOPNOTSUPP || err == -ENXIO;
}

/* What xdv_inject need not know of what nothing waits for. */
static __always_inline void find_lane(struct xdv_desc *desc)
{
	__u32 frame = desc->frame, offset = desc->offset;
	__u32 from[4] = {}, to[4] = {};
	__u8 *ip = bpf_map_lookup_elem(&xdv_umem, &frame);

	if (!ip || offset >= XDV_HEAD_MAX)
		return;
	ip += offset;
	if (*ip >> 4 == 4) {
		from[0] = ((struct iphdr *)ip)->saddr;
		to[0] = ((struct iphdr *)ip)->daddr;
	} else {
		__builtin_memcpy(from, &((struct ipv6hdr *)ip)->saddr, 16);
		__builtin_memcpy(to, &((struct ipv6hdr *)ip)->daddr, 16);
	}
	desc->lane = lane_between(from, to);
	desc->hop = hop_to(desc);
}

/* Then its stack does, after what was there before. */
static __always_inline void try_stack(struct xdv_desc *desc, int err)
{
	desc->status = err;
	desc->flags |= XDV_DESC_VIA_STACK;
	find_lane(desc);
	hold(desc);
}

/* What is common to all is written once, and the rest by user space, which
 * waits for the batch to end.
 */
static __always_inline void note_sent(struct flush *f, struct xdv_desc *desc)
{
	if (!f->count)
		f->first = desc->id;
	f->compartment = desc->compartment;
	f->count++;
	f->completed += !(desc->flags & XDV_DESC_PART);
	f->injected += !(desc->flags & (XDV_DESC_PART | XDV_DESC_COUNTED));
	desc->completed = f->time;
	desc->state = XDV_DESC_SENT;
}

static __always_inline void record_sent(const struct flush *f)
{
	struct xdv_stats *stats = stats_of(f->compartment ? 0 : f->target);
	struct xdv_flushed *record;

	if (stats) {
		__sync_fetch_and_add(&stats->injected, f->injected);
		__sync_fetch_and_add(&stats->completed, f->completed);
	}
	record = bpf_ringbuf_reserve(&xdv_completions, sizeof(*record), 0);
	if (!record)
		return; /* cannot be: see the size of xdv_completions */
	record->first = f->first;
	record->completed = f->time;
	record->ifindex = f->target;
	record->compartment = f->compartment;
	record->count = f->count;
	record->pad = 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* The first `sent` frames of a flush went out, the next `drops` did not. */
static __always_inline void complete_flushed(struct flush *f,
					     struct xdv_desc *desc)
{
	if (f->sent > 0) {
		f->sent--;
		note_sent(f, desc);
	} else if (f->drops > 0 && cannot(f->err)) {
		f->drops--;
		try_stack(desc, f->err);
	} else if (f->drops > 0) {
		f->drops--;
		complete(desc, f->err ? f->err : -ENOBUFS,
			 f->err ? XDV_REASON_DEVICE_REFUSED
				: XDV_REASON_QUEUE_FULL,
			 BPF_RB_NO_WAKEUP);
	}
}

/* Visit the ring from `settled` on, and move that over what is known. */
static long visit(__u32 i, struct flush *f)
{
	struct xdv_desc *desc = desc_at(f->position);

	if (!desc)
		return 1;
	if (desc->state == XDV_DESC_TAKEN && desc->ifindex == f->target)
		complete_flushed(f, desc);
	if (desc->state == XDV_DESC_TAKEN)
		f->gap = true;
	f->position++;
	if (!f->gap)
		xdv_ring.settled = f->position;
	return f->gap && f->sent + f->drops <= 0;
}

static __always_inline void settle(struct flush *f)
{
	f->position = xdv_ring.settled;
	bpf_loop(xdv_ring.consumer - f->position, visit, f, 0);
}

/* A packet that was lost between the hook and its AF_XDP socket. */
static __always_inline void count_queue_drop(__u32 ifindex, __u32 row)
{
	struct xdv_queue *queue = bpf_map_lookup_elem(&xdv_queues, &row);
	struct xdv_scratch *scratch;
	struct xdv_stats *stats;
	__u32 zero = 0;

	scratch = bpf_map_lookup_elem(&xdv_scratch, &zero);
	if (scratch && row / XDV_MAX_QUEUES == XDV_TAP_SLOT)
		ifindex = scratch->iif;
	stats = stats_of(ifindex);
	if (queue && scratch)
		__sync_fetch_and_add(&queue->lost, scratch->frames);
	if (stats)
		stats->queue_dropped++;
}

SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(xdv_redirect_err, const struct net_device *dev,
	     const struct bpf_prog *prog, const void *tgt, int err,
	     enum bpf_map_type type, __u32 map_id, __u32 index)
{
	struct flush nothing = {};
	struct xdv_desc *desc;

	if (xdv_xsks_id && map_id == xdv_xsks_id &&
	    XDV_SHARE_OF(index, xdv_shares) == xdv_share)
		count_queue_drop(dev->ifindex, index);
	if (map_id && map_id != NO_MAP)
		return 0;
	if (!batch_is_ours() || prog->aux->id != xdv_inject_id)
		return 0;
	desc = desc_at(xdv_ring.consumer - 1);
	if (!desc || desc->state != XDV_DESC_TAKEN)
		return 0;
	/* The kernel says EINVAL for an ifindex that does not exist. */
	if (cannot(err))
		try_stack(desc, err);
	else if (err == -EINVAL)
		complete(desc, -ENODEV, XDV_REASON_NO_DEVICE, BPF_RB_NO_WAKEUP);
	else
		complete(desc, err,
			 err == -ENETDOWN ? XDV_REASON_DEVICE_DOWN
					  : XDV_REASON_REDIRECT_REFUSED,
			 BPF_RB_NO_WAKEUP);
	settle(&nothing);
	return 0;
}

SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(xdv_devmap_xmit, const struct net_device *from,
	     const struct net_device *to, int sent, int drops, int err)
{
	struct flush flush = {
		.target = to->ifindex,
		.sent = sent,
		.drops = drops,
		.err = err,
	};

	if (!batch_is_ours())
		return 0;
	flush.time = bpf_ktime_get_ns();
	settle(&flush);
	if (flush.count)
		record_sent(&flush);
	return 0;
}

char _license[] SEC("license") = "GPL";
