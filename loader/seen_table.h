/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of what was injected on this host, by tag: xdv_injected, which all
 * handles of all processes share. Its entries are a ring, the newest in the
 * place of the oldest. Sets of words find them: each word is some bits of a tag
 * and a place, so that one cache line tells of most tags that there is no
 * entry.
 */
#ifndef XDIVERT_SEEN_TABLE_H
#define XDIVERT_SEEN_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "inject.h"

#define SEEN_PLACE ((1ull << 24) - 1) /* of a word; the rest is of the tag */

struct bpf_map;

/*
 * All handles of the host share one table. Before map is loaded: take the one
 * that is there; returns a lock, or -EPROTO if another version made that one.
 * After: map it, make it known if it is new, and release the lock.
 */
int seen_table_share(struct xdivert_injection *h, struct bpf_map *map);
int seen_table_open(struct xdivert_injection *h, struct bpf_map *map, int lock);
void seen_table_close(struct xdivert_injection *h);

/* Its entry with that tag, a copy; false if there is none. */
bool seen_table_find(const struct xdivert_injection *h, uint64_t tag,
		     struct xdv_injected *e);
/* Places for n entries; the first of them. */
uint64_t seen_table_places(struct xdivert_injection *h, uint32_t n);
/* Where to write the entry with that tag; what had this tag is found no more.
 * It is believed once seen_table_seal() was called.
 */
struct xdv_injected *seen_table_enter(struct xdivert_injection *h, uint64_t tag,
				      uint64_t place);
void seen_table_seal(struct xdv_injected *e);
void seen_table_remove(struct xdivert_injection *h, uint64_t tag);

static inline struct xdv_injected *
seen_table_entry(const struct xdivert_injection *h, uint64_t place)
{
	return &h->seen[1 + place % XDV_INJECTED];
}

static inline uint64_t *seen_table_set(const struct xdivert_injection *h,
				       uint64_t tag)
{
	return h->seen_sets[tag % XDV_INJECTED_SETS];
}

/* The word of that tag; NULL: there is no entry. */
static inline uint64_t *seen_table_word(const struct xdivert_injection *h,
					uint64_t tag)
{
	uint64_t *set = seen_table_set(h, tag);
	int i;

#pragma GCC unroll 4
	for (i = 0; i < XDV_INJECTED_WAYS; i++)
		if (!((__atomic_load_n(&set[i], __ATOMIC_RELAXED) ^ tag) &
		      ~SEEN_PLACE))
			return &set[i];
	return NULL;
}

#endif
