/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What outlives the kernel call that it was in: frames that the stack has, and
 * those that are held because they must not overtake one.
 */
#ifndef XDIVERT_WAIT_H
#define XDIVERT_WAIT_H

#include "inject.h"

/* A descriptor of state HELD: keep it until it is its turn. */
void wait_hold(struct xdivert_injection *h, struct xdv_desc *desc);
/* It is over: complete it so. False if the kernel was faster. */
bool wait_judge(struct xdivert_injection *h, struct xdv_desc *desc, int status,
		unsigned int reason);
/* A next hop that did not answer: what is held for it fails as well. */
void wait_unreachable(struct xdivert_injection *h,
		      const struct xdv_completion *c);

/*
 * Put those into the ring whose turn it is: of a compartment, which this
 * thread is in, or with `judged` those that are over. The longest one's
 * length, 0 if there are none.
 */
uint32_t wait_release(struct xdivert_injection *h, uint32_t compartment,
		      bool judged);
/* Does this compartment have something whose turn it is? */
bool wait_ready(const struct xdivert_injection *h, uint32_t compartment);
/* Before a run: what of a compartment is held may not be overtaken. */
void wait_block(struct xdivert_injection *h, uint32_t compartment);

/* What is to be handed to the stack waits after all if it comes behind what the
 * run could not send; true.
 */
bool wait_behind(struct xdivert_injection *h, struct xdv_desc *desc);

/* The first whose turn it is; NULL if none. */
const struct xdv_desc *wait_next(const struct xdivert_injection *h);

/* What is held for the compartment that was made then, or for all others that
 * had its number, fails: it has gone.
 */
void wait_gone(struct xdivert_injection *h, uint32_t compartment, uint64_t born,
	       bool this_one);
/* Everything held of a compartment fails: no engine works. */
void wait_give_up(struct xdivert_injection *h, uint32_t compartment, int status,
		  unsigned int reason);
/* What is due fails. */
void wait_expire(struct xdivert_injection *h);
/* Everything fails. */
void wait_cancel(struct xdivert_injection *h);
/* Time until something is due, in ms, if that is less than timeout_ms. */
int wait_timeout(const struct xdivert_injection *h, int timeout_ms);

#endif
