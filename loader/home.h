/* SPDX-License-Identifier: BSD-2-Clause */
/* The dispatching thread and the handle's namespace. */
#ifndef XDIVERT_HOME_H
#define XDIVERT_HOME_H

#include "inject.h"

/* Whoever asks the kernel about interfaces and routes goes there first. Looks
 * once until home_leave(). On failure the thread is where it was.
 */
int home_enter(struct xdivert_injection *h);
/* From another compartment, for which home_enter() was left. */
void home_return(struct xdivert_injection *h);
/* Back to where the thread was. */
int home_leave(struct xdivert_injection *h);

#endif
