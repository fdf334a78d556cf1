// SPDX-License-Identifier: BSD-2-Clause
/*
 * A packet is known by a digest of all of it but what forwarding changes. It is
 * looked for by a tag, which is of its head alone: of the many packets that
 * were not injected no more is read than that. The digest is of all the rest
 * too, so that nobody can make a packet that passes for another.
 *
 * A packet returns only with a TTL that is not above the one that left. A fresh
 * repetition of what was diverted has the TTL that the first had, whatever a
 * callout made of that.
 *
 * The entry of a packet is its last injection. When another handle injects it
 * again, the entry before is kept under a digest of packet and handle, so that
 * each handle finds its own, however many came after it.
 */
#include <stdbool.h>

#include "clock.h"
#include "digest.h"
#include "seen.h"
#include "seen_table.h"

#define REMEMBERED 10000000000ull /* ns */

/* Under this, a handle's injection is kept when another one's follows. */
static uint64_t tag_for(uint64_t tag, uint64_t handle)
{
	tag = (tag ^ handle) * 0x9e3779b185ebca87ull;
	return tag ^ tag >> 29;
}

/* Is it the entry of that packet, now seen with that TTL? */
static bool matches(const struct xdv_injected *e, uint64_t digest,
		    unsigned int ttl)
{
	return e->digest == digest && ttl <= e->ttl && ttl != e->received &&
	       now() - e->time <= REMEMBERED;
}

static unsigned int ttl_of(const struct xdivert_packet *p)
{
	return p->data[0] >> 4 == 4 ? p->data[8] : p->data[7];
}

/* What comes back from the stack has passed a hop there. */
static unsigned int ttl_sent(const struct xdivert_packet *p)
{
	unsigned int ttl = ttl_of(p);

	return ttl && p->request.flags & (XDV_DESC_DECREMENT_TTL |
					  XDV_DESC_RECEIVE)
		       ? ttl - 1
		       : ttl;
}

/* The CPU fetches the packet after the next while it digests this one. */
static void prefetch(const struct xdivert_packet *p)
{
	uint32_t at;

	for (at = 0; p && at < p->len; at += 64)
		__builtin_prefetch(p->data + at);
}

void seen_prepare_record(struct xdivert_injection *h, struct xdivert_packet *p,
			 uint64_t place)
{
	struct request *r = &p->request;

	if (r->next)
		prefetch(r->next->request.next);
	r->tag = digest_head(h->seen_keys, packet_bytes(p), p->len);
	__builtin_prefetch(seen_table_set(h, r->tag), 1);
	__builtin_prefetch(seen_table_entry(h, place), 1);
	r->digest = digest_all(h->seen_keys, r->tag, packet_bytes(p), p->len);
}

/* The same injection under another tag. */
static void enter_as(struct xdivert_injection *h, uint64_t tag,
		     const struct xdv_injected *last)
{
	struct xdv_injected *e =
		seen_table_enter(h, tag, seen_table_places(h, 1));

	*e = *last;
	e->tag = tag;
	seen_table_seal(e);
}

static bool by_other(const struct xdivert_injection *h, const struct request *r,
		     unsigned int ttl, struct xdv_injected *last)
{
	return seen_table_find(h, r->tag, last) &&
	       matches(last, r->digest, ttl) && last->handle != h->id;
}

void seen_record(struct xdivert_injection *h, const struct xdivert_packet *p,
		 uint64_t time, uint64_t place)
{
	const struct request *r = &p->request;
	unsigned int ttl = ttl_sent(p);
	struct xdv_injected last, *e;
	uint64_t previous = 0;

	if (by_other(h, r, ttl, &last)) {
		previous = last.handle;
		enter_as(h, tag_for(r->tag, last.handle), &last);
	}
	e = seen_table_enter(h, r->tag, place);
	e->digest = r->digest;
	e->handle = h->id;
	e->previous = previous;
	e->context = r->context;
	e->time = time;
	e->ttl = ttl;
	e->received = p->origin.ttl;
	seen_table_seal(e);
}

/* It was not injected after all: the one before is the last again. */
void seen_forget(struct xdivert_injection *h, const struct xdivert_packet *p)
{
	const struct request *r = &p->request;
	struct xdv_injected e, last;

	if (!seen_table_find(h, r->tag, &e) || e.handle != h->id ||
	    e.digest != r->digest)
		return;
	if (e.previous &&
	    seen_table_find(h, tag_for(r->tag, e.previous), &last))
		enter_as(h, r->tag, &last);
	else
		seen_table_remove(h, r->tag);
}

void seen_prepare_lookup(const struct xdivert_injection *h,
			 struct xdivert_packet *p)
{
	p->origin = (struct origin){
		.tag = digest_head(h->seen_keys, p->data, p->len),
		.ttl = ttl_of(p),
	};
	__builtin_prefetch(seen_table_set(h, p->origin.tag));
}

void seen_lookup(const struct xdivert_injection *h, struct xdivert_packet *p)
{
	struct origin *o = &p->origin;
	struct xdv_injected e;

	if (!seen_table_find(h, o->tag, &e))
		return;
	o->digest = digest_all(h->seen_keys, o->tag, p->data, p->len);
	if (matches(&e, o->digest, o->ttl)) {
		o->handle = e.handle;
		o->previous = e.previous;
		o->context = e.context;
	}
}

enum xdivert_injection_state seen_state(const struct xdivert_injection *h,
					const struct origin *o,
					uint64_t *context)
{
	struct xdv_injected e;

	*context = 0;
	if (!o->handle)
		return XDIVERT_NOT_INJECTED;
	if (o->handle == h->id) {
		*context = o->context;
		return XDIVERT_INJECTED_BY_SELF;
	}
	if (seen_table_find(h, tag_for(o->tag, h->id), &e) &&
	    e.handle == h->id && matches(&e, o->digest, o->ttl)) {
		*context = e.context;
		return XDIVERT_PREVIOUSLY_INJECTED_BY_SELF;
	}
	return o->previous ? XDIVERT_PREVIOUSLY_INJECTED_BY_OTHER
			   : XDIVERT_INJECTED_BY_OTHER;
}
