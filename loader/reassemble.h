/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Groups of IP fragments that wait for their last one. No input or output:
 * who calls says what time it is and keeps the bytes.
 *
 * - A group is known by addresses, identification and, in IPv4, protocol
 *   (RFC 791, RFC 8200 4.5), in a table with a random key (SipHash).
 * - A fragment that overlaps another one discards the whole group, and what
 *   is still to come of it: RFC 5722 for IPv6, and as Linux does for IPv4. An
 *   exact duplicate is ignored.
 * - Atomic fragments (RFC 6946) are groups of one.
 * - ECN marks are joined as RFC 3168 5.3 says; a group that mixes ECN and no
 *   ECN is discarded, as Linux does.
 * - Memory is bounded: the group that was touched least recently goes first.
 */
#ifndef XDIVERT_REASSEMBLE_H
#define XDIVERT_REASSEMBLE_H

#include "fragment.h"

struct reassembly;
struct group;

/* Why a fragment comes back that was waiting. */
enum reassembly_loss {
	REASSEMBLY_EXPIRED, /* its datagram did not become whole in time */
	REASSEMBLY_EVICTED, /* too much waits */
	REASSEMBLY_INVALID, /* its datagram is discarded */
	REASSEMBLY_LOSSES,
};

struct reassembly_limits {
	uint64_t timeout4, timeout6; /* ns, from a group's first fragment */
	uint64_t memory;	     /* bytes, ours included */
	uint8_t key[16];	     /* random */
	/* Takes back a fragment's user pointer; called by those below. */
	void (*lost)(void *arg, void *user, enum reassembly_loss why);
	void *arg;
};

struct reassembly *reassembly_new(const struct reassembly_limits *limits);
/* What waits is lost as EXPIRED. */
void reassembly_free(struct reassembly *r);

enum reassembly_result {
	REASSEMBLY_WAITS,     /* user is kept, and its data */
	REASSEMBLY_WHOLE,     /* with this one the group is whole */
	REASSEMBLY_NONE,      /* not a fragment that a datagram can have */
	REASSEMBLY_DUPLICATE, /* ignore it */
	REASSEMBLY_DISCARDED, /* its datagram is, it must not go on */
	REASSEMBLY_NO_MEMORY,
};

/* Takes user (a fragment at data) if it returns one of the first two. */
enum reassembly_result reassembly_add(struct reassembly *r, uint64_t now,
				      const uint8_t *data, uint32_t len,
				      void *user, struct group **group);
void reassembly_expire(struct reassembly *r, uint64_t now);
/* When to expire next, ns from now; -1: nothing waits. */
int64_t reassembly_next(const struct reassembly *r, uint64_t now);
/* Fragments that wait, and the memory that they are counted with. */
uint32_t reassembly_waiting(const struct reassembly *r);
uint64_t reassembly_memory(const struct reassembly *r);

/* ---- a group that is whole; it is the caller's ---- */

/* The next fragment's user in the order of arrival; NULL: that was all. */
void *group_take(struct group *g);
/* The user of the fragment with offset 0. Before the first group_take(). */
void *group_first(const struct group *g);
/* Length of the datagram; more than 65,575 is never. */
uint32_t group_len(const struct group *g);
/* Write the datagram. Before the first group_take(). */
void group_build(const struct group *g, uint8_t *out);
/* How it was cut; the caller frees it. NULL: out of memory. */
struct fragments *group_shape(const struct group *g);
void group_free(struct group *g);

#endif
