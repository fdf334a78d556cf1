// SPDX-License-Identifier: BSD-2-Clause
/*
 * A packet has a descriptor from the time it is put into the ring until its
 * completion is delivered. The ring holds the slots of those whose turn it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdivert.h>

#include "clock.h"
#include "error.h"
#include "home.h"
#include "inject.skel.h"
#include "netdev.h"
#include "ring.h"
#include "seen.h"
#include "seen_table.h"
#include "stack.h"
#include "stats.h"
#include "target.h"
#include "wait.h"

#define NO_CPU	 0xffffffff
#define RESERVED 16 /* places in the history at once */

#ifndef XDV_NO_COMPLETIONS
#define XDV_NO_COMPLETIONS 0
#endif

_Static_assert(XDIVERT_PENDING_MAX <= XDV_INFLIGHT, "too few descriptors");

static uint32_t *slot_at(struct xdivert_injection *h, uint32_t position)
{
	return &h->skel->bss->xdv_slots[position & (XDV_INFLIGHT - 1)];
}

struct xdv_desc *ring_desc(struct xdivert_injection *h, uint32_t position)
{
	return &h->descs[*slot_at(h, position)];
}

/* ---- back ---- */

static int deliver(void *arg, void *record, size_t size)
{
	const struct xdv_completion *c = record;
	struct xdivert_injection *h = arg;
	struct xdivert_packet *p;

	if (size < sizeof(*c))
		return 0;
	if (c->status == -EHOSTUNREACH)
		wait_unreachable(h, c);
	p = &h->packets[h->descs[c->slot].frame];
	if (c->status)
		seen_forget(h, p);
	h->delivered++;
	h->slots[h->free_slots++] = c->slot;
	inject_complete(h, p, c);
	return 0;
}

int ring_fd(const struct xdivert_injection *h)
{
	return ring_buffer__epoll_fd(h->completions);
}

void ring_deliver(struct xdivert_injection *h)
{
	ring_buffer__consume(h->completions);
}

/* As if nobody wanted to know; bench/ measures what completions cost. */
static void give_back(struct xdivert_injection *h, const struct xdv_desc *desc)
{
	const struct xdv_completion c = {.slot = desc->slot};

	deliver(h, (void *)&c, sizeof(c));
}

uint64_t ring_next_id(struct xdivert_injection *h)
{
	return __atomic_add_fetch(&h->x->shared->next_injection, 1,
				  __ATOMIC_RELAXED);
}

/* n places in the history; the first of them. */
static uint64_t reserve(struct xdivert_injection *h, uint32_t n)
{
	return __atomic_fetch_add(&h->x->shared->completions, n,
				  __ATOMIC_RELAXED) +
	       1;
}

static struct xdv_completion *place_of(struct xdivert_injection *h,
				       uint64_t seq)
{
	return &h->x->history[(seq - 1) & (XDV_RECENT - 1)];
}

/* While a record is being written it is none: whoever reads it meanwhile, and
 * be it that we are interrupted for long, must not take it for the old one or
 * for the new one.
 */
static void begin_record(struct xdv_completion *place)
{
	__atomic_store_n(&place->seq, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end_record(struct xdv_completion *place, uint64_t seq)
{
	__atomic_store_n(&place->seq, seq, __ATOMIC_RELEASE);
}

void ring_record(struct xdivert_injection *h, struct xdv_completion *c)
{
	uint64_t seq = reserve(h, 1);
	struct xdv_completion *place = place_of(h, seq);

	begin_record(place);
	c->seq = 0;
	*place = *c;
	end_record(place, seq);
	c->seq = seq;
}

static bool recorded(const struct xdv_desc *desc)
{
	return !(desc->flags & XDV_DESC_PART);
}

struct end {
	uint64_t time;
	uint64_t seq; /* in the history */
	int status;
	enum xdv_reason reason;
};

static __always_inline void write_end(struct xdv_completion *restrict c,
				      const struct xdv_desc *restrict desc,
				      struct end end)
{
	c->id = desc->id;
	c->context = desc->context;
	c->submitted = desc->submitted;
	c->completed = end.time;
	c->ifindex = desc->ifindex;
	c->compartment = desc->compartment;
	c->status = end.status;
	c->reason = end.reason;
	c->len = desc->len;
	c->slot = desc->slot;
	memset(c->nexthop, 0, sizeof(c->nexthop));
	c->family = 0;
	c->engine = desc->engine;
	c->mtu = 0;
}

/* A completion that BPF did not write. It is written twice and not copied, for
 * a copy would wait for the writes.
 */
static __always_inline void complete_at(struct xdivert_injection *h,
					struct xdv_desc *desc, struct end end)
{
	struct xdv_completion c, *place = place_of(h, end.seq);

	desc->state = XDV_DESC_DONE;
	write_end(&c, desc, end);
	c.seq = end.seq;
	if (recorded(desc)) {
		begin_record(place);
		write_end(place, desc, end);
		end_record(place, end.seq);
	}
	deliver(h, &c, sizeof(c));
}

/* Places for those that were sent, some at a time: to reserve one is slow, and
 * readers of the history wait for what is reserved.
 */
static void reserve_sent(struct xdivert_injection *h)
{
	const struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = h->finished, end = position + RESERVED;
	const struct xdv_desc *desc;

	if ((int32_t)(end - ring->consumer) > 0)
		end = ring->consumer;
	for (h->reserved = 0; position != end; position++) {
		desc = ring_desc(h, position);
		h->reserved += desc->state == XDV_DESC_SENT && recorded(desc);
	}
	h->seq = reserve(h, h->reserved);
}

static uint64_t next_place(struct xdivert_injection *h)
{
	if (!h->reserved)
		reserve_sent(h);
	h->reserved--;
	return h->seq++;
}

static void complete_sent(struct xdivert_injection *h, struct xdv_desc *desc)
{
	uint64_t seq = recorded(desc) ? next_place(h) : 0;

	complete_at(h, desc, (struct end){desc->completed, seq, 0, 0});
}

static void complete_here(struct xdivert_injection *h, struct xdv_desc *desc,
			  int status, enum xdv_reason reason)
{
	uint64_t seq = recorded(desc) ? reserve(h, 1) : 0;

	complete_at(h, desc, (struct end){now(), seq, status, reason});
}

static void count(const struct xdv_desc *desc, __u64 *counter)
{
	if (recorded(desc))
		__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* BPF will not say what became of it. */
static void count_failed(struct xdivert_injection *h,
			 const struct xdv_desc *desc)
{
	count(desc, desc->flags & XDV_DESC_COUNTED ? &h->x->shared->unknown
						   : &h->x->shared->refused);
}

void ring_refuse(struct xdivert_injection *h, int status,
		 enum xdv_reason reason)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = ring->consumer, end = ring->producer;
	struct xdv_desc *desc;

	ring->consumer = end;
	ring->settled = end;
	h->finished = end;
	for (; position != end; position++) {
		desc = ring_desc(h, position);
		count_failed(h, desc);
		if (desc->flags & XDV_DESC_VERDICT)
			complete_here(h, desc, desc->status, desc->reason);
		else
			complete_here(h, desc, status, reason);
	}
}

/* Its route takes it only in parts, if at all, or it comes after such a one. */
static void send_again(struct xdivert_injection *h, struct xdv_desc *desc)
{
	struct xdivert_packet *p = &h->packets[desc->frame];

	desc->state = XDV_DESC_DONE;
	seen_forget(h, p);
	h->slots[h->free_slots++] = desc->slot;
	inject_again(h, p, desc->id, desc->mtu);
}

/*
 * The kernel fails for want of memory after the last frame, when it hands them
 * all over, or before the next, and then hands over those it has: it does not
 * say whether that failed, too.
 */
static void complete_passed(struct xdivert_injection *h, struct xdv_desc *desc,
			    int err)
{
	const struct xdv_ring *ring = &h->skel->bss->xdv_ring;

	if (err)
		count(desc, &h->x->shared->unpassed);
	if (!err)
		complete_here(h, desc, 0, XDV_REASON_NONE);
	else if (ring->consumer == ring->producer)
		complete_here(h, desc, err, XDV_REASON_ENGINE);
	else
		complete_here(h, desc, -ETIMEDOUT, XDV_REASON_UNKNOWN);
}

/* What the run's end leaves open: err is the result of the kernel call. */
static void complete_rest(struct xdivert_injection *h, struct xdv_desc *desc,
			  int err)
{
	switch (desc->state) {
	case XDV_DESC_PASSED:
		complete_passed(h, desc, err);
		break;
	case XDV_DESC_SENT:
		complete_sent(h, desc);
		break;
	case XDV_DESC_TOO_BIG:
	case XDV_DESC_AFTER_CUT:
		send_again(h, desc);
		break;
	case XDV_DESC_NO_ROUTE:
		if (home_enter(h) || netdev_up(desc->ifindex))
			complete_here(h, desc, -ENETUNREACH,
				      XDV_REASON_FIB_NOT_FWDED);
		else
			complete_here(h, desc, -ENETDOWN,
				      XDV_REASON_DEVICE_DOWN);
		break;
	case XDV_DESC_TAKEN:
		if (XDV_NO_COMPLETIONS) {
			give_back(h, desc);
			break;
		}
		/* No tracepoint fired, and none will. */
		count_failed(h, desc);
		complete_here(h, desc, -ETIMEDOUT, XDV_REASON_UNKNOWN);
		break;
	}
}

/* What the ring is done with, but the packet is not. */
static void keep(struct xdivert_injection *h, struct xdv_desc *desc, int err)
{
	if (desc->state == XDV_DESC_HELD) {
		if (desc->status)
			target_refused(h, desc->compartment, desc->ifindex,
				       desc->status);
		wait_hold(h, desc);
	} else if (desc->state == XDV_DESC_ENTERING && err) {
		/* The kernel had no memory for an sk_buff. */
		wait_judge(h, desc, err, XDV_REASON_ENGINE);
	} else if (desc->state == XDV_DESC_HANDED && !wait_behind(h, desc)) {
		stack_hand_over(h, desc);
	}
}

void ring_settle(struct xdivert_injection *h, int err)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position;

	/* If a tracepoint was silent, BPF shall not take another one for it. */
	ring->cpu = NO_CPU;
	/* Before completions are delivered: they free slots. */
	for (position = h->finished; position != ring->consumer; position++)
		keep(h, ring_desc(h, position), err);
	ring_deliver(h);
	for (; h->finished != ring->consumer; h->finished++)
		complete_rest(h, ring_desc(h, h->finished), err);
	ring->settled = ring->consumer;
}

/* ---- in ---- */

/* Give a target its own row in xdv_stats before BPF first counts there. */
static void ensure_stats(struct xdivert_injection *h, uint32_t ifindex)
{
	if (h->known[ifindex % 64] == ifindex)
		return;
	if (!home_enter(h) && !stats_row(h->x, ifindex))
		h->known[ifindex % 64] = ifindex;
}

void ring_forget_cut(struct xdivert_injection *h)
{
	struct inject__bss *bss = h->skel->bss;

	if (bss->xdv_ring.cut)
		memset(bss->xdv_cut, 0, sizeof(bss->xdv_cut));
	bss->xdv_ring.cut = 0;
}

static void run_count(struct xdivert_injection *h, struct xdv_count *c)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = c,
		    .ctx_size_in = sizeof(*c));

	bpf_prog_test_run_opts(bpf_program__fd(h->skel->progs.xdv_count),
			       &opts);
}

void ring_count(struct xdivert_injection *h, const struct request *r,
		struct xdv_count *c)
{
	if (!r->compartment) {
		c->ifindex = r->ifindex;
		ensure_stats(h, r->ifindex);
	}
	run_count(h, c);
}

void ring_hits(struct xdivert_injection *h, uint32_t slot, uint32_t hits,
	       uint64_t bytes)
{
	struct xdv_count c = {.slot = slot, .hits = hits, .bytes = bytes};

	run_count(h, &c);
}

/* Whoever sends has looked that there are free descriptors. The descriptor is
 * written where it stays: a copy of one that was just written would wait for
 * the writes.
 */
static uint32_t describe(struct xdivert_injection *h, struct xdivert_packet *p,
			 uint64_t time, uint64_t id)
{
	const struct request *r = &p->request;
	uint32_t slot = h->slots[--h->free_slots];
	struct xdv_desc *desc = &h->descs[slot];

	desc->id = id;
	desc->context = r->context;
	desc->submitted = r->submitted;
	desc->frame = p->frame;
	desc->offset = p->data - p->base;
	desc->len = p->len;
	desc->ifindex = r->ifindex;
	desc->compartment = r->compartment;
	desc->flags = r->flags;
	desc->state = XDV_DESC_QUEUED;
	desc->engine = XDV_ENGINE_LIVE;
	desc->slot = slot;
	desc->waiting = 0;
	desc->completed = 0;
	memset(desc->nexthop, 0, sizeof(desc->nexthop));
	desc->family = 0;
	desc->lane = 0;
	desc->hop = 0;
	desc->asking = 0;
	desc->mtu = 0;
	desc->status = 0;
	desc->reason = XDV_REASON_NONE;
	if (p->len <= XDV_SHORT)
		memcpy(desc->bytes, p->data, XDV_SHORT);
	h->sent[slot] = time;
	return slot;
}

static void add(struct xdivert_injection *h, uint32_t *position, uint32_t slot)
{
	*slot_at(h, (*position)++) = slot;
}

static void find_target(struct xdivert_injection *h, struct request *r)
{
	if (!r->compartment)
		ensure_stats(h, r->ifindex);
	if (!(r->flags & XDV_DESC_RECEIVE))
		r->flags |= target_flags(h, r->compartment, r->ifindex);
}

uint32_t ring_fill(struct xdivert_injection *h, struct xdivert_packet *chain)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = ring->producer, longest = 0, n = 0, slot, shown;
	struct xdivert_packet *p;
	uint64_t time = now(), id, place;

	for (p = chain; p; p = p->request.next)
		n++;
	place = seen_table_places(h, n);
	for (p = chain, n = 0; p; p = p->request.next, n++)
		seen_prepare_record(h, p, place + n);
	id = __atomic_fetch_add(&h->x->shared->next_injection, n,
				__ATOMIC_RELAXED);
	for (p = chain; p; p = p->request.next) {
		find_target(h, &p->request);
		seen_record(h, p, time, place++);
		slot = describe(h, p, time, ++id);
		add(h, &position, slot);
		shown = ring_shown(&h->descs[slot]);
		if (shown > longest)
			longest = shown;
	}
	__atomic_store_n(&ring->producer, position, __ATOMIC_RELEASE);
	return longest;
}

void ring_add(struct xdivert_injection *h, uint32_t slot)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = ring->producer;

	h->descs[slot].state = XDV_DESC_QUEUED;
	if (!(h->descs[slot].flags & XDV_DESC_VERDICT))
		h->descs[slot].engine = XDV_ENGINE_LIVE;
	add(h, &position, slot);
	__atomic_store_n(&ring->producer, position, __ATOMIC_RELEASE);
}

/* ---- a handle's life ---- */

int ring_open(struct xdivert_injection *h)
{
	struct epoll_event event = {.events = EPOLLIN};
	void *p = mmap(NULL, XDV_INFLIGHT * sizeof(*h->descs),
		       PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(h->skel->maps.xdv_inflight), 0);

	if (p == MAP_FAILED)
		return error_set(-errno, "cannot map the injection ring: %s",
				 strerror(errno));
	h->descs = p;
	while (h->free_slots < XDV_INFLIGHT) {
		h->slots[h->free_slots] = h->free_slots;
		h->free_slots++;
	}
	h->completions = ring_buffer__new(
		bpf_map__fd(h->skel->maps.xdv_completions), deliver, h, NULL);
	if (!h->completions ||
	    epoll_ctl(h->epoll, EPOLL_CTL_ADD, ring_fd(h), &event))
		return error_set(-errno, "cannot open the ring buffer: %s",
				 strerror(errno));
	return 0;
}

void ring_close(struct xdivert_injection *h)
{
	ring_buffer__free(h->completions);
	if (h->descs)
		munmap(h->descs, XDV_INFLIGHT * sizeof(*h->descs));
}
