/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules that can be looked up: those whose filter only asks whether words of
 * the packet equal something (paths.h). Paths that look at the same words
 * form a group, a hash table from those words to the first rule that has them.
 */
#ifndef XDIVERT_INDEX_H
#define XDIVERT_INDEX_H

#include <xdivert/abi.h>

#include "filter.h"
#include "paths.h"

struct set;

/* One rule on its way into a program. */
struct candidate {
	const struct xdv_rule *rule;
	__u32 position; /* among all rules */
	__u32 iif, oif; /* 0: any */
	struct bpf_program classic;
	struct path *paths; /* NULL: it must be run */
	int path_count;
	const struct set *source, *destination; /* of addresses, or NULL */
	bool gone; /* it names an interface that is not there */
};

/* What a match leaves for the hook's next stage. */
struct match {
	__u32 position;
	__u32 rule;
	__u32 slot;
	__u32 oif;
	__u32 layer;
};

struct group;

struct index {
	struct group *groups;
	int count;
};

/*
 * Build the tables. Rules that are better run, because few others look at the
 * same words, lose their paths. 0 or -errno.
 */
int index_build(struct index *index, struct candidate *rules, int n);
/* The maps stay while a program uses them. */
void index_free(struct index *index);

/*
 * Append eBPF that leaves the first rule that matches in struct xdv_scratch
 * (r9), as far as it is in the index. settled: layer and egress are known.
 * Registers as in filter_translate().
 */
int index_emit(const struct index *index, enum filter_view view, bool settled,
	       struct insns *is);
/* Append eBPF that stores a match; r0 points at it. */
void match_emit(struct insns *is);

#endif
