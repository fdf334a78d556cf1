/* SPDX-License-Identifier: BSD-2-Clause */
/* The live-frame engine: BPF_PROG_RUN over the injection ring. */
#ifndef XDIVERT_LIVE_H
#define XDIVERT_LIVE_H

#include "inject.h"

#define LIVE_BATCH 64

int live_create(struct xdivert_injection *h);
void live_destroy(struct xdivert_injection *h);
/* Pin its maps and program, so that bpftool finds them. */
int live_pin(struct xdivert_injection *h);
void live_unpin(struct xdivert_injection *h);
/* Count what AF_XDP refuses; for the one handle that serves. */
int live_count_queue_drops(struct xdivert_injection *h);
/* ifindex of the device that keeps the program ready; it is down. */
int live_port(const struct xdivert_injection *h);

/* May they be sent in one call? */
bool live_same_run(const struct request *a, const struct request *b);
/* A chain of packets that may goes into the ring, with what was added before;
 * if that may not be sent with it, that is sent first.
 */
void live_add(struct xdivert_injection *h, struct xdivert_packet *chain);
/* May it be sent with what was added? */
bool live_joins(const struct xdivert_injection *h, const struct request *r);
/* Send what was added. What is not complete when it returns waits in or for the
 * stack.
 */
void live_flush(struct xdivert_injection *h);
/* Both. */
void live_send(struct xdivert_injection *h, struct xdivert_packet *chain);
/* Send what need not wait any longer, and call back for what has completed; how
 * many completions.
 */
int live_round(struct xdivert_injection *h);
/* Complete all that waits, with -ECANCELED. */
void live_cancel(struct xdivert_injection *h);
/* Complete a chain without sending it. */
void live_refuse(struct xdivert_injection *h, struct xdivert_packet *chain,
		 int status, enum xdv_reason reason);

#endif
