/* SPDX-License-Identifier: BSD-2-Clause */
/* Which engine a target takes, learned from what it refused. */
#ifndef XDIVERT_TARGET_H
#define XDIVERT_TARGET_H

#include "inject.h"

/* XDV_DESC_VIA_STACK if the target is known to need it, else 0. */
uint32_t target_flags(struct xdivert_injection *h, uint32_t compartment,
		      uint32_t ifindex);
/* It refused a live frame. */
void target_refused(struct xdivert_injection *h, uint32_t compartment,
		    uint32_t ifindex, int status);
/* The links of this compartment changed: try anew. */
void target_forget(struct xdivert_injection *h);

#endif
