// SPDX-License-Identifier: BSD-2-Clause
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "bytes.h"
#include "checksum.h"
#include "reassemble.h"
#include "siphash.h"

#define BUCKETS	      4096
#define UNITS	      8192 /* of 8 bytes, in a datagram */
#define SLOTS	      64
#define FRAGMENT_COST 512 /* what a fragment takes beside its bytes */
#define CE	      3
#define NOT_ECT	      0

struct key {
	uint8_t address[32];
	uint32_t id;
	uint16_t family;
	uint16_t protocol;
};
_Static_assert(sizeof(struct key) == 40, "it is hashed whole");

struct held {
	struct held *next;  /* by arrival */
	struct held *chain; /* in its slot */
	void *user;
	const uint8_t *data;
	uint32_t len;
	struct fragment f;
};

struct group {
	TAILQ_ENTRY(group) used, age;
	struct group *chain; /* in its bucket */
	struct key key;
	uint64_t born;
	struct held *first, **last, *start; /* start: of offset 0 */
	uint64_t filled[UNITS / 64];
	struct held *slot[SLOTS]; /* by offset, to find duplicates soon */
	uint32_t count, bytes;
	uint32_t end; /* of the payload, if the last fragment is here */
	uint32_t top; /* as far as fragments reach */
	uint32_t max, max_df;
	uint8_t ecn; /* 1 << each mark that was seen */
	bool complete;
	bool dead;
};

TAILQ_HEAD(groups, group);

struct reassembly {
	struct reassembly_limits limits;
	struct groups used; /* least recently first */
	struct groups age4, age6;
	uint64_t memory;
	uint32_t waiting;
	struct group *bucket[BUCKETS];
};

struct reassembly *reassembly_new(const struct reassembly_limits *limits)
{
	struct reassembly *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->limits = *limits;
	TAILQ_INIT(&r->used);
	TAILQ_INIT(&r->age4);
	TAILQ_INIT(&r->age6);
	return r;
}

/* ---- the table ---- */

static void key_of(const uint8_t *data, const struct fragment *f,
		   struct key *key)
{
	*key = (struct key){.id = f->id, .family = data[0] >> 4};
	if (key->family == 4) {
		memcpy(key->address, data + 12, 8);
		key->protocol = data[9];
	} else {
		memcpy(key->address, data + 8, 32);
	}
}

static struct group **bucket_of(struct reassembly *r, const struct key *key)
{
	uint64_t sum = siphash(r->limits.key, key, sizeof(*key));

	return &r->bucket[sum % BUCKETS];
}

static struct groups *age_of(struct reassembly *r, const struct group *g)
{
	return g->key.family == 4 ? &r->age4 : &r->age6;
}

static struct group *find(struct reassembly *r, const struct key *key)
{
	struct group *g = *bucket_of(r, key);

	while (g && memcmp(&g->key, key, sizeof(*key)))
		g = g->chain;
	return g;
}

static struct group *create(struct reassembly *r, const struct key *key,
			    uint64_t now)
{
	struct group **bucket = bucket_of(r, key);
	struct group *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->key = *key;
	g->born = now;
	g->last = &g->first;
	g->chain = *bucket;
	*bucket = g;
	TAILQ_INSERT_TAIL(&r->used, g, used);
	TAILQ_INSERT_TAIL(age_of(r, g), g, age);
	r->memory += sizeof(*g);
	return g;
}

static uint64_t cost_of(const struct held *h)
{
	return h->len + FRAGMENT_COST;
}

/* Take it out of the table, with what it is counted for. */
static void forget(struct reassembly *r, struct group *g)
{
	struct group **at = bucket_of(r, &g->key);
	struct held *h;

	while (*at != g)
		at = &(*at)->chain;
	*at = g->chain;
	TAILQ_REMOVE(&r->used, g, used);
	TAILQ_REMOVE(age_of(r, g), g, age);
	r->memory -= sizeof(*g);
	for (h = g->first; h; h = h->next)
		r->memory -= cost_of(h);
	r->waiting -= g->count;
}

void *group_take(struct group *g)
{
	struct held *h = g->first;
	void *user;

	if (!h)
		return NULL;
	g->first = h->next;
	user = h->user;
	free(h);
	return user;
}

void group_free(struct group *g)
{
	while (group_take(g))
		;
	free(g);
}

static void lose(struct reassembly *r, struct group *g,
		 enum reassembly_loss why)
{
	void *user;

	while ((user = group_take(g)))
		r->limits.lost(r->limits.arg, user, why);
}

static void remove_group(struct reassembly *r, struct group *g,
			 enum reassembly_loss why)
{
	forget(r, g);
	lose(r, g, why);
	free(g);
}

/* Its fragments go; the group stays, to discard what is still to come. */
static void kill_group(struct reassembly *r, struct group *g)
{
	struct held *h;

	for (h = g->first; h; h = h->next)
		r->memory -= cost_of(h);
	r->waiting -= g->count;
	lose(r, g, REASSEMBLY_INVALID);
	g->count = 0;
	g->last = &g->first;
	g->dead = true;
}

/* Never the one that is being worked on. */
static void make_room(struct reassembly *r, const struct group *keep)
{
	struct group *g;

	while (r->memory > r->limits.memory) {
		g = TAILQ_FIRST(&r->used);
		if (g == keep)
			return;
		remove_group(r, g, REASSEMBLY_EVICTED);
	}
}

void reassembly_free(struct reassembly *r)
{
	struct group *g;

	if (!r)
		return;
	while ((g = TAILQ_FIRST(&r->used)))
		remove_group(r, g, REASSEMBLY_EXPIRED);
	free(r);
}

static void expire(struct reassembly *r, struct groups *age, uint64_t before)
{
	struct group *g;

	while ((g = TAILQ_FIRST(age)) && g->born <= before)
		remove_group(r, g, REASSEMBLY_EXPIRED);
}

void reassembly_expire(struct reassembly *r, uint64_t now)
{
	if (now >= r->limits.timeout4)
		expire(r, &r->age4, now - r->limits.timeout4);
	if (now >= r->limits.timeout6)
		expire(r, &r->age6, now - r->limits.timeout6);
}

static int64_t left(const struct groups *age, uint64_t timeout, uint64_t now)
{
	const struct group *g = TAILQ_FIRST(age);

	if (!g)
		return -1;
	return g->born + timeout > now ? g->born + timeout - now : 0;
}

int64_t reassembly_next(const struct reassembly *r, uint64_t now)
{
	int64_t a = left(&r->age4, r->limits.timeout4, now);
	int64_t b = left(&r->age6, r->limits.timeout6, now);

	if (a < 0 || b < 0)
		return a < 0 ? b : a;
	return a < b ? a : b;
}

uint32_t reassembly_waiting(const struct reassembly *r)
{
	return r->waiting;
}

uint64_t reassembly_memory(const struct reassembly *r)
{
	return r->memory;
}

/* ---- adding ---- */

static uint8_t ecn_of(const uint8_t *data)
{
	return data[0] >> 4 == 4 ? data[1] & 3 : data[1] >> 4 & 3;
}

/* Mark the units of [offset, offset + len); false: one is marked already. */
static bool fill(struct group *g, const struct fragment *f)
{
	uint32_t from = f->offset / 8, to = (f->offset + f->len + 7u) / 8, i;

	for (i = from; i < to; i++)
		if (g->filled[i / 64] >> i % 64 & 1)
			return false;
	for (i = from; i < to; i++)
		g->filled[i / 64] |= 1ull << i % 64;
	return true;
}

/* The same bytes at the same place. */
static bool duplicate(const struct group *g, const uint8_t *data, uint32_t len,
		      const struct fragment *f)
{
	const struct held *h;

	for (h = g->slot[f->offset / 8 % SLOTS]; h; h = h->chain)
		if (h->f.offset == f->offset)
			return h->f.len == f->len && h->f.more == f->more &&
			       !memcmp(h->data + h->len - f->len,
				       data + len - f->len, f->len);
	return false;
}

/* Does the datagram's end contradict what is here? */
static bool past_end(const struct group *g, const struct fragment *f)
{
	uint32_t end = f->offset + f->len;

	if (!f->more)
		return g->top > end || (g->end && g->end != end);
	return g->end && end > g->end;
}

static uint32_t front_of(const struct held *h)
{
	return h->f.header;
}

static bool fits(const struct group *g)
{
	uint32_t most = g->key.family == 4 ? 65535 : XDIVERT_PACKET_MAX;

	return front_of(g->start) + g->end <= most;
}

static bool whole(const struct group *g)
{
	return g->start && g->end && g->bytes == g->end;
}

static bool mixed_ecn(const struct group *g)
{
	return g->ecn & 1 << NOT_ECT && g->ecn != 1 << NOT_ECT;
}

static struct held *hold(struct group *g, const uint8_t *data, uint32_t len,
			 const struct fragment *f, void *user)
{
	struct held *h = malloc(sizeof(*h)), **slot;

	if (!h)
		return NULL;
	*h = (struct held){.user = user, .data = data, .len = len, .f = *f};
	slot = &g->slot[f->offset / 8 % SLOTS];
	h->chain = *slot;
	*slot = h;
	*g->last = h;
	g->last = &h->next;
	g->count++;
	g->bytes += f->len;
	g->ecn |= 1 << ecn_of(data);
	if (!f->offset)
		g->start = h;
	if (!f->more)
		g->end = f->offset + f->len;
	if (f->offset + f->len > g->top)
		g->top = f->offset + f->len;
	if (len > g->max)
		g->max = len;
	if (f->df && len > g->max_df)
		g->max_df = len;
	return h;
}

static enum reassembly_result add(struct reassembly *r, struct group *g,
				  const uint8_t *data, uint32_t len,
				  const struct fragment *f, void *user)
{
	struct held *h;

	if (g->dead)
		return REASSEMBLY_DISCARDED;
	if (past_end(g, f) || !fill(g, f)) {
		if (duplicate(g, data, len, f))
			return REASSEMBLY_DUPLICATE;
		kill_group(r, g);
		return REASSEMBLY_DISCARDED;
	}
	h = hold(g, data, len, f, user);
	if (!h)
		return REASSEMBLY_NO_MEMORY;
	r->memory += cost_of(h);
	r->waiting++;
	if (mixed_ecn(g) || (whole(g) && !fits(g))) {
		/* kill_group() gives back user too. */
		kill_group(r, g);
		return REASSEMBLY_WAITS;
	}
	return whole(g) ? REASSEMBLY_WHOLE : REASSEMBLY_WAITS;
}

enum reassembly_result reassembly_add(struct reassembly *r, uint64_t now,
				      const uint8_t *data, uint32_t len,
				      void *user, struct group **group)
{
	enum reassembly_result result;
	struct fragment f;
	struct key key;
	struct group *g;

	reassembly_expire(r, now);
	if (fragment_parse(data, len, &f) != 1)
		return REASSEMBLY_NONE;
	key_of(data, &f, &key);
	g = find(r, &key);
	if (!g)
		g = create(r, &key, now);
	if (!g)
		return REASSEMBLY_NO_MEMORY;
	TAILQ_REMOVE(&r->used, g, used);
	TAILQ_INSERT_TAIL(&r->used, g, used);
	result = add(r, g, data, len, &f, user);
	if (result == REASSEMBLY_WHOLE) {
		forget(r, g);
		*group = g;
		return result;
	}
	make_room(r, g);
	return result;
}

/* ---- a whole group ---- */

void *group_first(const struct group *g)
{
	return g->start->user;
}

uint32_t group_len(const struct group *g)
{
	return front_of(g->start) + g->end;
}

static void mark_ce(uint8_t *out)
{
	if (out[0] >> 4 == 4)
		out[1] |= CE;
	else
		out[1] |= CE << 4;
}

void group_build(const struct group *g, uint8_t *out)
{
	const struct held *start = g->start, *h;
	uint32_t front = front_of(start);

	memcpy(out, start->data, front);
	for (h = g->first; h; h = h->next)
		memcpy(out + front + h->f.offset, h->data + h->len - h->f.len,
		       h->f.len);
	if (g->ecn & 1 << CE)
		mark_ce(out);
	if (g->key.family == 4) {
		put16(out + 2, front + g->end);
		/* Don't fragment, if the longest fragment said so. */
		put16(out + 6, (be16(out + 6) & 0x8000) |
				       (g->max_df == g->max ? 0x4000 : 0));
		csum_ipv4(out);
	} else {
		put16(out + 4, front - 40 + g->end);
		out[start->f.next_field] = start->f.next;
	}
}

static int by_offset(const void *a, const void *b)
{
	const struct xdivert_fragment *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

struct fragments *group_shape(const struct group *g)
{
	struct fragments *s;
	const struct held *h;

	s = malloc(sizeof(*s) + g->count * sizeof(s->one[0]));
	if (!s)
		return NULL;
	*s = (struct fragments){
		.id = g->start->f.id,
		.header = g->start->f.header,
		.max = g->max,
		.payload = g->end,
	};
	for (h = g->first; h; h = h->next)
		s->one[s->count++] =
			(struct xdivert_fragment){h->len, h->f.offset};
	qsort(s->one, s->count, sizeof(s->one[0]), by_offset);
	return s;
}
