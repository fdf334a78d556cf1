/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fragments on their way to the callouts: they wait here for the rest of their
 * datagram, then the rules are asked about the whole. Shared by the handles
 * that serve together, for a group may come in several queues.
 */
#ifndef XDIVERT_GROUPS_H
#define XDIVERT_GROUPS_H

#include "inject.h"

struct groups_of;

int groups_new(struct groups_of **groups);
void groups_free(struct groups_of *groups);
void groups_limit(struct groups_of *groups,
		  const struct xdivert_reassembly_opts *opts);

/*
 * A fragment has come to h. NULL: it waits, or its datagram matches no rule
 * and has gone on as it came; else what a callout shall see.
 */
struct xdivert_packet *groups_add(struct groups_of *groups,
				  struct xdivert_injection *h,
				  struct xdivert_packet *p);
/* Give up what has waited too long. ms until there is more, -1: nothing. */
int groups_expire(struct groups_of *groups);
/* h serves no more: nothing of it may wait. */
void groups_leave(struct groups_of *groups);

#endif
