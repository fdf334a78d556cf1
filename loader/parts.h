/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One injection that leaves as several frames: what is longer than the
 * target's MTU and may be fragmented, and groups that were put together. It
 * counts once, has one completion, and that says what became of all parts: 0,
 * or the status of the first that failed; then no more are sent.
 */
#ifndef XDIVERT_PARTS_H
#define XDIVERT_PARTS_H

#include "inject.h"

/* Must this packet go through here? */
bool parts_wanted(struct xdivert_injection *h, const struct xdivert_packet *p);
/*
 * Send it, or say that it is too big. false: there is no room for all its
 * parts now; call again for the same packet before any other.
 */
bool parts_send(struct xdivert_injection *h, struct xdivert_packet *p);
/* Send no more of it: it completes with -ECANCELED. */
void parts_cancel(struct xdivert_injection *h, struct xdivert_packet *p);
/* A part is complete: p->whole is set. */
void parts_complete(struct xdivert_injection *h, struct xdivert_packet *part,
		    const struct xdv_completion *c);

#endif
