/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounting: what was counted, and what follows from it. */
#ifndef XDIVERT_STATS_H
#define XDIVERT_STATS_H

#include <xdivert.h>

/* A row of xdv_stats for an interface that has none yet; ifindex 0 is everybody
 * else's. -ENODEV: there is no such interface in this thread's namespace.
 */
int stats_row(const struct xdivert *s, uint32_t ifindex);

/* Rows of interfaces into row (may be NULL); returns how many, or -errno. */
int stats_read(const struct xdivert *s, struct xdivert_stats *total,
	       struct xdivert_stats *row, int rows);

#endif
