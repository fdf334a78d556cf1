// SPDX-License-Identifier: BSD-2-Clause
/*
 * A frame in the stack is completed by the tracing programs, or by us when it
 * is overdue: whoever clears desc->waiting. What we complete goes through the
 * ring once more, for the accounting is done in one place.
 */
#include <errno.h>
#include <string.h>

#include <xdivert.h>

#include "clock.h"
#include "inject.skel.h"
#include "ring.h"
#include "wait.h"

#define BOUND (XDIVERT_BOUND_MS * 1000000ull)

/* Before we look whether its hop still asks: after that BPF tells us. */
static void tell_waiting(struct xdivert_injection *h)
{
	__atomic_store_n(&h->skel->bss->xdv_ring.waiting, h->held_count,
			 __ATOMIC_SEQ_CST);
}

/* By age: one that has to wait again comes before those that follow it. */
void wait_hold(struct xdivert_injection *h, struct xdv_desc *desc)
{
	uint32_t i = h->held_count++;

	for (; i && h->descs[h->held[i - 1]].id > desc->id; i--)
		h->held[i] = h->held[i - 1];
	h->held[i] = desc->slot;
	h->listed[desc->slot] = true;
	tell_waiting(h);
}

static void leave_stack(struct xdivert_injection *h, struct xdv_desc *desc)
{
	struct inject__bss *bss = h->skel->bss;
	struct xdv_lane *lane = &bss->xdv_lanes[desc->lane];

	__atomic_fetch_sub(&lane->stacked, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&bss->xdv_ring.in_stack, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_exchange_n(&desc->asking, 0, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_sub(&lane->asking, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&bss->xdv_hops[desc->hop].asking, 1,
			   __ATOMIC_SEQ_CST);
}

bool wait_judge(struct xdivert_injection *h, struct xdv_desc *desc, int status,
		unsigned int reason)
{
	uint64_t id = desc->id;
	bool held = desc->state == XDV_DESC_HELD;

	if (!held &&
	    !__atomic_compare_exchange_n(&desc->waiting, &id, 0, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	if (!held) {
		leave_stack(h, desc);
		desc->state = XDV_DESC_HELD;
	}
	/* It may have been held too late for anybody to see it. */
	if (!h->listed[desc->slot])
		wait_hold(h, desc);
	desc->flags |= XDV_DESC_VERDICT;
	desc->engine = XDV_ENGINE_NEIGH;
	desc->status = status;
	desc->reason = reason;
	h->judged = true;
	return true;
}

static bool judged(const struct xdv_desc *desc)
{
	return desc->flags & XDV_DESC_VERDICT;
}

void wait_unreachable(struct xdivert_injection *h,
		      const struct xdv_completion *c)
{
	struct xdv_desc *desc;
	uint32_t i;

	for (i = 0; i < h->held_count; i++) {
		desc = &h->descs[h->held[i]];
		if (!judged(desc) && desc->compartment == c->compartment &&
		    desc->ifindex == c->ifindex && desc->family == c->family &&
		    !memcmp(desc->nexthop, c->nexthop, sizeof(c->nexthop)))
			wait_judge(h, desc, c->status, c->reason);
	}
}

/* ---- whose turn it is ---- */

/* The lanes in which one that is held has to wait on. */
struct waiting {
	bool lane[XDV_LANES];
};

static bool asks(const struct xdivert_injection *h, const struct xdv_desc *desc)
{
	const struct inject__bss *bss = h->skel->bss;

	return __atomic_load_n(&bss->xdv_hops[desc->hop].asking,
			       __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&bss->xdv_lanes[desc->lane].asking,
			       __ATOMIC_SEQ_CST);
}

/* To be asked in their order: if a hop became ready half-way, the last of a
 * flow would pass its first.
 */
static bool has_turn(const struct xdivert_injection *h,
		     const struct xdv_desc *desc, struct waiting *waiting)
{
	if (judged(desc))
		return false;
	waiting->lane[desc->lane] |= asks(h, desc);
	return !waiting->lane[desc->lane];
}

/* Nothing waits behind it; wait_block() looks at what does. */
static void unblock(struct xdivert_injection *h, const struct xdv_desc *desc)
{
	h->skel->bss->xdv_lanes[desc->lane].held = 0;
	h->skel->bss->xdv_hops[desc->hop].held = 0;
}

uint32_t wait_release(struct xdivert_injection *h, uint32_t compartment,
		      bool over)
{
	struct waiting waiting = {0};
	uint32_t i, kept = 0, longest = 0;
	struct xdv_desc *desc;
	bool go;

	for (i = 0; i < h->held_count; i++) {
		desc = &h->descs[h->held[i]];
		if (over)
			go = judged(desc);
		else
			go = has_turn(h, desc, &waiting) &&
			     desc->compartment == compartment;
		if (!go) {
			h->held[kept++] = h->held[i];
			continue;
		}
		h->listed[desc->slot] = false;
		unblock(h, desc);
		ring_add(h, desc->slot);
		if (ring_shown(desc) > longest)
			longest = ring_shown(desc);
	}
	h->held_count = kept;
	tell_waiting(h);
	if (over)
		h->judged = false;
	return longest;
}

void wait_block(struct xdivert_injection *h, uint32_t compartment)
{
	struct inject__bss *bss = h->skel->bss;
	const struct xdv_desc *desc;
	uint32_t i;

	if (!bss->xdv_ring.held && !h->held_count)
		return;
	/* What is not in the list any more left nothing behind. */
	for (i = 0; i < h->held_count; i++)
		unblock(h, &h->descs[h->held[i]]);
	bss->xdv_ring.held = 0;
	for (i = 0; i < h->held_count; i++) {
		desc = &h->descs[h->held[i]];
		if (judged(desc) || desc->compartment != compartment)
			continue;
		if (!bss->xdv_lanes[desc->lane].held)
			bss->xdv_lanes[desc->lane].held = desc->id;
		bss->xdv_hops[desc->hop].held++;
		bss->xdv_ring.held++;
	}
}

/* The first whose turn it is, in that compartment (NULL: in any). */
static const struct xdv_desc *first(const struct xdivert_injection *h,
				    const uint32_t *compartment)
{
	struct waiting waiting = {0};
	const struct xdv_desc *desc;
	uint32_t i;

	for (i = 0; i < h->held_count; i++) {
		desc = &h->descs[h->held[i]];
		if (has_turn(h, desc, &waiting) &&
		    (!compartment || desc->compartment == *compartment))
			return desc;
	}
	return NULL;
}

bool wait_ready(const struct xdivert_injection *h, uint32_t compartment)
{
	return h->held_count && first(h, &compartment);
}

const struct xdv_desc *wait_next(const struct xdivert_injection *h)
{
	return h->held_count ? first(h, NULL) : NULL;
}

bool wait_behind(struct xdivert_injection *h, struct xdv_desc *desc)
{
	uint64_t held = h->skel->bss->xdv_lanes[desc->lane].held;

	if (!held || held > desc->id)
		return false;
	desc->waiting = 0;
	leave_stack(h, desc);
	desc->state = XDV_DESC_HELD;
	wait_hold(h, desc);
	return true;
}

/* ---- the end ---- */

void wait_gone(struct xdivert_injection *h, uint32_t compartment, uint64_t born,
	       bool this_one)
{
	struct xdv_desc *desc;
	uint32_t i;

	for (i = 0; i < h->held_count; i++) {
		desc = &h->descs[h->held[i]];
		if (!judged(desc) && desc->compartment == compartment &&
		    (h->packets[desc->frame].request.born == born) == this_one)
			wait_judge(h, desc, -ENOTCONN,
				   XDV_REASON_NO_COMPARTMENT);
	}
}

void wait_give_up(struct xdivert_injection *h, uint32_t compartment, int status,
		  unsigned int reason)
{
	struct xdv_desc *desc;
	uint32_t i;

	for (i = 0; i < h->held_count; i++) {
		desc = &h->descs[h->held[i]];
		if (!judged(desc) && desc->compartment == compartment)
			wait_judge(h, desc, desc->status ?: status, reason);
	}
}

static bool outlives(const struct xdv_desc *desc)
{
	return (desc->state == XDV_DESC_HELD && !judged(desc)) ||
	       desc->state == XDV_DESC_ENTERING ||
	       desc->state == XDV_DESC_TRACKED;
}

static bool anything(const struct xdivert_injection *h)
{
	return h->free_slots != XDV_INFLIGHT;
}

/* Those that were sent by then; when the next one was. */
static uint64_t judge_sent(struct xdivert_injection *h, uint64_t until,
			   void (*judge)(struct xdivert_injection *,
					 struct xdv_desc *))
{
	uint64_t next = now();
	uint32_t i;

	for (i = 0; i < XDV_INFLIGHT; i++) {
		if (!outlives(&h->descs[i]))
			continue;
		if (h->sent[i] <= until)
			judge(h, &h->descs[i]);
		else if (h->sent[i] < next)
			next = h->sent[i];
	}
	return next;
}

/* The stack may still send it, but not what never was its turn. */
static void overdue(struct xdivert_injection *h, struct xdv_desc *desc)
{
	if (desc->state == XDV_DESC_HELD)
		wait_judge(h, desc, -ENOBUFS, XDV_REASON_QUEUE_FULL);
	else
		wait_judge(h, desc, -ETIMEDOUT, XDV_REASON_UNKNOWN);
}

static void cancel(struct xdivert_injection *h, struct xdv_desc *desc)
{
	wait_judge(h, desc, -ECANCELED, XDV_REASON_CANCELED);
}

/* Whatever is sent after one look is due after the next. */
void wait_expire(struct xdivert_injection *h)
{
	uint64_t t;

	if (!anything(h))
		return;
	t = now();
	if (t >= h->look)
		h->look = BOUND + judge_sent(h, t - BOUND, overdue);
}

void wait_cancel(struct xdivert_injection *h)
{
	judge_sent(h, UINT64_MAX, cancel);
}

int wait_timeout(const struct xdivert_injection *h, int timeout_ms)
{
	uint64_t t = now();
	int left;

	if (!anything(h))
		return timeout_ms;
	left = t < h->look ? (h->look - t) / 1000000 + 1 : 0;
	return timeout_ms < 0 || left < timeout_ms ? left : timeout_ms;
}
