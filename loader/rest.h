/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a tap keeps what is too long for a frame of its socket: a pair of
 * veths in front of the one that leads to the socket (bpf/tc_rest.bpf.c).
 */
#ifndef XDIVERT_REST_H
#define XDIVERT_REST_H

#include "pair.h"
#include "state.h"

struct rest;

/*
 * Packets that enter `outer`, a pair of the caller's with its far end in this
 * thread's namespace, leave by the near end `inner` here, as stubs if they are
 * too long. row: the tap's in xdv_queues. -errno.
 */
int rest_open(struct rest **rest, const struct xdivert *x, uint32_t row,
	      int inner);
void rest_close(struct rest *rest);

/* Copy what a stub stands for, stub->len bytes, and give its pages back; to
 * nowhere (NULL) as well. false: it has been overwritten.
 */
bool rest_take(struct rest *rest, const struct xdv_stub *stub, uint8_t *to);
/* The socket is empty: what has not come out for long gives its pages back,
 * for it is lost. true: there is some that has not yet.
 */
bool rest_reclaim(struct rest *rest);

#endif
