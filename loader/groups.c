// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <bpf/bpf.h>

#include "clock.h"
#include "groups.h"
#include "ask.h"
#include "pool.h"
#include "reassemble.h"
#include "ring.h"

#define MS 1000000ull

struct groups_of {
	pthread_mutex_t lock;
	struct reassembly *reassembly;
	struct reassembly_limits limits;
	struct asker *asker;
};

/* ---- fragments that go on by themselves ---- */

static void go_on(struct xdivert_packet *p)
{
	/* Back in a frame many leave at once. */
	struct xdivert_packet *framed =
		p->len <= XDV_PACKET_MAX ? pool_move_in(p) : NULL;

	p = framed ? framed : p;
	if (xdivert_inject_onward(p->h, p))
		xdivert_packet_free(p);
}

/* What cannot be served: the interface says what becomes of it. */
static bool fails_open(const struct xdivert_packet *p)
{
	__u32 iif = p->meta.iif;
	struct xdv_iface iface;

	return bpf_map_lookup_elem(p->h->x->ifaces, &iif, &iface) ||
	       iface.fail == XDV_FAIL_OPEN;
}

static void count(__u64 *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void lost(void *arg, void *user, enum reassembly_loss why)
{
	struct xdivert_packet *p = user;

	(void)arg;
	count(&p->h->x->shared->fragments_lost[why]);
	if (why != REASSEMBLY_INVALID && fails_open(p))
		go_on(p);
	else
		xdivert_packet_free(p);
}

/* ---- its life ---- */

int groups_new(struct groups_of **out)
{
	struct groups_of *groups = calloc(1, sizeof(*groups));

	if (!groups)
		return -ENOMEM;
	pthread_mutex_init(&groups->lock, NULL);
	/* The kernel's: net.ipv4.ipfrag_time, net.ipv6.ip6frag_time. */
	groups->limits = (struct reassembly_limits){
		.timeout4 = 30000 * MS,
		.timeout6 = 60000 * MS,
		.memory = 16 << 20,
		.lost = lost,
	};
	groups->asker = asker_new();
	if (getrandom(groups->limits.key, sizeof(groups->limits.key), 0) ==
	    (ssize_t)sizeof(groups->limits.key))
		groups->reassembly = reassembly_new(&groups->limits);
	*out = groups;
	return groups->asker && groups->reassembly ? 0 : -ENOMEM;
}

void groups_free(struct groups_of *groups)
{
	if (!groups)
		return;
	reassembly_free(groups->reassembly);
	asker_free(groups->asker);
	pthread_mutex_destroy(&groups->lock);
	free(groups);
}

void groups_leave(struct groups_of *groups)
{
	struct reassembly *fresh;

	pthread_mutex_lock(&groups->lock);
	fresh = reassembly_new(&groups->limits);
	if (fresh) {
		reassembly_free(groups->reassembly);
		groups->reassembly = fresh;
	}
	pthread_mutex_unlock(&groups->lock);
}

void groups_limit(struct groups_of *groups,
		  const struct xdivert_reassembly_opts *opts)
{
	if (opts->timeout4_ms)
		groups->limits.timeout4 = opts->timeout4_ms * MS;
	if (opts->timeout6_ms)
		groups->limits.timeout6 = opts->timeout6_ms * MS;
	if (opts->memory)
		groups->limits.memory = opts->memory;
	groups_leave(groups);
}

int groups_expire(struct groups_of *groups)
{
	uint64_t time = now();
	int64_t next;

	pthread_mutex_lock(&groups->lock);
	reassembly_expire(groups->reassembly, time);
	next = reassembly_next(groups->reassembly, time);
	pthread_mutex_unlock(&groups->lock);
	/* Never too early, or somebody would spin. */
	return next < 0 ? -1 : (int)(next / MS) + 1;
}

/* ---- groups that are whole ---- */

/* The datagram with what its first fragment brought along, and its weight. */
static struct xdivert_packet *build(struct xdivert_injection *h,
				    const struct group *g)
{
	struct xdivert_packet *whole = pool_take_own(h, group_len(g));
	struct xdivert_packet *first = group_first(g);

	if (!whole)
		return NULL;
	whole->shape = group_shape(g);
	if (!whole->shape) {
		xdivert_packet_free(whole);
		return NULL;
	}
	group_build(g, whole->data);
	memcpy(whole->data - POOL_LINK, first->data - POOL_LINK, POOL_LINK);
	whole->flags = first->flags;
	whole->meta = first->meta;
	whole->meta.flags = XDIVERT_META_REASSEMBLED;
	whole->origin = first->origin;
	whole->quote_len = first->quote_len;
	memcpy(whole->quote, first->quote, first->quote_len);
	return whole;
}

/* From now on the whole stands for them in the counters. */
static void replace(struct xdivert_packet *whole, struct group *g)
{
	struct xdivert_packet *p;

	whole->weight = 0;
	while ((p = group_take(g))) {
		whole->weight += p->weight;
		p->diverted = false;
		xdivert_packet_free(p);
	}
	whole->diverted = true;
}

static void release(struct group *g)
{
	struct xdivert_packet *p;

	while ((p = group_take(g)))
		go_on(p);
}

static struct xdivert_packet *
finish(struct groups_of *groups, struct xdivert_injection *h, struct group *g)
{
	struct xdivert_packet *whole = build(h, g);
	uint32_t slot = 0;

	if (whole)
		whole->meta.rule = asker_ask(
			groups->asker, h->x, whole->data - POOL_LINK,
			whole->len + POOL_LINK, &whole->meta, true, &slot);
	if (whole && whole->meta.rule) {
		count(&h->x->shared->reassembled);
		replace(whole, g);
		ring_hits(h, slot, whole->weight, whole->len);
	} else {
		xdivert_packet_free(whole);
		whole = NULL;
		release(g);
	}
	group_free(g);
	return whole;
}

/* A rule may want fragments as they are. */
static bool wanted_as_it_is(struct groups_of *groups, struct xdivert_packet *p)
{
	uint32_t slot = 0;

	p->meta.rule = asker_ask(groups->asker, p->h->x, p->data - POOL_LINK,
				 p->len + POOL_LINK, &p->meta, false, &slot);
	if (p->meta.rule)
		ring_hits(p->h, slot, 1, p->len);
	p->meta.flags = XDIVERT_META_FRAGMENT;
	return p->meta.rule;
}

static struct xdivert_packet *add(struct groups_of *groups,
				  struct xdivert_injection *h,
				  struct xdivert_packet *p)
{
	struct xdivert_packet *own;
	struct group *g;

	if (wanted_as_it_is(groups, p))
		return p;
	own = p->frame == NO_FRAME ? p : pool_move_out(p, p->len);
	if (!own) {
		lost(NULL, p, REASSEMBLY_EVICTED);
		return NULL;
	}
	switch (reassembly_add(groups->reassembly, now(), own->data, own->len,
			       own, &g)) {
	case REASSEMBLY_WAITS:
		break;
	case REASSEMBLY_WHOLE:
		return finish(groups, h, g);
	case REASSEMBLY_NONE:
		/* Nothing can come of it: the receiver's to judge. */
		go_on(own);
		break;
	case REASSEMBLY_DUPLICATE:
		xdivert_packet_free(own);
		break;
	case REASSEMBLY_DISCARDED:
		lost(NULL, own, REASSEMBLY_INVALID);
		break;
	case REASSEMBLY_NO_MEMORY:
		lost(NULL, own, REASSEMBLY_EVICTED);
		break;
	}
	return NULL;
}

struct xdivert_packet *groups_add(struct groups_of *groups,
				  struct xdivert_injection *h,
				  struct xdivert_packet *p)
{
	pthread_mutex_lock(&groups->lock);
	p = add(groups, h, p);
	pthread_mutex_unlock(&groups->lock);
	return p;
}
