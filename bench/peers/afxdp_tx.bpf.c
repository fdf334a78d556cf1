// SPDX-License-Identifier: GPL-2.0-only
/* IPv4 goes to the AF_XDP socket of its interface, the rest to the kernel. */
#include "../net.h"

const volatile __u32 in;

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

SEC("xdp")
int afxdp_tx(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end ||
	    eth->h_proto != be16(ETH_P_IP))
		return XDP_PASS;
	return bpf_redirect_map(&xsks, ctx->ingress_ifindex == in ? 0 : 1,
				XDP_PASS);
}

char _license[] SEC("license") = "GPL";
