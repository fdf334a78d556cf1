/* SPDX-License-Identifier: BSD-2-Clause */
/* RPS (Documentation/networking/scaling.rst), which devices of ours cannot do
 * with: it drops what comes in by one that is down, and it leaves no order
 * between packets of different ports.
 */
#ifndef XDIVERT_STEER_H
#define XDIVERT_STEER_H

/* Undo net.core.rps_default_mask (kernel 6.3) for a new device here. -errno. */
int steer_nowhere(const char *ifname);

#endif
