// SPDX-License-Identifier: BSD-2-Clause
/* Kernel XDP: edit and redirect in the ingress driver's loop. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "peer.h"
#include "xdp_redirect.skel.h"

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	struct xdp_redirect *skel = xdp_redirect__open();
	struct side sides[2];
	int i;

	peer_parse(argc, argv, sides);
	if (!skel)
		peer_fail("open");
	for (i = 0; i < 2; i++) {
		memcpy((void *)&skel->rodata->links[i], &sides[i].link,
		       sizeof(sides[i].link));
		*(__u32 *)&skel->rodata->ifindexes[i] = sides[i].ifindex;
	}
	*(__u32 *)&skel->rodata->in = sides[0].ifindex;
	if (xdp_redirect__load(skel))
		peer_fail("load");
	for (i = 0; i < 2; i++)
		if (bpf_link_create(bpf_program__fd(skel->progs.xdp_redirect),
				    sides[i].ifindex, BPF_XDP, &opts) < 0)
			peer_fail(sides[i].name);
	peer_wait();
	return 0;
}
