/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether to look again or to sleep when there is nothing to do. To fall asleep
 * and be woken takes a packet longer than its whole way through us: where the
 * last sleep was shorter than `poll`, the next packet is waited for awake, for
 * as long as that. If it does not come, the sleep is a long one, or it was
 * short after all.
 */
#ifndef XDIVERT_IDLE_H
#define XDIVERT_IDLE_H

#include <stdbool.h>
#include <stdint.h>

struct idle {
	bool busy;	/* it never sleeps */
	uint64_t poll;	/* ns */
	uint64_t since; /* it found nothing to do; 0: it did */
	bool short_sleep;
};

/* There was nothing to do at `now`: look again? */
static inline bool idle_polls(struct idle *idle, uint64_t now)
{
	if (idle->busy)
		return true;
	if (!idle->since)
		idle->since = now;
	return idle->short_sleep && now - idle->since < idle->poll;
}

/* There was something. */
static inline void idle_ends(struct idle *idle)
{
	idle->since = 0;
}

/* Something woke it, or nothing did. */
static inline void idle_slept(struct idle *idle, uint64_t from, uint64_t to,
			      bool woken)
{
	idle->short_sleep = woken && to - from < idle->poll;
	idle->since = 0;
}

#endif
