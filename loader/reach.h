/* SPDX-License-Identifier: BSD-2-Clause */
/* Which instructions of a classic program can be reached, and its loops. */
#ifndef XDIVERT_REACH_H
#define XDIVERT_REACH_H

#include <stdbool.h>

#include "libpcap.h"

#define REACH_LOOPS 16 /* of an expression */

struct reach {
	const struct bpf_program *in;
	bool *live;
	int loop[REACH_LOOPS]; /* where they begin */
	int loops;
};

/* -EINVAL: its end can be reached; -ENOTSUP: too many loops. In any case
 * reach_free() it.
 */
int reach_find(struct reach *r, const struct bpf_program *classic);
void reach_free(struct reach *r);

/* Which of its loops begins there; r->loops: none. */
int reach_loop(const struct reach *r, int begin);
/* Does any instruction return that outcome? */
bool reach_outcome(const struct reach *r, bool outcome);

#endif
