/* SPDX-License-Identifier: GPL-2.0-only */
/* What each rule matched. */
#ifndef XDV_HITS_H
#define XDV_HITS_H

#include "maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XDV_HITS);
	__type(key, __u32);
	__type(value, struct xdv_hits);
} xdv_hits XDV_SHARED;

/* Once for each packet that counts as matched. */
static __always_inline void count_hit(__u32 slot, __u32 bytes, __u64 now)
{
	struct xdv_hits *row = bpf_map_lookup_elem(&xdv_hits, &slot);

	if (!row)
		return;
	row->hits++;
	row->bytes += bytes;
	row->last = now;
}

/* The same from user space, which a hook may interrupt. */
static __always_inline void add_hits(__u32 slot, __u32 hits, __u64 bytes)
{
	struct xdv_hits *row = bpf_map_lookup_elem(&xdv_hits, &slot);

	if (!row)
		return;
	__sync_fetch_and_add(&row->hits, hits);
	__sync_fetch_and_add(&row->bytes, bytes);
	row->last = bpf_ktime_get_ns();
}

#endif
