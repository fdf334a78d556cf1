// SPDX-License-Identifier: BSD-2-Clause
/* Kernel forwarding with a bare XDP_PASS in front of it. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "peer.h"
#include "xdp_pass.skel.h"

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	struct xdp_pass *skel = xdp_pass__open_and_load();
	struct side sides[2];
	int i;

	peer_parse(argc, argv, sides);
	if (!skel)
		peer_fail("load");
	for (i = 0; i < 2; i++)
		if (bpf_link_create(bpf_program__fd(skel->progs.xdp_pass),
				    sides[i].ifindex, BPF_XDP, &opts) < 0)
			peer_fail(sides[i].name);
	peer_wait();
	return 0;
}
