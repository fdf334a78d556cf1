// SPDX-License-Identifier: BSD-2-Clause
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "device.h"

int device_attach_xdp(const struct bpf_program *prog, int ifindex)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);

	return bpf_link_create(bpf_program__fd(prog), ifindex, BPF_XDP, &opts);
}

int device_attach_tc(const struct bpf_program *prog, int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(prog));
	int rc = bpf_tc_hook_create(&hook);

	return rc ? rc : bpf_tc_attach(&hook, &opts);
}
