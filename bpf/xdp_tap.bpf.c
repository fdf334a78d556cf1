// SPDX-License-Identifier: GPL-2.0-only
/*
 * The far end of a tap: what the TC hook sent into it goes to the AF_XDP
 * socket of the daemon, with the metadata that the hook noted under the number
 * in the frame's destination address. Anything else is a stray and is dropped.
 */
#include "hits.h"
#include "maps.h"
#include "parse.h"

#define ETH_P_8021Q  0x8100
#define ETH_P_8021AD 0x88a8
#define VLAN_HLEN    4

/* Ours; 1: a stub. */
static __always_inline int kind_of(const struct ethhdr *eth,
				   const struct xdv_control *control)
{
	__u8 source[ETH_ALEN];

	if (same_mac(eth->h_source, control->mac))
		return 0;
	__builtin_memcpy(source, eth->h_source, ETH_ALEN);
	source[ETH_ALEN - 1] ^= 1;
	return same_mac(source, control->mac) ? 1 : -1;
}

/* The note of a frame; -1 if there is none (any more). */
static __always_inline int read_note(const struct ethhdr *eth,
				     const struct xdv_control *control,
				     struct xdv_tapped *note)
{
	int kind = kind_of(eth, control);
	struct xdv_tapped *t;
	__u64 number = 0;
	__u64 seq;
	__u32 key;

	if (kind < 0)
		return -1;
	__builtin_memcpy(&number, eth->h_dest, ETH_ALEN);
	seq = bpf_be64_to_cpu(number) >> 16;
	key = seq & (XDV_TAPPED - 1);
	t = bpf_map_lookup_elem(&xdv_tapped, &key);
	if (!t || __sync_fetch_and_add(&t->seq, 0) != seq)
		return -1;
	__builtin_memcpy(note, t, sizeof(*note));
	note->meta.stub = kind;
	/* Was it written anew meanwhile? */
	return __sync_fetch_and_add(&t->seq, 0) == seq ? 0 : -1;
}

/* All that went into the tap before it is not in it any more. */
static __always_inline void advance(struct xdv_queue *queue,
				    const struct xdv_tapped *note)
{
	__u64 left;

	if (queue->seq != note->seq) {
		queue->seq = note->seq;
		queue->run = 0;
	}
	if (queue->run < note->segments)
		queue->run++;
	left = note->position + queue->run;
	if (left > queue->left)
		queue->left = left;
}

static __always_inline int
write_meta(struct xdp_md *ctx, const struct xdv_meta *from, __u16 l3_offset)
{
	struct xdv_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return -1;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -1;
	*meta = *from;
	meta->l3_offset = l3_offset;
	return 0;
}

/* Of the whole frame, be this a stub of it. */
static __always_inline __u32 frame_len(struct xdp_md *ctx, bool is_stub)
{
	__u32 len = bpf_xdp_get_buff_len(ctx);
	struct xdv_stub stub;

	if (!is_stub || len < sizeof(stub) ||
	    bpf_xdp_load_bytes(ctx, len - sizeof(stub), &stub, sizeof(stub)))
		return len;
	return len - sizeof(stub) + stub.len;
}

SEC("xdp")
int xdv_tap(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct xdv_tapped note;
	struct xdv_control *control;
	struct xdv_scratch *scratch;
	struct xdv_queue *queue;
	struct xdv_stats *stats;
	__u16 l3_offset = ETH_HLEN;
	__u32 zero = 0, len;
	bool is_stub;

	control = bpf_map_lookup_elem(&xdv_control, &zero);
	scratch = bpf_map_lookup_elem(&xdv_scratch, &zero);
	if (!control || !scratch ||
	    (void *)(eth + 1) > (void *)(long)ctx->data_end ||
	    read_note(eth, control, &note))
		return XDP_DROP;
	stats = stats_of(note.meta.iif);
	queue = bpf_map_lookup_elem(&xdv_queues, &note.row);
	if (!stats || !queue)
		return XDP_DROP;
	advance(queue, &note);
	if (eth->h_proto == bpf_htons(ETH_P_8021Q) ||
	    eth->h_proto == bpf_htons(ETH_P_8021AD))
		l3_offset += VLAN_HLEN;
	is_stub = note.meta.stub;
	if (write_meta(ctx, &note.meta, l3_offset))
		return XDP_DROP;
	/* Should the socket refuse it: that is whose loss it is. */
	len = frame_len(ctx, is_stub);
	scratch->iif = note.meta.iif;
	scratch->frames = is_stub ? 1 : XDV_FRAMES_OF(len);
	if (bpf_redirect_map(&xdv_xsks, note.row, 0) != XDP_REDIRECT)
		return XDP_DROP;
	stats->seen++;
	stats->redirected++;
	stats->tap_out++;
	count_hit(note.slot, len, note.meta.timestamp);
	queue->produced += scratch->frames;
	return XDP_REDIRECT;
}

char _license[] SEC("license") = "GPL";
