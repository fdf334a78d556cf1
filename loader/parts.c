// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "clock.h"
#include "compartment.h"
#include "fragment.h"
#include "home.h"
#include "live.h"
#include "netdev.h"
#include "parts.h"
#include "pool.h"
#include "ring.h"
#include "tell.h"

#define MTU_VALID 100000000ull /* ns that we believe an interface's MTU */
#define IP_DF	  0x4000

struct parts {
	struct split split;
	uint64_t id;
	unsigned int left; /* to be made */
	unsigned int out;  /* under way */
	bool sending;
	bool probed;	/* the first has gone: no route says less */
	bool left_some; /* one may have left, and its MTU cannot be another */
	struct xdv_completion first;
};

/* ---- how big is too big ---- */

static uint32_t ask_mtu(struct xdivert_injection *h, const struct request *r)
{
	char name[IF_NAMESIZE];
	int mtu = -1;

	if (home_enter(h))
		return UINT32_MAX;
	if (r->compartment && compartment_switch(r->compartment, r->born))
		return UINT32_MAX;
	if (if_indextoname(r->ifindex, name))
		mtu = netdev_mtu(name);
	if (r->compartment)
		home_return(h);
	/* The engine will say why nothing can be sent there. */
	return mtu > 0 ? (uint32_t)mtu : UINT32_MAX;
}

static uint32_t mtu_of(struct xdivert_injection *h, const struct request *r)
{
	struct known_mtu *known = &h->mtu[r->ifindex % KNOWN_MTUS];
	uint64_t time = r->submitted;

	if (known->ifindex != r->ifindex ||
	    known->compartment != r->compartment ||
	    time - known->at > MTU_VALID) {
		known->mtu = ask_mtu(h, r);
		known->ifindex = r->ifindex;
		known->compartment = r->compartment;
		known->at = time;
	}
	return r->mtu && r->mtu < known->mtu ? r->mtu : known->mtu;
}

bool parts_wanted(struct xdivert_injection *h, const struct xdivert_packet *p)
{
	const struct request *r = &p->request;

	if (p->parts || p->frame == NO_FRAME || p->shape || p->weight > 1)
		return true;
	if (r->flags & XDV_DESC_RECEIVE)
		return false;
	/* No interface takes less than 68, but a route may (mtu lock). */
	return (p->len > 68 || r->mtu) && p->len > mtu_of(h, r);
}

static bool dont_fragment(const struct xdivert_packet *p)
{
	if (p->flags & XDIVERT_PACKET_NO_FRAGMENT)
		return true;
	if (p->data[0] >> 4 == 4)
		return be16(p->data + 6) & IP_DF;
	return !p->shape;
}

/*
 * As the kernel does with what it put together itself: a group leaves as
 * fragments no longer than they were, and is too big if they were too big and
 * must not be cut further.
 */
static bool too_big(const struct xdivert_packet *p, uint32_t mtu)
{
	if (p->flags & XDIVERT_PACKET_NO_FRAGMENT)
		return p->len > mtu;
	if (p->shape)
		return p->shape->max > mtu &&
		       (p->data[0] >> 4 == 6 || dont_fragment(p));
	return p->len > mtu && dont_fragment(p);
}

/* ---- the end ---- */

/* Only what somebody sent to us has a sender to be told. */
static bool wants_answer(const struct xdivert_packet *p)
{
	return p->flags & XDIVERT_PACKET_FORWARDED &&
	       !(p->flags & XDIVERT_PACKET_NO_ICMP);
}

static void finish(struct xdivert_injection *h, struct xdivert_packet *p,
		   int status, enum xdv_reason reason, uint32_t mtu)
{
	struct request *r = &p->request;
	struct xdv_completion c = {0};

	if (p->parts) {
		c = p->parts->first;
		c.id = p->parts->id;
	} else {
		c.id = ring_next_id(h);
	}
	free(p->parts);
	p->parts = NULL;
	c.context = r->context;
	c.submitted = r->submitted;
	c.completed = now();
	c.ifindex = r->ifindex;
	c.compartment = r->compartment;
	c.status = status;
	c.reason = reason;
	c.len = p->len;
	c.mtu = mtu;
	if (!c.engine)
		c.engine = XDV_ENGINE_LIVE;
	ring_count(
		h, r,
		&(struct xdv_count){
			.injected = r->flags & XDV_DESC_COUNTED ? 0 : p->weight,
			.completed = status ? 0 : p->weight,
			.failed = status ? p->weight : 0,
		});
	ring_record(h, &c);
	/* Who may be cut would be told what is not so. */
	if (status == -EMSGSIZE && mtu && too_big(p, mtu) && wants_answer(p))
		tell_too_big(h, p, mtu);
	inject_complete(h, p, &c);
}

static void finish_as_parts(struct xdivert_injection *h,
			    struct xdivert_packet *p)
{
	const struct xdv_completion *c = &p->parts->first;

	finish(h, p, c->status, c->reason, c->mtu);
}

/* ---- the beginning ---- */

static int start(struct xdivert_injection *h, struct xdivert_packet *p,
		 uint32_t mtu)
{
	struct parts *parts = calloc(1, sizeof(*parts));
	int rc;

	if (!parts)
		return -ENOMEM;
	/* NO_FRAGMENT and not too big: it leaves whole. */
	rc = split_begin(&parts->split, p->data, p->len, mtu,
			 p->flags & XDIVERT_PACKET_NO_FRAGMENT ? NULL
							       : p->shape);
	if (rc) {
		free(parts);
		return rc;
	}
	parts->left = split_count(&parts->split);
	parts->id = ring_next_id(h);
	if (!p->shape)
		parts->split.id = parts->id;
	p->parts = parts;
	if (!(p->request.flags & XDV_DESC_COUNTED))
		ring_count(h, &p->request,
			   &(struct xdv_count){.injected = p->weight});
	p->request.flags |= XDV_DESC_COUNTED;
	return 0;
}

/* false: it is complete already. */
static bool begin(struct xdivert_injection *h, struct xdivert_packet *p)
{
	bool receive = p->request.flags & XDV_DESC_RECEIVE;
	uint32_t mtu = receive ? UINT32_MAX : mtu_of(h, &p->request);
	int rc;

	if (!receive && too_big(p, mtu)) {
		finish(h, p, -EMSGSIZE, XDV_REASON_FIB_FRAG_NEEDED, mtu);
		return false;
	}
	/* The local stack puts together what a live frame cannot hold. */
	if (receive)
		mtu = XDV_PACKET_MAX;
	rc = start(h, p, mtu);
	if (!rc)
		return true;
	finish(h, p, rc,
	       rc == -EMSGSIZE ? XDV_REASON_FIB_FRAG_NEEDED
	       : rc == -ENOMEM ? XDV_REASON_ENGINE
			       : XDV_REASON_BAD_PACKET,
	       0);
	return false;
}

/* ---- in between ---- */

/* A live frame holds the beginning of what it cannot hold all of. */
static bool fill_part(struct xdivert_packet *part, struct split *split)
{
	if (split_longest(split) <= XDV_PACKET_MAX) {
		part->len = split_next(split, part->data);
		return true;
	}
	part->big = malloc(split_longest(split));
	if (!part->big)
		return false;
	part->len = split_next(split, part->big);
	if (part->len > XDV_PACKET_MAX) {
		memcpy(part->data, part->big, XDV_BIG_HEAD);
		return true;
	}
	memcpy(part->data, part->big, part->len);
	free(part->big);
	part->big = NULL;
	return true;
}

static struct xdivert_packet *make_part(struct xdivert_injection *h,
					struct xdivert_packet *p)
{
	struct xdivert_packet *part = pool_take(h);

	if (!part)
		return NULL;
	if (!fill_part(part, &p->parts->split)) {
		pool_return(h, part->frame);
		return NULL;
	}
	part->state = PACKET_QUEUED;
	part->whole = p;
	part->request = p->request;
	part->request.next = NULL;
	part->request.flags |= XDV_DESC_PART;
	if (part->big)
		part->request.flags |= XDV_DESC_BIG | XDV_DESC_VIA_STACK;
	p->parts->left--;
	p->parts->out++;
	return part;
}

/* As many as there is room for; the first alone, to learn the route's MTU. */
static struct xdivert_packet *make_parts(struct xdivert_injection *h,
					 struct xdivert_packet *p)
{
	struct xdivert_packet *chain = NULL, **end = &chain;
	uint32_t n = p->parts->probed ? LIVE_BATCH : 1;

	if (n > h->free_slots)
		n = h->free_slots;
	while (n-- && p->parts->left) {
		*end = make_part(h, p);
		if (!*end)
			break;
		end = &(*end)->request.next;
	}
	return chain;
}

/* The route's MTU is less than the interface's: begin anew with that. */
static bool learned(struct xdivert_packet *p)
{
	const struct xdv_completion *c = &p->parts->first;

	if (p->parts->left_some || c->status != -EMSGSIZE || !c->mtu ||
	    p->request.mtu == c->mtu)
		return false;
	p->request.mtu = c->mtu;
	free(p->parts);
	p->parts = NULL;
	return true;
}

static void send_parts(struct xdivert_injection *h, struct xdivert_packet *p)
{
	struct xdivert_packet *chain;

	p->parts->sending = true;
	while (p->parts->left && (chain = make_parts(h, p))) {
		live_send(h, chain);
		if (p->parts->first.status)
			break;
		p->parts->probed = true;
	}
	p->parts->sending = false;
}

bool parts_send(struct xdivert_injection *h, struct xdivert_packet *p)
{
	for (;;) {
		if (!p->parts && !begin(h, p))
			return true;
		send_parts(h, p);
		if (!p->parts->first.status)
			break;
		p->parts->left = 0;
		if (p->parts->out || !learned(p))
			break;
	}
	if (p->parts->out)
		return !p->parts->left;
	if (!p->parts->left) {
		finish_as_parts(h, p);
		return true;
	}
	/* Callers have all the frames: nothing will come back by itself. */
	if (h->free_slots == XDV_INFLIGHT) {
		finish(h, p, -ENOBUFS, XDV_REASON_ENGINE, 0);
		return true;
	}
	return false;
}

/* The route's MTU shrank while all parts waited: the packet is cut anew. */
static bool narrowed(struct xdivert_injection *h, struct xdivert_packet *p)
{
	uint64_t id = p->parts->id;

	if (too_big(p, p->parts->first.mtu) || !learned(p))
		return false;
	inject_again(h, p, id, p->request.mtu);
	return true;
}

void parts_complete(struct xdivert_injection *h, struct xdivert_packet *part,
		    const struct xdv_completion *c)
{
	struct xdivert_packet *p = part->whole;

	/* The first failure is what counts; else any success. */
	if (!p->parts->first.status)
		p->parts->first = *c;
	p->parts->left_some |= c->status != -EMSGSIZE;
	pool_return(h, part->frame);
	p->parts->out--;
	if (!p->parts->sending && !p->parts->out && !p->parts->left &&
	    !narrowed(h, p))
		finish_as_parts(h, p);
}

void parts_cancel(struct xdivert_injection *h, struct xdivert_packet *p)
{
	if (p->parts && p->parts->out) {
		p->parts->left = 0;
		if (!p->parts->first.status)
			p->parts->first.status = -ECANCELED;
		return;
	}
	finish(h, p, -ECANCELED, XDV_REASON_CANCELED, 0);
}
