/* SPDX-License-Identifier: BSD-2-Clause */
/* The dispatching thread and the handle's namespace. */
#ifndef XDIVERT_HOME_H
#define XDIVERT_HOME_H

#include "inject.h"

/* Whoever asks the kernel about interfaces and routes goes there first. Looks
 * once until home_leave().
 */
void home_enter(struct xdivert_injection *h);
/* From another compartment, for which home_enter() was left. */
void home_return(const struct xdivert_injection *h);
/* Back to where the thread was. */
void home_leave(struct xdivert_injection *h);

#endif
