// SPDX-License-Identifier: GPL-2.0-only
/* The limit: a packet never leaves the driver's loop. */
#include "edit.h"

/* By direction: 0 from IN to OUT. */
const volatile struct link_addresses links[2];
const volatile __u32 ifindexes[2];
const volatile __u32 in;

SEC("xdp")
int xdp_redirect(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 to = ctx->ingress_ifindex == in;
	struct ethhdr *eth = data;

	if (data + sizeof(*eth) + sizeof(struct iphdr) >
		    (void *)(long)ctx->data_end ||
	    eth->h_proto != be16(ETH_P_IP))
		return XDP_PASS;
	edit_frame(eth, to ? &links[1] : &links[0]);
	return bpf_redirect(to ? ifindexes[1] : ifindexes[0], 0);
}

char _license[] SEC("license") = "GPL";
