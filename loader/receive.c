// SPDX-License-Identifier: BSD-2-Clause
/* What the kernel wrote into frames becomes packets. */
#include <stddef.h>
#include <string.h>

#include <linux/if_xdp.h>

#include "multibuf.h"
#include "pool.h"
#include "queues.h"

/* Of one packet. */
#define FRAMES_MOST XDV_FRAMES_OF(MULTIBUF_LONGEST + 18)

/* The kernel wrote it on another CPU, as a rule. */
static void prefetch(const struct queues *q, const struct xdp_desc *desc)
{
	const uint8_t *start = q->h->umem + desc->addr;
	const char *p =
		(const void *)&q->h->packets[desc->addr / XDV_FRAME_SIZE];
	size_t i;

	__builtin_prefetch(start - sizeof(struct xdv_meta));
	__builtin_prefetch(start + 32);
	for (i = 0; i < offsetof(struct xdivert_packet, own_memory);
	     i += CACHE_LINE)
		__builtin_prefetch(p + i, 1);
}

static const struct xdv_meta *meta_of(const struct queues *q,
				      const struct xdp_desc *desc)
{
	return (const struct xdv_meta *)(q->h->umem + desc->addr) - 1;
}

static struct xdivert_packet *take(struct queues *q, struct queue *queue,
				   const struct xdp_desc *desc)
{
	uint64_t frame = desc->addr / XDV_FRAME_SIZE;
	struct xdivert_packet *p = &q->h->packets[frame];
	uint8_t *start = p->base + desc->addr % XDV_FRAME_SIZE;
	const struct xdv_meta *meta = meta_of(q, desc);

	p->state = PACKET_OURS;
	p->diverted = true;
	p->summed = queue->tap;
	p->fragment = !meta->rule;
	p->data = start + meta->l3_offset;
	p->len = desc->len - meta->l3_offset;
	p->flags =
		meta->layer == XDV_LAYER_FORWARD ? XDIVERT_PACKET_FORWARDED : 0;
	p->meta = (struct xdivert_metadata){
		.received = meta->timestamp,
		.rule = meta->rule,
		.iif = meta->iif,
		.oif = meta->oif,
		.compartment = q->s->id,
		.layer = meta->layer,
	};
	q->lent_to[frame] = 0;
	queue->lent--;
	return p;
}

/* The frames of a packet from `at` on, or 0 if they are more than n. */
static uint32_t frames_of(struct queue *queue, uint32_t at, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		if (!(xsk_ring_cons__rx_desc(&queue->rx, at + i)->options &
		      XDP_PKT_CONTD))
			return i + 1;
	return 0;
}

/* Copy what does not lie in one frame, or may not stay there; the frames are
 * free again. NULL: there is no memory, and it is dropped.
 */
static struct xdivert_packet *gather(struct queues *q, struct queue *queue,
				     struct xdivert_packet *first, uint32_t at,
				     uint32_t n)
{
	const struct xdp_desc *desc;
	struct xdivert_packet *p;
	uint32_t i, len = first->len, frame;

	for (i = 1; i < n; i++)
		len += xsk_ring_cons__rx_desc(&queue->rx, at + i)->len;
	p = pool_move_out(first, len);
	if (!p)
		xdivert_packet_free(first);
	for (i = 1; i < n; i++) {
		desc = xsk_ring_cons__rx_desc(&queue->rx, at + i);
		if (p) {
			memcpy(p->data + p->len, q->h->umem + desc->addr,
			       desc->len);
			p->len += desc->len;
		}
		frame = desc->addr / XDV_FRAME_SIZE;
		q->lent_to[frame] = 0;
		queue->lent--;
		pool_return(q->h, frame);
	}
	return p;
}

/* Put the rest behind a stub. NULL: it is lost, or there is no memory. */
static struct xdivert_packet *complete(struct queues *q,
				       struct xdivert_packet *first)
{
	struct xdivert_packet *p;
	struct xdv_stub stub;

	first->len -= sizeof(stub);
	memcpy(&stub, first->data + first->len, sizeof(stub));
	p = pool_move_out(first, first->len + stub.len);
	if (!tap_rest(q->tap, &stub, p ? p->data + p->len : NULL) || !p) {
		xdivert_packet_free(p ? p : first);
		return NULL;
	}
	p->len += stub.len;
	return p;
}

static unsigned int receive(struct queues *q, struct queue *queue,
			    struct xdivert_packet **packets, unsigned int max)
{
	uint32_t at, i, m, count = 0;
	uint32_t n = xsk_ring_cons__peek(&queue->rx, max + FRAMES_MOST, &at);
	const struct xdp_desc *desc;
	struct xdivert_packet *p;

	for (i = 0; i < n && i < max; i++)
		prefetch(q, xsk_ring_cons__rx_desc(&queue->rx, at + i));
	for (i = 0; i < n && count < max; i += m) {
		m = frames_of(queue, at + i, n - i);
		if (!m)
			break;
		desc = xsk_ring_cons__rx_desc(&queue->rx, at + i);
		p = take(q, queue, desc);
		if (meta_of(q, desc)->stub)
			p = complete(q, p);
		else if (m > 1 || p->len > XDV_PACKET_MAX)
			p = gather(q, queue, p, at + i, m);
		if (p)
			packets[count++] = p;
	}
	if (i < n)
		xsk_ring_cons__cancel(&queue->rx, n - i);
	if (i) {
		xsk_ring_cons__release(&queue->rx, i);
		__atomic_add_fetch(&q->s->occupancy[queue->row].consumed, i,
				   __ATOMIC_RELEASE);
	}
	return count;
}

unsigned int queues_receive(struct queues *q, struct xdivert_packet **packets,
			    unsigned int max)
{
	unsigned int i, n = 0;

	for (i = 0; i < q->count && n < max; i++)
		n += receive(q, q->queue[(q->next + i) % q->count], packets + n,
			     max - n);
	q->next++;
	q->owes = !n && q->tap && tap_reclaim(q->tap);
	if (!n && !q->h->awake)
		queues_close_idle(q);
	return n;
}
