/* SPDX-License-Identifier: BSD-2-Clause */
/* The frames of a handle's UMEM, and who has them. */
#ifndef XDIVERT_POOL_H
#define XDIVERT_POOL_H

#include "inject.h"

/* h->umem is mapped. */
int pool_create(struct xdivert_injection *h);
void pool_destroy(struct xdivert_injection *h);

/* Up to n frames for the kernel to receive into; how many. */
uint32_t pool_lend(struct xdivert_injection *h, uint32_t *frames, uint32_t n);
/* Under the lock: what the dispatching thread freed is everybody's. */
void pool_share_spares(struct xdivert_injection *h);
/* A frame that the kernel did not use. */
void pool_return(struct xdivert_injection *h, uint32_t frame);
/* Packets that callers still have; those diverted count as dropped. */
int pool_abandon(struct xdivert_injection *h);

/* A frame's packet, of no length. NULL: no frame is free. */
struct xdivert_packet *pool_take(struct xdivert_injection *h);
/* len bytes, not initialised, in memory of its own; NULL: too much is. */
struct xdivert_packet *pool_take_own(struct xdivert_injection *h, uint32_t len);
/* What is in front of a packet that was received, and moves along with it. */
#define POOL_LINK 14
/*
 * Move a packet, with all that it is, into a frame or into memory of its own,
 * where it may grow to len bytes. NULL: there is none, and p is as it was.
 */
struct xdivert_packet *pool_move_in(struct xdivert_packet *p);
struct xdivert_packet *pool_move_out(struct xdivert_packet *p, uint32_t len);

#endif
