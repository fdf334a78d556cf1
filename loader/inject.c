// SPDX-License-Identifier: BSD-2-Clause
/* Injection handles: their life, what dispatch does, and who is called. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "compartment.h"
#include "error.h"
#include "home.h"
#include "inject.h"
#include "live.h"
#include "parts.h"
#include "pending.h"
#include "pool.h"
#include "ring.h"
#include "tell.h"
#include "wait.h"

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
	pending_open(h);
	h->wake = h->epoll = h->alive = h->link = -1;
	h->changes = h->links = h->link_changes = -1;
	h->tell4 = h->tell6 = -1;
	h->port = PORT_NONE;
	xdivert_idle_poll(h, XDIVERT_IDLE_POLL_US);
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
	pending_done(h);
	if (fn)
		fn(p->request.arg, p, completion);
	else
		xdivert_packet_free(p);
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
		    live_same_run(&chain->request, &p->request.next->request) &&
		    !parts_wanted(h, p->request.next);
	     i++)
		p = p->request.next;
	rest = p->request.next;
	p->request.next = NULL;
	*n += i;
	return rest;
}

/*
 * What was too long for its route, and what came behind it, goes before the
 * rest; so it does before what stands in the ring, which joins it there.
 */
static struct xdivert_packet *again_first(struct xdivert_injection *h,
					  struct xdivert_packet *chain)
{
	struct xdivert_packet *again;

	if (!h->again)
		return chain;
	live_flush(h);
	again = h->again;
	h->again_last->request.next = chain;
	h->again = NULL;
	ring_forget_cut(h);
	return again;
}

static int send_chain(struct xdivert_injection *h, struct xdivert_packet *chain)
{
	struct xdivert_packet *rest;
	int n = 0;

	for (;; chain = rest) {
		if (!chain || !h->free_slots || parts_wanted(h, chain))
			live_flush(h);
		chain = again_first(h, chain);
		if (!chain)
			break;
		if (!h->free_slots) {
			pending_put_back(h, chain);
			break;
		}
		if (!parts_wanted(h, chain)) {
			rest = cut_run(h, chain, &n);
			live_send(h, chain);
			continue;
		}
		rest = chain->request.next;
		if (!parts_send(h, chain)) {
			pending_put_back(h, chain);
			break;
		}
		n++;
	}
	return n;
}

void inject_early(struct xdivert_injection *h)
{
	struct xdivert_packet *chain = h->own_first, *rest;
	int n = 0;

	if (!chain || !h->free_slots || !live_joins(h, &chain->request) ||
	    parts_wanted(h, chain))
		return;
	chain = pending_take_own(h);
	rest = cut_run(h, chain, &n);
	live_add(h, chain);
	if (rest)
		pending_put_back(h, rest);
}

/* Send what was queued before; what callbacks queue waits for the next time. */
static int send_queued(struct xdivert_injection *h)
{
	return send_chain(h, pending_take(h));
}

/* By age: those that were held come last, and may be the oldest. */
static struct xdivert_packet **place_again(struct xdivert_injection *h,
					   uint64_t id)
{
	struct xdivert_packet **at = &h->again;

	if (*at && h->again_last->request.id < id)
		return &h->again_last->request.next;
	while (*at && (*at)->request.id < id)
		at = &(*at)->request.next;
	return at;
}

void inject_again(struct xdivert_injection *h, struct xdivert_packet *p,
		  uint64_t id, uint32_t mtu)
{
	struct xdivert_packet **at = place_again(h, id);

	p->request.id = id;
	p->request.next = *at;
	*at = p;
	if (!p->request.next)
		h->again_last = p;
	if (mtu)
		p->request.mtu = mtu;
	p->request.flags |= XDV_DESC_COUNTED;
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
	int rc = home_leave(h);

	if (rc)
		h->trouble = rc;
	pthread_mutex_lock(&h->lock);
	h->dispatching = false;
	dispatched = NULL;
	pool_share_spares(h);
	pending_wake(h);
	/* A batch of another compartment may have read what told us. */
	if (wait_next(h))
		pending_wake_now(h);
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
	h->idle.busy = on;
}

void xdivert_idle_poll(struct xdivert_injection *h, unsigned int us)
{
	h->idle.poll = us * 1000ull;
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

static bool interrupted(struct xdivert_injection *h)
{
	return __atomic_load_n(&h->interrupted, __ATOMIC_RELAXED) &&
	       __atomic_exchange_n(&h->interrupted, false, __ATOMIC_SEQ_CST);
}

/* The last look before it sleeps sees to all that those awake leave out. */
static bool looks_again(struct xdivert_injection *h)
{
	bool was_awake = h->awake;

	h->awake = idle_polls(&h->idle, now());
	return h->awake || was_awake;
}

/* What has arrived is for xdivert_receive(): dispatch does not look for it. */
static bool pulls(const struct xdivert_injection *h)
{
	return h->q && !h->callouts;
}

/* > 0: there is something to do; 0: there is not; or -errno. */
static int readable(const struct xdivert_injection *h, int timeout_ms)
{
	struct pollfd fd = {.fd = h->epoll, .events = POLLIN};
	int n = poll(&fd, 1, timeout_ms);

	return n < 0 ? error_set(-errno, "poll: %s", strerror(errno)) : n;
}

static int sleep_for(struct xdivert_injection *h, int timeout_ms)
{
	uint64_t from = now();
	int n = readable(h, timeout_ms);

	idle_slept(&h->idle, from, now(), n > 0);
	return n;
}

int xdivert_dispatch(struct xdivert_injection *h, int timeout_ms)
{
	uint64_t until = timeout_ms > 0 ? deadline(timeout_ms) : 0;
	int n, left, woken = 0;

	if (h->dispatching)
		return error_set(-EDEADLK, "dispatching is under way");
	/* Who does not wait here may sleep elsewhere. */
	h->awake = h->idle.busy || (h->awake && timeout_ms);
	for (;;) {
		n = round_of(h);
		if (n)
			idle_ends(&h->idle);
		left = time_left(until, timeout_ms);
		if (interrupted(h) || n || !left || woken > 0)
			return n;
		if (looks_again(h))
			woken = pulls(h) ? readable(h, 0) : 0;
		else
			woken = sleep_for(h, next_look(h, left));
		if (woken < 0)
			return woken;
	}
}

void xdivert_interrupt(struct xdivert_injection *h)
{
	__atomic_store_n(&h->interrupted, true, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&h->lock);
	pending_wake_now(h);
	pthread_mutex_unlock(&h->lock);
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
	struct xdivert_packet *chain, *rest;
	int n = 0;

	begin(h);
	chain = again_first(h, pending_take(h));
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
		if (!pending_count(h) || !left)
			return;
		poll(&fd, 1, wait_next(h) ? 0 : wait_timeout(h, left));
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
	/* Not allowed to, it leaves devices to their descriptors' end. */
	home_enter(h);
	serve_end(h);
	left = pool_abandon(h);
	close_handle(h);
	home_leave(h);
	free(h);
	return left;
}
