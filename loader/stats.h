/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounting: what was counted, and what follows from it. */
#ifndef XDIVERT_STATS_H
#define XDIVERT_STATS_H

#include <stdint.h>

struct state;

/* seen = unmatched + matched; matched = diverted + unserved + queue_dropped;
 * diverted + originated = injected + dropped + held;
 * injected = completed + failed + in_flight.
 */
struct xdivert_stats {
	uint32_t ifindex; /* 0: the total */
	uint64_t seen, unmatched, matched;
	uint64_t diverted, unserved, queue_dropped;
	uint64_t originated, dropped, abandoned, held; /* the total's only */
	uint64_t injected, completed, failed, in_flight;
};

/* Rows of interfaces into row (may be NULL); returns how many, or -errno. */
int stats_read(const struct state *s, struct xdivert_stats *total,
	       struct xdivert_stats *row, int rows);

#endif
