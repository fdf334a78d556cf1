/* SPDX-License-Identifier: BSD-2-Clause */
/* libxdp's dispatcher, which runs several XDP programs on one interface. */
#ifndef XDIVERT_DISPATCHER_H
#define XDIVERT_DISPATCHER_H

#include <stdbool.h>

#include <bpf/libbpf.h>
#include <xdivert.h>

/* It needs programs that replace functions (BPF_PROG_TYPE_EXT). */
bool dispatcher_works(void);
/* Load an object's only program and put it behind the dispatcher of
 * iface->ifindex, in iface->mode; sets prog_id and dispatcher.
 */
int dispatcher_attach(struct bpf_object *object, struct xdv_iface *iface);
/* 0 as well if the interface has gone, or somebody has taken it off. */
int dispatcher_detach(const struct xdv_iface *iface);
/* The interface has gone, maybe with its namespace: remove libxdp's pins. */
void dispatcher_forget(const struct xdv_iface *iface);

#endif
