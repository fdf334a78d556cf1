/* SPDX-License-Identifier: BSD-2-Clause */
/* The injection ring: descriptors on their way in, completions back. */
#ifndef XDIVERT_RING_H
#define XDIVERT_RING_H

#include "inject.h"

int ring_open(struct xdivert_injection *h);
void ring_close(struct xdivert_injection *h);

/* Put a chain of queued packets into the ring; the longest one's length. */
uint32_t ring_fill(struct xdivert_injection *h, struct xdivert_packet *chain);
/* Put a descriptor into it that has been there before. */
void ring_add(struct xdivert_injection *h, uint32_t slot);

/* How much of its packet a live frame needs. */
static inline uint32_t ring_shown(const struct xdv_desc *desc)
{
	return desc->flags & XDV_DESC_BIG ? XDV_BIG_HEAD : desc->len;
}

/* The descriptor at a position. */
struct xdv_desc *ring_desc(struct xdivert_injection *h, uint32_t position);

/* What the kernel did not take completes with the reason why. */
void ring_refuse(struct xdivert_injection *h, int status,
		 enum xdv_reason reason);
/* After a kernel call that returned err: complete what it leaves open, and keep
 * what has to wait.
 */
void ring_settle(struct xdivert_injection *h, int err);

/* Readable when ring_deliver() has something to do. */
int ring_fd(const struct xdivert_injection *h);
/* Call back for the completions that are written. */
void ring_deliver(struct xdivert_injection *h);

/* What was to be cut is about to be sent, with what came behind it. */
void ring_forget_cut(struct xdivert_injection *h);

/* For an injection that leaves in parts: count it, record its completion. */
uint64_t ring_next_id(struct xdivert_injection *h);
void ring_count(struct xdivert_injection *h, const struct request *r,
		struct xdv_count *count);
/* What a rule matched that the hook could not ask. */
void ring_hits(struct xdivert_injection *h, uint32_t slot, uint32_t hits,
	       uint64_t bytes);
void ring_record(struct xdivert_injection *h, struct xdv_completion *c);

#endif
