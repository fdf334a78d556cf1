/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XDIVERT_CLOCK_H
#define XDIVERT_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in ns, as bpf_ktime_get_ns(). */
static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

#endif
