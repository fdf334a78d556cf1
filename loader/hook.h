/* SPDX-License-Identifier: BSD-2-Clause */
/* The two hooks: how each gets onto an interface and off it. Under the lock. */
#ifndef XDIVERT_HOOK_H
#define XDIVERT_HOOK_H

#include "state.h"

/* iface->mode says how, 0: the best way that works; it is set to what was
 * done, with what detaching needs. -errno.
 */
int xdp_attach(struct xdivert *s, struct xdv_iface *iface);
int xdp_detach(const struct xdivert *s, const struct xdv_iface *iface);
int tc_attach(struct xdivert *s, struct xdv_iface *iface);
int tc_detach(const struct xdivert *s, const struct xdv_iface *iface);

/* A device of this ARPHRD_ type has no link header. */
bool tc_raw_type(int type);

/* Links are pinned, so that they outlive the process. */
int hook_pin_link(const struct xdivert *s, __u32 ifindex, int link);
void hook_detach_link(const struct xdivert *s, __u32 ifindex);
/* BPF's id of a program. */
int hook_prog_id(int prog, __u32 *id);

#endif
