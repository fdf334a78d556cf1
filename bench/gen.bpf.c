// SPDX-License-Identifier: GPL-2.0-only
/* One frame for each run over a live frame. */
#include "frame.h"

const volatile struct frame_config config;
__u32 next;

SEC("xdp")
int gen(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;

	if (data + FRAME_MIN > (void *)(long)ctx->data_end)
		return XDP_DROP;
	frame_fill(data, &config, next++,
		   config.stamped ? bpf_ktime_get_ns() : 0);
	return bpf_redirect(config.ifindex, 0);
}

char _license[] SEC("license") = "GPL";
