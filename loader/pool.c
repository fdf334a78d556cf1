// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

int pool_create(struct xdivert_injection *h)
{
	uint32_t i;

	h->packets = calloc(XDV_FRAMES, sizeof(*h->packets));
	h->free = calloc(XDV_FRAMES, sizeof(*h->free));
	if (!h->packets || !h->free)
		return -ENOMEM;
	for (i = 0; i < XDV_FRAMES; i++) {
		h->packets[i].h = h;
		h->packets[i].frame = i;
		h->packets[i].base = h->umem + (size_t)i * XDV_FRAME_SIZE;
		h->free[i] = XDV_FRAMES - 1 - i;
	}
	h->free_count = XDV_FRAMES;
	return 0;
}

void pool_destroy(struct xdivert_injection *h)
{
	free(h->packets);
	free(h->free);
}

/* From the spares as far as they go; without the lock. */
static uint32_t lend_spares(struct xdivert_injection *h, uint32_t *frames,
			    uint32_t n)
{
	uint32_t i;

	if (!inject_dispatches(h))
		return 0;
	if (n > h->spares)
		n = h->spares;
	for (i = 0; i < n; i++) {
		frames[i] = h->spare[--h->spares];
		h->packets[frames[i]].state = PACKET_LENT;
	}
	return n;
}

uint32_t pool_lend(struct xdivert_injection *h, uint32_t *frames, uint32_t n)
{
	uint32_t i = lend_spares(h, frames, n);

	if (i == n)
		return n;
	pthread_mutex_lock(&h->lock);
	if (n > i + h->free_count)
		n = i + h->free_count;
	for (; i < n; i++) {
		frames[i] = h->free[--h->free_count];
		h->packets[frames[i]].state = PACKET_LENT;
	}
	pthread_mutex_unlock(&h->lock);
	return n;
}

void pool_share_spares(struct xdivert_injection *h)
{
	while (h->spares)
		h->free[h->free_count++] = h->spare[--h->spares];
}

void pool_return(struct xdivert_injection *h, uint32_t frame)
{
	h->packets[frame].state = PACKET_FREE;
	if (inject_dispatches(h) && h->spares < SPARE_MAX) {
		h->spare[h->spares++] = frame;
		return;
	}
	pthread_mutex_lock(&h->lock);
	h->free[h->free_count++] = frame;
	pthread_mutex_unlock(&h->lock);
}

static void count_dropped(struct xdivert_packet *p)
{
	if (p->diverted)
		__atomic_fetch_add(&p->h->x->shared->dropped, 1,
				   __ATOMIC_RELAXED);
	p->diverted = false;
}

int pool_abandon(struct xdivert_injection *h)
{
	int n = 0, i;

	for (i = 0; i < XDV_FRAMES; i++) {
		if (h->packets[i].state != PACKET_OURS)
			continue;
		count_dropped(&h->packets[i]);
		n++;
	}
	return n;
}

static void reset(struct xdivert_packet *p, uint32_t len)
{
	p->data = p->base + XDV_HEAD_MAX / 2;
	p->len = len;
	p->flags = 0;
	p->diverted = false;
	p->meta = (struct xdivert_metadata){0};
	p->origin = (struct origin){0};
}

static struct xdivert_packet *take(struct xdivert_injection *h)
{
	struct xdivert_packet *p = NULL;

	if (inject_dispatches(h) && h->spares) {
		p = &h->packets[h->spare[--h->spares]];
		p->state = PACKET_OURS;
		return p;
	}
	pthread_mutex_lock(&h->lock);
	if (h->free_count) {
		p = &h->packets[h->free[--h->free_count]];
		p->state = PACKET_OURS;
	}
	pthread_mutex_unlock(&h->lock);
	return p;
}

struct xdivert_packet *xdivert_packet_alloc(struct xdivert_injection *h,
					    uint32_t len)
{
	struct xdivert_packet *p;

	if (len > XDV_PACKET_MAX)
		return NULL;
	p = take(h);
	if (!p)
		return NULL;
	reset(p, len);
	memset(p->data, 0, len);
	return p;
}

struct xdivert_packet *xdivert_packet_clone(const struct xdivert_packet *p)
{
	struct xdivert_packet *copy = take(p->h);

	if (!copy)
		return NULL;
	copy->data = copy->base + (p->data - p->base);
	copy->len = p->len;
	copy->flags = p->flags;
	copy->diverted = false;
	copy->meta = p->meta;
	copy->origin = p->origin;
	memcpy(copy->data, p->data, p->len);
	return copy;
}

void xdivert_packet_free(struct xdivert_packet *p)
{
	if (!p)
		return;
	if (p->state != PACKET_OURS) {
#ifdef XDIVERT_DEBUG
		abort();
#endif
		return;
	}
	count_dropped(p);
	pool_return(p->h, p->frame);
}

uint8_t *xdivert_packet_data(struct xdivert_packet *p)
{
	return p->data;
}

uint32_t xdivert_packet_len(const struct xdivert_packet *p)
{
	return p->len;
}

const struct xdivert_metadata *
xdivert_packet_metadata(const struct xdivert_packet *p)
{
	return &p->meta;
}

uint32_t xdivert_packet_flags(const struct xdivert_packet *p)
{
	return p->flags;
}

void xdivert_packet_set_flags(struct xdivert_packet *p, uint32_t flags)
{
	p->flags = flags;
}

uint32_t xdivert_packet_headroom(const struct xdivert_packet *p)
{
	uint32_t room = p->data - p->base;

	return room < XDV_PACKET_MAX - p->len ? room : XDV_PACKET_MAX - p->len;
}

uint32_t xdivert_packet_tailroom(const struct xdivert_packet *p)
{
	uint32_t room = p->base + XDV_FRAME_SIZE - (p->data + p->len);

	return room < XDV_PACKET_MAX - p->len ? room : XDV_PACKET_MAX - p->len;
}

int xdivert_packet_push(struct xdivert_packet *p, uint32_t n)
{
	if (n > xdivert_packet_headroom(p))
		return -ENOSPC;
	p->data -= n;
	p->len += n;
	return 0;
}

/* The IP header must stay where BPF looks for it: move the packet if need be.
 */
int xdivert_packet_pull(struct xdivert_packet *p, uint32_t n)
{
	uint8_t *start = p->base + XDV_HEAD_MAX / 2;

	if (n > p->len)
		return -ENOSPC;
	p->data += n;
	p->len -= n;
	if (p->data - p->base >= XDV_HEAD_MAX) {
		memmove(start, p->data, p->len);
		p->data = start;
	}
	return 0;
}

int xdivert_packet_put(struct xdivert_packet *p, uint32_t n)
{
	if (n > xdivert_packet_tailroom(p))
		return -ENOSPC;
	p->len += n;
	return 0;
}

int xdivert_packet_trim(struct xdivert_packet *p, uint32_t n)
{
	if (n > p->len)
		return -ENOSPC;
	p->len -= n;
	return 0;
}
