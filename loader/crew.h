/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handles of this process that serve a compartment together, each a share
 * of its receive queues. Towards other processes they are one daemon.
 */
#ifndef XDIVERT_CREW_H
#define XDIVERT_CREW_H

#include <xdivert.h>

struct crew;
struct groups_of;

/* -EBUSY: another process serves, or a handle has that share; -EINVAL: those
 * that serve divide the queues differently.
 */
int crew_join(struct crew **crew, struct xdivert *x, unsigned int share,
	      unsigned int shares);
/* Their fragments. */
struct groups_of *crew_groups(const struct crew *crew);
void crew_leave(struct crew *crew, struct xdivert *x, unsigned int share);

#endif
