/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's memory of injections, so that a packet that returns is known. */
#ifndef XDIVERT_SEEN_H
#define XDIVERT_SEEN_H

#include "inject.h"

/*
 * The table is far from the CPU's caches: for several packets prepare all of
 * them, so that their entries come while the digests are computed.
 *
 * Remember a packet as it leaves, at that time, in a place of the table; forget
 * one that did not.
 */
void seen_prepare_record(struct xdivert_injection *h, struct xdivert_packet *p,
			 uint64_t place);
void seen_record(struct xdivert_injection *h, const struct xdivert_packet *p,
		 uint64_t time, uint64_t place);
void seen_forget(struct xdivert_injection *h, const struct xdivert_packet *p);
/* Who injected what this packet is now: its origin. */
void seen_prepare_lookup(const struct xdivert_injection *h,
			 struct xdivert_packet *p);
void seen_lookup(const struct xdivert_injection *h, struct xdivert_packet *p);
/* What that is to this handle, and the context that it gave (0: none). */
enum xdivert_injection_state seen_state(const struct xdivert_injection *h,
					const struct origin *origin,
					uint64_t *context);

#endif
