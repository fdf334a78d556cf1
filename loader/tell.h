/* SPDX-License-Identifier: BSD-2-Clause */
/* Tell a packet's sender that it is too big. */
#ifndef XDIVERT_TELL_H
#define XDIVERT_TELL_H

#include "inject.h"

/* The sockets, in this thread's namespace. */
void tell_open(struct xdivert_injection *h);
/*
 * Fragmentation needed, or packet too big, if an error may answer this packet
 * and there have not been too many. The kernel chooses the source address, as
 * for its own errors.
 */
void tell_too_big(struct xdivert_injection *h, const struct xdivert_packet *p,
		  uint32_t mtu);
void tell_close(struct xdivert_injection *h);

#endif
