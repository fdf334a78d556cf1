// SPDX-License-Identifier: GPL-2.0-only
/* The least that an XDP program can do to traffic that it does not want. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
