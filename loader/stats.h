/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounting: what was counted, and what follows from it. */
#ifndef XDIVERT_STATS_H
#define XDIVERT_STATS_H

#include <xdivert.h>

/* Rows of interfaces into row (may be NULL); returns how many, or -errno. */
int stats_read(const struct xdivert *s, struct xdivert_stats *total,
	       struct xdivert_stats *row, int rows);

#endif
