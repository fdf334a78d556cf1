// SPDX-License-Identifier: BSD-2-Clause
/*
 * There are two queues: what the dispatching thread queues itself, in callouts
 * and completions, needs no lock, and goes behind all that others had queued
 * by then.
 */
#include <errno.h>
#include <unistd.h>

#include "error.h"
#include "pending.h"

void pending_wake_now(struct xdivert_injection *h)
{
	const uint64_t one = 1;

	if (!h->signalled)
		h->signalled = write(h->wake, &one, sizeof(one)) == sizeof(one);
}

/* From the dispatching thread nobody needs to be woken: it looks again. */
static void wake(struct xdivert_injection *h)
{
	if (!inject_dispatches(h))
		pending_wake_now(h);
}

/* All that others have queued so far. */
static struct xdivert_packet *take_shared(struct xdivert_injection *h,
					  struct xdivert_packet ***last)
{
	struct xdivert_packet *chain;
	uint64_t value;

	pthread_mutex_lock(&h->lock);
	chain = h->first;
	*last = h->last;
	h->first = NULL;
	h->last = &h->first;
	if (h->signalled && read(h->wake, &value, sizeof(value)) > 0)
		h->signalled = false;
	pthread_mutex_unlock(&h->lock);
	return chain;
}

/* To the dispatching thread's own. */
static void take_over(struct xdivert_injection *h)
{
	struct xdivert_packet **last, *chain = take_shared(h, &last);

	if (!chain)
		return;
	*h->own_last = chain;
	h->own_last = last;
}

/* Initiated and not completed: by both, about now. */
uint32_t pending_count(const struct xdivert_injection *h)
{
	return __atomic_load_n(&h->initiated, __ATOMIC_RELAXED) +
	       __atomic_load_n(&h->own_initiated, __ATOMIC_RELAXED) -
	       __atomic_load_n(&h->completed, __ATOMIC_RELAXED);
}

/* Is there a place among those that may be pending? Fragments that go on as
 * they came are many at once, and the library's.
 */
static int check_room(const struct xdivert_injection *h,
		      const struct xdivert_packet *p)
{
	if (__atomic_load_n(&h->closing, __ATOMIC_ACQUIRE))
		return error_set(-ESHUTDOWN, "the handle is closing");
	if (pending_count(h) < XDIVERT_PENDING_MAX || p->fragment)
		return 0;
	return error_set(-ENOBUFS, "%d injections are pending",
			 XDIVERT_PENDING_MAX);
}

/* Where nobody else writes, an atomic addition would only cost. */
static void count_one(uint32_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

static int queue_own(struct xdivert_injection *h, struct xdivert_packet *p)
{
	int rc = check_room(h, p);

	if (rc)
		return rc;
	count_one(&h->own_initiated);
	if (__atomic_load_n(&h->first, __ATOMIC_ACQUIRE))
		take_over(h);
	*h->own_last = p;
	h->own_last = &p->request.next;
	return 0;
}

static int queue_shared(struct xdivert_injection *h, struct xdivert_packet *p)
{
	int rc;

	pthread_mutex_lock(&h->lock);
	rc = check_room(h, p);
	if (!rc) {
		count_one(&h->initiated);
		*h->last = p;
		h->last = &p->request.next;
		wake(h);
	}
	pthread_mutex_unlock(&h->lock);
	return rc;
}

/* Once it is queued another thread may have sent it: then it says no more. */
int pending_add(struct xdivert_injection *h, struct xdivert_packet *p)
{
	bool diverted = p->diverted;
	int rc;

	if (!diverted)
		__atomic_fetch_add(&h->x->shared->originated, 1,
				   __ATOMIC_RELAXED);
	p->diverted = false;
	p->state = PACKET_QUEUED;
	rc = inject_dispatches(h) ? queue_own(h, p) : queue_shared(h, p);
	if (!rc)
		return 0;
	p->diverted = diverted;
	p->state = PACKET_OURS;
	if (!diverted)
		__atomic_fetch_sub(&h->x->shared->originated, 1,
				   __ATOMIC_RELAXED);
	return rc;
}

struct xdivert_packet *pending_take_own(struct xdivert_injection *h)
{
	struct xdivert_packet *chain = h->own_first;

	h->own_first = NULL;
	h->own_last = &h->own_first;
	h->stuck = false;
	return chain;
}

struct xdivert_packet *pending_take(struct xdivert_injection *h)
{
	if (h->signalled || __atomic_load_n(&h->first, __ATOMIC_ACQUIRE))
		take_over(h);
	return pending_take_own(h);
}

void pending_put_back(struct xdivert_injection *h, struct xdivert_packet *chain)
{
	struct xdivert_packet *last = chain;

	while (last->request.next)
		last = last->request.next;
	last->request.next = h->own_first;
	if (!h->own_first)
		h->own_last = &last->request.next;
	h->own_first = chain;
	h->stuck = true;
}

void pending_done(struct xdivert_injection *h)
{
	count_one(&h->completed);
}

void pending_wake(struct xdivert_injection *h)
{
	if (h->first || (h->own_first && !h->stuck))
		wake(h);
}

void pending_open(struct xdivert_injection *h)
{
	h->last = &h->first;
	h->own_last = &h->own_first;
}
