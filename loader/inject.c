// SPDX-License-Identifier: BSD-2-Clause
/* Injection handles: what is queued, what is pending, and who is called. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "compartment.h"
#include "error.h"
#include "home.h"
#include "inject.h"
#include "live.h"
#include "parts.h"
#include "pool.h"
#include "ring.h"
#include "tell.h"
#include "wait.h"

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* What this thread dispatches: it need not be told from other threads by a
 * lock.
 */
static _Thread_local struct xdivert_injection *dispatched
	__attribute__((tls_model("initial-exec")));

bool inject_dispatches(const struct xdivert_injection *h)
{
	return h == dispatched;
}

uint64_t inject_now(const struct xdivert_injection *h)
{
	return inject_dispatches(h) && h->clock ? h->clock : now();
}

/* ---- a handle's life ---- */

static int open_events(struct xdivert_injection *h)
{
	struct epoll_event event = {.events = EPOLLIN};

	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h->wake < 0 || h->epoll < 0 ||
	    epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->wake, &event))
		return error_set(-errno, "cannot create a handle's events: %s",
				 strerror(errno));
	return 0;
}

/* The last one takes with it what nothing is attached to. */
static void leave(struct xdivert_injection *h)
{
	if (h->alive < 0)
		return;
	close(h->alive);
	if (!state_lock(h->x))
		state_remove_idle(h->x);
	state_unlock(h->x);
}

static void close_handle(struct xdivert_injection *h)
{
	live_destroy(h);
	tell_close(h);
	pool_destroy(h);
	if (h->wake >= 0)
		close(h->wake);
	if (h->epoll >= 0)
		close(h->epoll);
	leave(h);
	pthread_mutex_destroy(&h->lock);
}

/* Be counted among those who have handles here. */
static int join(struct xdivert_injection *h)
{
	int rc = state_lock(h->x);

	if (rc)
		return rc;
	/* Packets of a process that died are nobody's any more. */
	state_settle(h->x);
	rc = state_handle_lock(h->x, &h->alive);
	state_unlock(h->x);
	return rc ? error_set(-ENOTCONN, "not ready: %s", strerror(-rc)) : 0;
}

static int open_handle(struct xdivert_injection *h)
{
	int rc = join(h);

	if (rc)
		return rc;
	rc = open_events(h);
	rc = rc ? rc : live_create(h);
	return rc ? rc : pool_create(h);
}

int xdivert_injection_create(struct xdivert_injection **handle,
			     struct xdivert *x, int family, uint32_t kinds)
{
	const uint32_t all = XDIVERT_KIND_ALL;
	struct xdivert_injection *h;
	int rc;

	if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
		return error_set(-EAFNOSUPPORT, "no address family %d", family);
	if (!kinds || kinds & ~all)
		return error_set(-EINVAL, "no kind of injection %#x", kinds);
	h = calloc(1, sizeof(*h));
	if (!h)
		return error_set(-ENOMEM, "out of memory");
	h->x = x;
	h->family = family;
	h->kinds = kinds;
	h->last = &h->first;
	h->own_last = &h->own_first;
	h->wake = h->epoll = h->alive = h->link = -1;
	h->changes = h->links = h->link_changes = -1;
	h->tell4 = h->tell6 = -1;
	h->port = PORT_NONE;
	h->elsewhere = -1;
	pthread_mutex_init(&h->lock, NULL);
	rc = open_handle(h);
	if (rc) {
		close_handle(h);
		free(h);
		return rc;
	}
	*handle = h;
	return 0;
}

/* ---- initiating ---- */

/* One whole IP packet of that family? */
static bool sound(const struct xdivert_packet *p, int family)
{
	const uint8_t *d = p->data;
	uint32_t header;

	if (family == AF_INET) {
		header = (d[0] & 0xf) * 4;
		return p->len >= 20 && d[0] >> 4 == 4 && header >= 20 &&
		       header <= p->len &&
		       (uint32_t)(d[2] << 8 | d[3]) == p->len;
	}
	return p->len >= 40 && d[0] >> 4 == 6 &&
	       (uint32_t)(d[4] << 8 | d[5]) + 40 == p->len;
}

static int check(const struct xdivert_injection *h, uint32_t kind,
		 uint32_t flags, int family, const struct xdivert_packet *p)
{
	if (flags)
		return error_set(-EINVAL, "flags %#x are reserved", flags);
	if (family != AF_INET && family != AF_INET6)
		return error_set(-EAFNOSUPPORT, "no address family %d", family);
	if (h->family != AF_UNSPEC && h->family != family)
		return error_set(-EAFNOSUPPORT,
				 "the handle is for another address family");
	if (!(h->kinds & kind))
		return error_set(-EOPNOTSUPP,
				 "the handle is for another kind of injection");
	if (p->h != h || p->state != PACKET_OURS)
		return error_set(-EINVAL, "not a packet of this handle");
	if (p->len > XDIVERT_PACKET_MAX)
		return error_set(-EMSGSIZE, "%u bytes; %d fit", p->len,
				 XDIVERT_PACKET_MAX);
	if (!sound(p, family))
		return error_set(-EINVAL, "not a sound IPv%d packet",
				 family == AF_INET ? 4 : 6);
	return 0;
}

/* From the dispatching thread nobody needs to be woken: it looks again. */
static void wake(struct xdivert_injection *h)
{
	const uint64_t one = 1;

	if (h->signalled || inject_dispatches(h))
		return;
	h->signalled = write(h->wake, &one, sizeof(one)) == sizeof(one);
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
static uint32_t pending(const struct xdivert_injection *h)
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
	if (pending(h) < XDIVERT_PENDING_MAX || p->fragment)
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
static int enqueue(struct xdivert_injection *h, struct xdivert_packet *p)
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

static uint32_t desc_flags(const struct xdivert_packet *p)
{
	uint32_t flags = 0;

	if (p->flags & XDIVERT_PACKET_FORWARDED)
		flags |= XDV_DESC_DECREMENT_TTL;
	if (p->flags & XDIVERT_PACKET_VIA_STACK)
		flags |= XDV_DESC_VIA_STACK;
	return flags;
}

static int initiate(struct xdivert_injection *h, uint32_t kind,
		    const struct request *request, uint32_t flags, int family,
		    struct xdivert_packet *p)
{
	int rc = check(h, kind, flags, family, p);

	if (rc)
		return rc;
	p->request = *request;
	p->request.submitted = inject_now(h);
	if (p->request.compartment == h->x->id)
		p->request.compartment = XDIVERT_COMPARTMENT_UNSPECIFIED;
	if (p->request.compartment)
		rc = compartment_born(p->request.compartment, &p->request.born);
	return rc ? rc : enqueue(h, p);
}

int xdivert_inject_forward_async(struct xdivert_injection *h, uint64_t context,
				 uint32_t flags, int family,
				 uint32_t compartment, uint32_t ifindex,
				 struct xdivert_packet *packet,
				 xdivert_completion_fn fn, void *arg)
{
	struct request request = {
		.context = context,
		.compartment = compartment,
		.ifindex = ifindex,
		.flags = desc_flags(packet),
		.fn = fn,
		.arg = arg,
	};

	return initiate(h, XDIVERT_KIND_FORWARD, &request, flags, family,
			packet);
}

int xdivert_inject_receive_async(struct xdivert_injection *h, uint64_t context,
				 uint32_t flags, int family,
				 uint32_t compartment, uint32_t ifindex,
				 struct xdivert_packet *packet,
				 xdivert_completion_fn fn, void *arg)
{
	struct request request = {
		.context = context,
		.compartment = compartment,
		.ifindex = ifindex,
		.flags = XDV_DESC_RECEIVE,
		.fn = fn,
		.arg = arg,
	};

	return initiate(h, XDIVERT_KIND_RECEIVE, &request, flags, family,
			packet);
}

/* ---- dispatching ---- */

void inject_complete(struct xdivert_injection *h, struct xdivert_packet *p,
		     const struct xdv_completion *completion)
{
	xdivert_completion_fn fn = p->request.fn;

	if (p->whole) {
		parts_complete(h, p, completion);
		return;
	}
	p->state = PACKET_OURS;
	p->weight = 1;
	count_one(&h->completed);
	if (fn)
		fn(p->request.arg, p, completion);
	else
		xdivert_packet_free(p);
}

/* May the engine send b in the same call as a? */
static bool same_run(const struct request *a, const struct request *b)
{
	if (a->compartment != b->compartment || a->born != b->born ||
	    (a->flags ^ b->flags) & XDV_DESC_RECEIVE)
		return false;
	return !(a->flags & XDV_DESC_RECEIVE) || a->ifindex == b->ifindex;
}

/* Cut the chain behind what goes in one run; what is left. */
static struct xdivert_packet *cut_run(struct xdivert_injection *h,
				      struct xdivert_packet *chain, int *n)
{
	struct xdivert_packet *p = chain, *rest;
	int i, most = h->free_slots;

	/* A run into the stack has one result for a kernel's batch. */
	if (chain->request.flags & XDV_DESC_RECEIVE && most > LIVE_BATCH)
		most = LIVE_BATCH;
	for (i = 1; i < most && p->request.next &&
		    same_run(&chain->request, &p->request.next->request) &&
		    !parts_wanted(h, p->request.next);
	     i++)
		p = p->request.next;
	rest = p->request.next;
	p->request.next = NULL;
	*n += i;
	return rest;
}

static struct xdivert_packet *take_queued(struct xdivert_injection *h)
{
	struct xdivert_packet *chain;

	if (h->signalled || __atomic_load_n(&h->first, __ATOMIC_ACQUIRE))
		take_over(h);
	chain = h->own_first;
	h->own_first = NULL;
	h->own_last = &h->own_first;
	h->stuck = false;
	return chain;
}

/* What cannot be sent yet goes before what was queued since. */
static void put_back(struct xdivert_injection *h, struct xdivert_packet *chain)
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

static int send_chain(struct xdivert_injection *h, struct xdivert_packet *chain)
{
	struct xdivert_packet *rest;
	int n = 0;

	for (; chain; chain = rest) {
		if (!h->free_slots) {
			put_back(h, chain);
			break;
		}
		if (parts_wanted(h, chain)) {
			rest = chain->request.next;
			if (!parts_send(h, chain)) {
				put_back(h, chain);
				break;
			}
			n++;
			continue;
		}
		rest = cut_run(h, chain, &n);
		live_send(h, chain);
	}
	return n;
}

/* Send what was queued before; what callbacks queue waits for the next time. */
static int send_queued(struct xdivert_injection *h)
{
	struct xdivert_packet *again;
	int n = send_chain(h, take_queued(h));

	/* Too big for its route, as it turned out. */
	again = h->again;
	h->again = NULL;
	return n + send_chain(h, again);
}

void inject_again(struct xdivert_injection *h, struct xdivert_packet *p,
		  uint32_t mtu)
{
	struct xdivert_packet **at = &h->again;

	while (*at)
		at = &(*at)->request.next;
	*at = p;
	p->request.next = NULL;
	p->request.mtu = mtu;
	p->request.counted = true;
}

static void begin(struct xdivert_injection *h)
{
	pthread_mutex_lock(&h->lock);
	h->dispatching = true;
	dispatched = h;
	pthread_mutex_unlock(&h->lock);
}

static void end(struct xdivert_injection *h)
{
	pthread_mutex_lock(&h->lock);
	h->dispatching = false;
	dispatched = NULL;
	home_leave(h);
	pool_share_spares(h);
	if (h->first || (h->own_first && !h->stuck))
		wake(h);
	pthread_mutex_unlock(&h->lock);
}

/* How much was done; trouble is told only when there was nothing else. */
static int round_of(struct xdivert_injection *h)
{
	int n;

	begin(h);
	n = live_round(h);
	n += h->q ? serve_round(h) : 0;
	n += send_queued(h);
	end(h);
	if (!n && h->trouble) {
		n = h->trouble;
		h->trouble = 0;
	}
	return n;
}

void xdivert_busy_poll(struct xdivert_injection *h, bool on)
{
	h->spins = on;
}

static int next_look(const struct xdivert_injection *h, int timeout_ms)
{
	return wait_timeout(h, serve_timeout(h, timeout_ms));
}

static uint64_t deadline(int timeout_ms)
{
	return now() + timeout_ms * 1000000ull;
}

/* In ms; what is not positive is not a deadline. */
static int time_left(uint64_t until, int timeout_ms)
{
	uint64_t t;

	if (timeout_ms <= 0)
		return timeout_ms;
	t = now();
	return t < until ? (until - t) / 1000000 + 1 : 0;
}

int xdivert_dispatch(struct xdivert_injection *h, int timeout_ms)
{
	struct pollfd fd = {.fd = h->epoll, .events = POLLIN};
	uint64_t until = timeout_ms > 0 ? deadline(timeout_ms) : 0;
	int n, left, woken = 0;

	if (h->dispatching)
		return error_set(-EDEADLK, "dispatching is under way");
	for (;;) {
		n = round_of(h);
		left = time_left(until, timeout_ms);
		if (n || !left || woken > 0)
			return n;
		if (h->spins)
			continue;
		woken = poll(&fd, 1, next_look(h, left));
		if (woken < 0)
			return error_set(-errno, "poll: %s", strerror(errno));
	}
}

int xdivert_fd(const struct xdivert_injection *h)
{
	return h->epoll;
}

int xdivert_timeout(const struct xdivert_injection *h)
{
	return next_look(h, -1);
}

/* ---- the end ---- */

static void cancel(struct xdivert_injection *h)
{
	struct xdivert_packet *chain = take_queued(h), *rest;
	int n = 0;

	begin(h);
	/* First what waits: the others need its descriptors. */
	live_cancel(h);
	for (; chain; chain = rest) {
		rest = chain->request.next;
		if (parts_wanted(h, chain)) {
			parts_cancel(h, chain);
			continue;
		}
		rest = cut_run(h, chain, &n);
		live_refuse(h, chain, -ECANCELED, XDV_REASON_CANCELED);
	}
	end(h);
}

/* Until nothing is pending. What callbacks return, nobody can queue again. */
static void finish(struct xdivert_injection *h, int timeout_ms)
{
	struct pollfd fd = {.fd = ring_fd(h), .events = POLLIN};
	uint64_t until = timeout_ms > 0 ? deadline(timeout_ms) : 0;
	int left;

	for (;;) {
		begin(h);
		live_round(h);
		send_queued(h);
		end(h);
		left = time_left(until, timeout_ms);
		if (!pending(h) || !left)
			return;
		poll(&fd, 1, wait_timeout(h, left));
	}
}

int xdivert_injection_destroy(struct xdivert_injection *h, int timeout_ms)
{
	int left;

	if (!h)
		return 0;
	if (h->dispatching)
		return error_set(-EDEADLK, "dispatching is under way");
	pthread_mutex_lock(&h->lock);
	h->closing = true;
	pthread_mutex_unlock(&h->lock);
	if (timeout_ms)
		finish(h, timeout_ms);
	cancel(h);
	home_enter(h);
	serve_end(h);
	left = pool_abandon(h);
	close_handle(h);
	home_leave(h);
	free(h);
	return left;
}
