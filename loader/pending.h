/* SPDX-License-Identifier: BSD-2-Clause */
/* Injections that were initiated: queued until dispatch takes them, and counted
 * until they are complete.
 */
#ifndef XDIVERT_PENDING_H
#define XDIVERT_PENDING_H

#include "inject.h"

void pending_open(struct xdivert_injection *h);
/* From any thread. -ESHUTDOWN, -ENOBUFS. */
int pending_add(struct xdivert_injection *h, struct xdivert_packet *p);
/* Initiated and not completed, about now. */
uint32_t pending_count(const struct xdivert_injection *h);

/* On the dispatching thread: all that is queued. */
struct xdivert_packet *pending_take(struct xdivert_injection *h);
/* Of that, what this thread queued, with what others had queued before. */
struct xdivert_packet *pending_take_own(struct xdivert_injection *h);
/* What cannot be sent before something completes goes to the front. */
void pending_put_back(struct xdivert_injection *h,
		      struct xdivert_packet *chain);
/* One is complete. */
void pending_done(struct xdivert_injection *h);
/* With h->lock: whoever polls shall dispatch again if there is more to send. */
void pending_wake(struct xdivert_injection *h);
/* With h->lock: whoever polls shall dispatch again. */
void pending_wake_now(struct xdivert_injection *h);

#endif
