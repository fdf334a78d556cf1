// SPDX-License-Identifier: GPL-2.0-only
/*
 * What became of it: bpf_redirect() only says that it will try. The kernel's
 * own tracepoints say what it did, and these programs turn that into exactly
 * one completion for each descriptor that xdv_inject redirected.
 *
 * A batch runs with bottom halves disabled on one CPU and ends with a flush,
 * so while descriptors are taken but not settled, whatever this CPU transmits
 * is ours, and the frames of one target leave in the order of the ring.
 */
#include "handle.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

extern struct xdv_ring xdv_ring;

#define XDV_BATCH_MAX 256

/* Set by user space: id of xdv_xsks, to tell its refusals apart. */
__u32 xdv_xsks_id;
__u32 xdv_inject_id;

static __always_inline bool batch_is_ours(void)
{
	return xdv_ring.cpu == bpf_get_smp_processor_id() &&
	       xdv_ring.settled != xdv_ring.consumer;
}

/* Move on over everything that has its completion. */
static __always_inline void settle(void)
{
	__u32 position = xdv_ring.settled;
	struct xdv_desc *desc;
	int i;

	for (i = 0; i < XDV_BATCH_MAX; i++) {
		if (position == xdv_ring.consumer)
			break;
		desc = desc_at(position);
		if (!desc || desc->state != XDV_DESC_DONE)
			break;
		position++;
	}
	xdv_ring.settled = position;
}

/* A packet that was lost between the hook and its AF_XDP socket. */
static __always_inline void count_queue_drop(__u32 ifindex, __u32 row)
{
	struct xdv_queue *queue = bpf_map_lookup_elem(&xdv_queues, &row);
	struct xdv_stats *stats = stats_of(ifindex);

	if (queue)
		queue->lost++;
	if (stats)
		stats->queue_dropped++;
}

SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(xdv_redirect_err, const struct net_device *dev,
	     const struct bpf_prog *prog, const void *tgt, int err,
	     enum bpf_map_type type, __u32 map_id, __u32 index)
{
	struct xdv_desc *desc;

	if (map_id) {
		if (map_id == xdv_xsks_id)
			count_queue_drop(dev->ifindex, index);
		return 0;
	}
	if (!batch_is_ours() || prog->aux->id != xdv_inject_id)
		return 0;
	desc = desc_at(xdv_ring.consumer - 1);
	if (!desc || desc->state != XDV_DESC_TAKEN)
		return 0;
	/* The kernel says EINVAL for an ifindex that does not exist. */
	if (err == -EINVAL)
		complete(desc, xdv_ring.consumer - 1, -ENODEV,
			 XDV_REASON_NO_DEVICE, NULL);
	else
		complete(desc, xdv_ring.consumer - 1, err,
			 XDV_REASON_REDIRECT_REFUSED, NULL);
	settle();
	return 0;
}

SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(xdv_devmap_xmit, const struct net_device *from,
	     const struct net_device *to, int sent, int drops, int err)
{
	__u32 target = to->ifindex, position;
	struct xdv_desc *desc;
	int i;

	if (!batch_is_ours())
		return 0;
	position = xdv_ring.settled;
	for (i = 0; i < XDV_BATCH_MAX; i++, position++) {
		if (position == xdv_ring.consumer || sent + drops <= 0)
			break;
		desc = desc_at(position);
		if (!desc)
			break;
		if (desc->state != XDV_DESC_TAKEN || desc->ifindex != target)
			continue;
		if (sent > 0) {
			complete(desc, position, 0, XDV_REASON_NONE, NULL);
			sent--;
			continue;
		}
		complete(desc, position, err ? err : -ENOBUFS,
			 err ? XDV_REASON_DEVICE_REFUSED :
			       XDV_REASON_QUEUE_FULL,
			 NULL);
		drops--;
	}
	settle();
	return 0;
}

char _license[] SEC("license") = "GPL";
