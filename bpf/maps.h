/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps that a compartment shares. User space pins them by name. */
#ifndef XDV_MAPS_H
#define XDV_MAPS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <xdivert/abi.h>

#define XDV_SHARED SEC(".maps") __weak

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct xdv_stats);
} xdv_stats XDV_SHARED;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_control);
} xdv_control XDV_SHARED;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XDV_MAX_IFACES);
	__type(key, __u32);
	__type(value, struct xdv_iface);
} xdv_ifaces XDV_SHARED;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_ROWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_queue);
} xdv_queues XDV_SHARED;

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XDV_ROWS);
	__type(key, __u32);
	__type(value, __u32);
} xdv_xsks XDV_SHARED;

/* bpftool cannot dump a ring buffer; it can dump this. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_RECENT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xdv_completion);
} xdv_recent XDV_SHARED;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xdv_scratch);
} xdv_scratch XDV_SHARED;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XDV_TAPPED);
	__type(key, __u32);
	__type(value, struct xdv_tapped);
} xdv_tapped XDV_SHARED;

/* For user space alone: how each target is reached. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct xdv_target);
} xdv_targets XDV_SHARED;

/* The row of ifindex, or the common one if it has none. */
static __always_inline struct xdv_stats *stats_of(__u32 ifindex)
{
	struct xdv_stats *row = bpf_map_lookup_elem(&xdv_stats, &ifindex);
	__u32 other = 0;

	return row ? row : bpf_map_lookup_elem(&xdv_stats, &other);
}

#endif
