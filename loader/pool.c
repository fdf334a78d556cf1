// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fragment.h"
#include "pool.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define HEAD	  (XDV_HEAD_MAX / 2)
/* To grow by, where that is possible at all. */
#define TAIL	  1024
/* What packets may take beside the UMEM. */
#define OWN_MAX	  (128u << 20)

/* Thousands that take turns are a few pages for the CPU, if these are big. */
static struct xdivert_packet *allocate(size_t n)
{
	size_t size = (n * sizeof(struct xdivert_packet) + HUGE_PAGE - 1) &
		      ~(HUGE_PAGE - 1);
	struct xdivert_packet *packets = aligned_alloc(HUGE_PAGE, size);

	if (!packets)
		return NULL;
	madvise(packets, size, MADV_HUGEPAGE);
	return memset(packets, 0, n * sizeof(*packets));
}

int pool_create(struct xdivert_injection *h)
{
	uint32_t i;

	h->packets = allocate(XDV_FRAMES);
	h->free = calloc(XDV_FRAMES, sizeof(*h->free));
	if (!h->packets || !h->free)
		return -ENOMEM;
	for (i = 0; i < XDV_FRAMES; i++) {
		h->packets[i].h = h;
		h->packets[i].frame = i;
		h->packets[i].base = h->umem + (size_t)i * XDV_FRAME_SIZE;
		h->packets[i].room = XDV_FRAME_SIZE;
		h->packets[i].weight = 1;
		h->free[i] = XDV_FRAMES - 1 - i;
	}
	h->free_count = XDV_FRAMES;
	return 0;
}

/* ---- packets with memory of their own ---- */

static struct xdivert_packet *take_own(struct xdivert_injection *h,
				       uint32_t len)
{
	uint32_t room = HEAD + len + TAIL;
	struct xdivert_packet *p = aligned_alloc(CACHE_LINE, sizeof(*p));
	bool full;

	if (p)
		*p = (struct xdivert_packet){.base = malloc(room)};
	if (!p || !p->base) {
		free(p);
		return NULL;
	}
	p->h = h;
	p->frame = NO_FRAME;
	p->room = room;
	p->weight = 1;
	p->state = PACKET_OURS;
	pthread_mutex_lock(&h->lock);
	full = h->own_bytes + room > OWN_MAX;
	if (!full) {
		h->own_bytes += room;
		LIST_INSERT_HEAD(&h->own_memory, p, own_memory);
	}
	pthread_mutex_unlock(&h->lock);
	if (!full)
		return p;
	free(p->base);
	free(p);
	return NULL;
}

static void free_own(struct xdivert_packet *p)
{
	struct xdivert_injection *h = p->h;

	pthread_mutex_lock(&h->lock);
	h->own_bytes -= p->room;
	LIST_REMOVE(p, own_memory);
	pthread_mutex_unlock(&h->lock);
	free(p->shape);
	free(p->base);
	free(p);
}

/* What the next one in this frame must not inherit. */
static void strip(struct xdivert_packet *p)
{
	free(p->shape);
	free(p->big);
	p->shape = NULL;
	p->big = NULL;
	p->whole = NULL;
	p->weight = 1;
	p->fragment = false;
	p->quote_len = 0;
}

void pool_destroy(struct xdivert_injection *h)
{
	uint32_t i;

	while (!LIST_EMPTY(&h->own_memory))
		free_own(LIST_FIRST(&h->own_memory));
	for (i = 0; h->packets && i < XDV_FRAMES; i++)
		strip(&h->packets[i]);
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
	strip(&h->packets[frame]);
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
		__atomic_fetch_add(&p->h->x->shared->dropped, p->weight,
				   __ATOMIC_RELAXED);
	p->diverted = false;
}

int pool_abandon(struct xdivert_injection *h)
{
	struct xdivert_packet *p;
	int n = 0, i;

	LIST_FOREACH(p, &h->own_memory, own_memory)
	{
		count_dropped(p);
		n++;
	}
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
	p->data = p->base + HEAD;
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

	if (len > XDIVERT_PACKET_MAX)
		return NULL;
	p = len > XDV_PACKET_MAX ? take_own(h, len) : take(h);
	if (!p)
		return NULL;
	reset(p, len);
	memset(p->data, 0, len);
	return p;
}

/* All but its bytes, and what belongs to the original alone. */
static void copy_fields(struct xdivert_packet *to,
			const struct xdivert_packet *from)
{
	to->len = from->len;
	to->flags = from->flags;
	to->diverted = false;
	to->meta = from->meta;
	to->origin = from->origin;
	to->quote_len = from->quote_len;
	memcpy(to->quote, from->quote, from->quote_len);
}

static bool copy_shape(struct xdivert_packet *to,
		       const struct xdivert_packet *from)
{
	size_t size;

	if (!from->shape)
		return true;
	size = sizeof(*from->shape) +
	       from->shape->count * sizeof(from->shape->one[0]);
	to->shape = malloc(size);
	if (to->shape)
		memcpy(to->shape, from->shape, size);
	return to->shape;
}

struct xdivert_packet *xdivert_packet_clone(const struct xdivert_packet *p)
{
	struct xdivert_packet *copy =
		p->frame == NO_FRAME ? take_own(p->h, p->len) : take(p->h);

	if (!copy)
		return NULL;
	copy_fields(copy, p);
	copy->data = p->frame == NO_FRAME ? copy->base + HEAD
					  : copy->base + (p->data - p->base);
	memcpy(copy->data, p->data, p->len);
	if (copy_shape(copy, p))
		return copy;
	xdivert_packet_free(copy);
	return NULL;
}

struct xdivert_packet *pool_take(struct xdivert_injection *h)
{
	struct xdivert_packet *p = take(h);

	if (p)
		reset(p, 0);
	return p;
}

struct xdivert_packet *pool_take_own(struct xdivert_injection *h, uint32_t len)
{
	struct xdivert_packet *p = take_own(h, len);

	if (p)
		reset(p, len);
	return p;
}

static struct xdivert_packet *move(struct xdivert_packet *p,
				   struct xdivert_packet *copy)
{
	if (!copy)
		return NULL;
	copy_fields(copy, p);
	copy->data = copy->base + HEAD;
	memcpy(copy->data - POOL_LINK, p->data - POOL_LINK, p->len + POOL_LINK);
	copy->shape = p->shape;
	p->shape = NULL;
	copy->weight = p->weight;
	copy->fragment = p->fragment;
	copy->summed = p->summed;
	copy->diverted = p->diverted;
	p->diverted = false;
	xdivert_packet_free(p);
	return copy;
}

struct xdivert_packet *pool_move_in(struct xdivert_packet *p)
{
	return move(p, take(p->h));
}

struct xdivert_packet *pool_move_out(struct xdivert_packet *p, uint32_t len)
{
	return move(p, take_own(p->h, len));
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
	if (p->frame == NO_FRAME)
		free_own(p);
	else
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

/* What is left to the longest packet that can be where it is. */
static uint32_t at_most(const struct xdivert_packet *p, uint32_t room)
{
	uint32_t most =
		p->frame == NO_FRAME ? XDIVERT_PACKET_MAX : XDV_PACKET_MAX;

	return room < most - p->len ? room : most - p->len;
}

uint32_t xdivert_packet_headroom(const struct xdivert_packet *p)
{
	return at_most(p, p->data - p->base);
}

uint32_t xdivert_packet_tailroom(const struct xdivert_packet *p)
{
	return at_most(p, p->base + p->room - (p->data + p->len));
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
	uint8_t *start = p->base + HEAD;

	if (n > p->len)
		return -ENOSPC;
	p->data += n;
	p->len -= n;
	if (p->frame != NO_FRAME && p->data - p->base >= XDV_HEAD_MAX) {
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

int xdivert_packet_fragments(const struct xdivert_packet *p,
			     struct xdivert_fragment *list, int n)
{
	int i, count = p->shape ? p->shape->count : 0;

	for (i = 0; i < count && i < n; i++)
		list[i] = p->shape->one[i];
	return count;
}
