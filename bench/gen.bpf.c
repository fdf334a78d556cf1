// SPDX-License-Identifier: GPL-2.0-only
/* One frame for each run over a live frame. */
#include "frame.h"

const volatile struct frame_config config;
__u32 next[FRAME_CPUS]; /* each CPU counts for itself */

SEC("xdp")
int gen(struct xdp_md *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & (FRAME_CPUS - 1);
	void *data = (void *)(long)ctx->data;

	if (data + FRAME_MIN > (void *)(long)ctx->data_end)
		return XDP_DROP;
	frame_fill(data, &config, next[cpu]++,
		   config.stamped ? bpf_ktime_get_ns() : 0);
	return bpf_redirect(config.ifindex, 0);
}

char _license[] SEC("license") = "GPL";
