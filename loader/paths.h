/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ways through a classic BPF program that accept a packet. Where each of
 * them only asks whether words of the packet equal something, a filter can be
 * looked up instead of run.
 */
#ifndef XDIVERT_PATHS_H
#define XDIVERT_PATHS_H

#include <linux/types.h>
#include <stdbool.h>

#include "libpcap.h"

#define PATH_TESTS 12
#define PATH_BASES 3
#define PATHS_MAX  32

/* Bytes of the packet. */
struct load {
	__u16 offset;
	__u8 size;
	/* 0: from the frame's start; 1 + k: behind the IPv4 header at k, that
	 * is, 4 * ([k] & 0xf) more.
	 */
	__u8 base;
};

/* load & mask == value, in host order. */
struct test {
	struct load load;
	__u32 mask, value;
};

/* The packet reaches at least to there: the loads on the way succeed. */
struct reach {
	__u16 end;
	__u16 base;
};

/* All tests hold, and all reaches. Unused elements are zero, tests are sorted
 * by what they load.
 */
struct path {
	struct test test[PATH_TESTS];
	struct reach reach[PATH_BASES];
	int tests, reaches;
};

/*
 * The paths of classic: it accepts a packet exactly if one of them does. How
 * many (0: it accepts none), or -ENOTSUP: more than PATHS_MAX, or one that
 * asks for something else. The caller frees *paths.
 */
int paths_find(const struct bpf_program *classic, struct path **paths);

#endif
