// SPDX-License-Identifier: BSD-2-Clause
/* A handle as its compartment's daemon: receive, ask the callouts, send on. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach.h"
#include "checksum.h"
#include "crew.h"
#include "error.h"
#include "groups.h"
#include "home.h"
#include "inject.h"
#include "ip.h"
#include "live.h"
#include "netlink.h"
#include "queue.h"
#include "ruleset.h"
#include "seen.h"
#include "tell.h"

#define BATCH	      512
#define CHUNK	      64
#define BUSY_WAIT     5 /* ms */
#define BUSY_TRIES    200
#define BUSY_WAIT_MAX 200     /* ms, from then on */
#define LOOK_INTERVAL 1000000 /* ns between them when spinning */
#define LOOK_AGAIN    64 /* rounds between two looks at attachments under load */

static int watch(struct xdivert_injection *h, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_changes(struct xdivert_injection *h)
{
	h->changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (h->changes < 0 ||
	    inotify_add_watch(h->changes, h->x->dir, IN_CREATE | IN_DELETE) < 0)
		return error_set(-errno, "cannot watch %s: %s", h->x->dir,
				 strerror(errno));
	h->links = netlink_watch_links();
	if (h->links < 0)
		return error_set(h->links, "cannot watch interfaces: %s",
				 strerror(-h->links));
	watch(h, h->links);
	return watch(h, h->changes);
}

/* Interfaces that have gone, rules that name some: false if somebody else is
 * changing them now.
 */
static bool look_around(struct xdivert_injection *h)
{
	int rc = state_trylock(h->x);

	if (!rc) {
		hook_prune(h->x);
		rules_refresh(h->x);
	}
	state_unlock(h->x);
	return !rc;
}

/* Serve what is attached now; what cannot be done yet is tried again. */
static void refresh(struct xdivert_injection *h)
{
	int rc = home_enter(h);

	if (rc) {
		h->trouble = rc;
		return;
	}
	if (h->stale && look_around(h))
		h->stale = false;
	/* The kernel frees the sockets of a detached interface a little later
	 * than we close them.
	 */
	rc = h->stale ? -EBUSY : queues_update(h->q);
	if (!rc && queues_starved(h->q)) {
		h->busy_tries++;
	} else if (rc != -EBUSY) {
		h->busy_tries = 0;
		h->trouble = rc;
	} else if (h->busy_tries++ == BUSY_TRIES) {
		/* Told once; it is tried again all the same. */
		h->trouble = rc;
	}
}

/* The kernel may take a while on a loaded machine; nobody spins for it. */
static int retry_wait(const struct xdivert_injection *h)
{
	return h->busy_tries > BUSY_TRIES ? BUSY_WAIT_MAX : BUSY_WAIT;
}

static void update(struct xdivert_injection *h)
{
	char events[4096];

	h->stale |= netlink_drain(h->links);
	while (read(h->changes, events, sizeof(events)) > 0)
		h->stale = true;
	if (h->stale || h->busy_tries)
		refresh(h);
}

int xdivert_serve_share(struct xdivert_injection *h, unsigned int share,
			unsigned int shares)
{
	int rc;

	if (h->q)
		return error_set(-EALREADY, "the handle serves already");
	if (h->family != AF_UNSPEC || !(h->kinds & XDIVERT_KIND_FORWARD) ||
	    !(h->kinds & XDIVERT_KIND_RECEIVE))
		return error_set(
			-EINVAL,
			"a handle that serves must be of AF_UNSPEC and "
			"of both kinds: rules may divert any packet");
	rc = state_check_here(h->x);
	if (rc)
		return rc;
	rc = crew_join(&h->crew, h->x, share, shares);
	if (rc)
		return rc;
	h->share = share;
	h->shares = shares;
	rc = open_changes(h);
	rc = rc ? rc : live_pin(h);
	rc = rc ? rc : live_count_queue_drops(h);
	rc = rc ? rc : queues_create(&h->q, h);
	if (rc) {
		serve_end(h);
		return rc;
	}
	tell_open(h);
	h->stale = true;
	refresh(h);
	return home_leave(h);
}

int xdivert_serve(struct xdivert_injection *h)
{
	return xdivert_serve_share(h, 0, 1);
}

void xdivert_serve_stop(struct xdivert_injection *h)
{
	if (!h->q)
		return;
	h->stopped = true;
	queues_stop(h->q);
}

/* What was received and never pulled is dropped. */
static void drain(struct xdivert_injection *h)
{
	struct xdivert_packet *batch[BATCH];
	int i, n;

	queues_stop(h->q);
	while ((n = xdivert_receive(h, batch, BATCH)) > 0)
		for (i = 0; i < n; i++)
			xdivert_packet_free(batch[i]);
}

/* Under the lock, so that whoever detaches sees all of it or nothing. */
void serve_end(struct xdivert_injection *h)
{
	if (h->q)
		drain(h);
	queues_destroy(h->q);
	h->q = NULL;
	if (h->changes >= 0)
		close(h->changes);
	h->changes = -1;
	if (h->links >= 0)
		close(h->links);
	h->links = -1;
	if (!h->crew)
		return;
	groups_leave(crew_groups(h->crew));
	live_unpin(h);
	crew_leave(h->crew, h->x, h->share);
	h->crew = NULL;
}

int xdivert_reassembly(struct xdivert_injection *h,
		       const struct xdivert_reassembly_opts *opts)
{
	if (opts->sz != sizeof(*opts))
		return error_set(-EINVAL,
				 "reassembly: options of another version");
	if (!h->crew)
		return error_set(-ENOTCONN, "the handle serves nobody");
	groups_limit(crew_groups(h->crew), opts);
	return 0;
}

int xdivert_callout_register(struct xdivert_injection *h,
			     xdivert_classify_fn fn, void *arg)
{
	if (h->callouts == CALLOUTS_MAX)
		return error_set(-ENOSPC, "%d callouts are the most",
				 CALLOUTS_MAX);
	h->callout[h->callouts++] = (struct registration){fn, arg};
	return 0;
}

/* ---- receiving ---- */

/* What follows the IP packet in a short frame is padding. */
static bool trim(struct xdivert_packet *p)
{
	uint32_t len = ip_claims(p->data, p->len);

	if (len < 20 || len > p->len)
		return false;
	p->len = len;
	return true;
}

/* A later edit must not show in what is said to the sender. */
static void keep_quote(const struct xdivert_injection *h,
		       struct xdivert_packet *p)
{
	if (p->len <= h->narrowest)
		return;
	p->quote_len = p->len < ICMP_QUOTE ? p->len : ICMP_QUOTE;
	/* A length that the compiler knows costs no call. */
	if (p->quote_len == ICMP_QUOTE)
		memcpy(p->quote, p->data, ICMP_QUOTE);
	else
		memcpy(p->quote, p->data, p->quote_len);
}

static void look_up(struct xdivert_injection *h, struct xdivert_packet *p)
{
	enum xdivert_injection_state state;
	struct xdivert_headers headers;
	uint64_t context;

	seen_lookup(h, p);
	state = seen_state(h, &p->origin, &context);
	if (state == XDIVERT_INJECTED_BY_SELF ||
	    state == XDIVERT_PREVIOUSLY_INJECTED_BY_SELF)
		__atomic_fetch_add(&h->x->shared->returned, 1,
				   __ATOMIC_RELAXED);
	keep_quote(h, p);
	if (!p->fragment && !p->summed &&
	    !xdivert_parse(p->data, p->len, &headers))
		csum_complete(p->data, p->len, &headers);
}

int xdivert_receive(struct xdivert_injection *h,
		    struct xdivert_packet **packets, int n)
{
	struct xdivert_packet *p;
	int received, good = 0, i;

	if (!h->q)
		return error_set(-ENOTCONN, "the handle serves nobody");
	received = queues_receive(h->q, packets, n);
	for (i = 0; i < received; i++) {
		/* The hook checks this: something else put it here. */
		if (!trim(packets[i])) {
			xdivert_packet_free(packets[i]);
			continue;
		}
		seen_prepare_lookup(h, packets[i]);
		packets[good++] = packets[i];
	}
	received = good;
	for (i = 0, good = 0; i < received; i++) {
		p = packets[i];
		look_up(h, p);
		if (p->fragment)
			p = groups_add(crew_groups(h->crew), h, p);
		if (p)
			packets[good++] = p;
	}
	queues_refill(h->q);
	h->fragments = groups_expire(crew_groups(h->crew));
	return good;
}

/* ---- classifying ---- */

int xdivert_inject_onward(struct xdivert_injection *h,
			  struct xdivert_packet *packet)
{
	int family = packet->data[0] >> 4 == 6 ? AF_INET6 : AF_INET;

	if (packet->meta.layer != XDV_LAYER_FORWARD)
		return xdivert_inject_receive_async(h, 0, 0, family, 0,
						    packet->meta.iif, packet,
						    NULL, NULL);
	return xdivert_inject_forward_async(
		h, 0, 0, family, 0, packet->meta.oif, packet, NULL, NULL);
}

static enum xdivert_verdict ask(struct xdivert_injection *h,
				struct xdivert_packet *p)
{
	enum xdivert_verdict verdict = XDIVERT_CONTINUE;
	int i;

	for (i = 0; i < h->callouts && verdict == XDIVERT_CONTINUE; i++)
		h->callout[i].fn(h->callout[i].arg, p, &p->meta, &verdict);
	return verdict;
}

static void classify(struct xdivert_injection *h, struct xdivert_packet *p)
{
	enum xdivert_verdict verdict = ask(h, p);

	if (verdict == XDIVERT_ABSORB)
		return;
	if (verdict == XDIVERT_DROP || xdivert_inject_onward(h, p))
		xdivert_packet_free(p);
}

/* Interfaces may have come or gone. Who waits in poll() is told so; who spins
 * asks now and then.
 */
static bool time_to_look(struct xdivert_injection *h, int received)
{
	uint64_t now;

	if (!h->awake)
		return received <= 0 || ++h->rounds % LOOK_AGAIN == 0;
	now = inject_now(h);
	if (now - h->looked < LOOK_INTERVAL)
		return false;
	h->looked = now;
	queues_close_idle(h->q);
	return true;
}

/* So many at a time that what was read of them stays in the CPU's first cache;
 * one kernel call sends them all.
 */
static int serve_batch(struct xdivert_injection *h)
{
	struct xdivert_packet *chunk[CHUNK];
	int i, n, total = 0;

	do {
		n = xdivert_receive(h, chunk, CHUNK);
		if (!total && n > 0)
			h->clock = inject_now(h);
		for (i = 0; i < n; i++)
			classify(h, chunk[i]);
		total += n > 0 ? n : 0;
		inject_early(h);
	} while (n == CHUNK && total < BATCH);
	h->clock = 0;
	return total;
}

int serve_round(struct xdivert_injection *h)
{
	int n = h->callouts ? serve_batch(h) : 0;

	/* Nothing more can become whole. */
	if (n <= 0 && h->stopped)
		groups_leave(crew_groups(h->crew));
	if (time_to_look(h, n))
		update(h);
	return n;
}

/* -1: never. */
static int sooner(int a, int b)
{
	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

int serve_timeout(const struct xdivert_injection *h, int timeout_ms)
{
	if (h->busy_tries)
		timeout_ms = sooner(timeout_ms, retry_wait(h));
	if (h->q)
		timeout_ms = sooner(timeout_ms, h->fragments);
	if (h->q && queues_owed(h->q))
		timeout_ms = sooner(timeout_ms, 1000);
	return timeout_ms;
}

enum xdivert_injection_state
xdivert_query_injection_state(struct xdivert_injection *h,
			      const struct xdivert_packet *p, uint64_t *context)
{
	uint64_t unwanted;

	return seen_state(h, &p->origin, context ? context : &unwanted);
}
