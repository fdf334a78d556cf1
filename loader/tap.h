/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tap: what the TC hook takes enters a veth of ours and comes out of its far
 * end in segments, with its checksums complete, for an AF_XDP socket.
 */
#ifndef XDIVERT_TAP_H
#define XDIVERT_TAP_H

#include <stdbool.h>

#include "state.h"

struct tap;

/* The one of this share, for packets of up to so many bytes. -errno. */
int tap_open(struct tap **tap, struct xdivert *x, unsigned int share,
	     unsigned int shares, uint32_t longest);
void tap_close(struct tap *tap);

/* Somebody may have deleted its devices. */
bool tap_alive(const struct tap *tap);
/* Will it do for packets of that length? */
bool tap_takes(const struct tap *tap, uint32_t longest);
/* Of its xdv_rest, if it has one. */
uint32_t tap_pages(const struct tap *tap);
/* rest_take() and rest_reclaim() of that. */
bool tap_rest(const struct tap *tap, const struct xdv_stub *stub, uint8_t *to);
bool tap_reclaim(const struct tap *tap);
/* Its row in xdv_queues and xdv_xsks. */
uint32_t tap_row(const struct tap *tap);
/* Where its far end is; the tap's. */
int tap_netns(const struct tap *tap);

/* How many taps the daemon has (or would have), and how many are in service. */
unsigned int tap_count(const struct xdivert *x);
unsigned int tap_served(const struct xdivert *x);
/* Is nothing in a tap? *entered is how much ever was. */
bool tap_at_rest(const struct xdivert *x, uint64_t *entered);

#endif
