// SPDX-License-Identifier: BSD-2-Clause
/*
 * The TC hook. A tcx link (kernel 6.6) needs nothing else on the interface and
 * leaves nothing behind; libbpf need not know it, for the system call is that
 * of every link. Older kernels get a filter of a clsact qdisc, with a priority
 * and handle that the kernel chooses. The qdisc stays when the filter goes:
 * others may have come to use it.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_arp.h>

#include "hook.h"
#include "netdev.h"
#include "ruleset.h"
#include "tc_ingress.skel.h"

#define TCX_INGRESS 46 /* enum bpf_attach_type; not in 6.1's headers */

bool tc_raw_type(int type)
{
	switch (type) {
	case ARPHRD_NONE:
	case ARPHRD_RAWIP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
	case ARPHRD_PPP:
		return true;
	}
	return false;
}

static int set_divert(const struct xdivert *s, int fd)
{
	__u32 stage = XDV_STAGE_DIVERT;

	return bpf_map_update_elem(s->tc_stages, &stage, &fd, BPF_ANY);
}

static void unset_divert(const struct xdivert *s)
{
	__u32 stage = XDV_STAGE_DIVERT;

	bpf_map_delete_elem(s->tc_stages, &stage);
}

/* Load the programs; with them the rules get theirs for TC. */
static int load(struct xdivert *s)
{
	struct tc_ingress *skel = tc_ingress__open();
	int rc;

	if (!skel)
		return -errno;
	rc = state_share_maps(s, skel->obj);
	rc = rc ? rc : tc_ingress__load(skel);
	rc = rc ? rc
		: set_divert(s, bpf_program__fd(skel->progs.xdv_tc_divert));
	if (!rc) {
		rc = rules_rebuild(s);
		rc = rc ? rc
			: state_pin(s, bpf_program__fd(skel->progs.xdv_tc_raw),
				    "xdv_tc_raw");
		rc = rc ? rc
			: state_pin(s,
				    bpf_program__fd(skel->progs.xdv_tc_ingress),
				    "xdv_tc_ingress");
		if (rc)
			unset_divert(s);
	}
	tc_ingress__destroy(skel);
	return rc;
}

/* The pinned entry program for that kind of device. */
static int entry_fd(struct xdivert *s, const char *name)
{
	char path[320];
	int fd, rc;

	state_path(s, name, path, sizeof(path));
	fd = bpf_obj_get(path);
	if (fd >= 0)
		return fd;
	rc = load(s);
	return rc ? rc : bpf_obj_get(path);
}

static int attach_tcx(const struct xdivert *s, struct xdv_iface *iface,
		      int prog)
{
	int link = bpf_link_create(prog, iface->ifindex,
				   (enum bpf_attach_type)TCX_INGRESS, NULL);
	int rc;

	if (link < 0)
		return link;
	rc = hook_pin_link(s, iface->ifindex, link);
	close(link);
	iface->mode = XDV_MODE_TCX;
	return rc;
}

static int attach_clsact(struct xdv_iface *iface, int prog)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = iface->ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog);
	int rc = bpf_tc_hook_create(&hook);

	if (rc && rc != -EEXIST)
		return rc;
	rc = bpf_tc_attach(&hook, &opts);
	if (rc)
		return rc;
	iface->priority = opts.priority;
	iface->handle = opts.handle;
	iface->mode = XDV_MODE_CLSACT;
	return 0;
}

int tc_attach(struct xdivert *s, struct xdv_iface *iface)
{
	int type = netdev_type(iface->name), rc = -EINVAL, prog;

	prog = entry_fd(s, tc_raw_type(type) ? "xdv_tc_raw" : "xdv_tc_ingress");
	if (prog < 0)
		return prog;
	rc = hook_prog_id(prog, &iface->prog_id);
	if (!rc && iface->mode != XDV_MODE_CLSACT)
		rc = attach_tcx(s, iface, prog);
	if (iface->mode == XDV_MODE_CLSACT || (rc && !iface->mode))
		rc = attach_clsact(iface, prog);
	close(prog);
	return rc;
}

/* Somebody may have replaced or removed our filter. */
static int detach_clsact(const struct xdv_iface *iface)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = iface->ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .priority = iface->priority,
		    .handle = iface->handle);
	int rc = bpf_tc_query(&hook, &opts);

	if (rc == -ENOENT || rc == -EINVAL || rc == -ENODEV ||
	    (!rc && opts.prog_id != iface->prog_id))
		return 0;
	opts.prog_id = 0;
	return rc ? rc : bpf_tc_detach(&hook, &opts);
}

int tc_detach(const struct xdivert *s, const struct xdv_iface *iface)
{
	if (iface->mode == XDV_MODE_CLSACT)
		return detach_clsact(iface);
	hook_detach_link(s, iface->ifindex);
	return 0;
}
