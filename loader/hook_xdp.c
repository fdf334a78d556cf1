// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "dispatcher.h"
#include "hook.h"
#include "multibuf.h"
#include "xdp_ingress.skel.h"

#define ENTRY "xdv_xdp_ingress"

static struct xdp_ingress *open_entry(const struct xdivert *s)
{
	struct xdp_ingress *skel = xdp_ingress__open();

	if (!skel)
		return NULL;
	bpf_program__set_autoload(skel->progs.xdv_xdp_divert, false);
	bpf_program__set_expected_attach_type(skel->progs.xdv_xdp_ingress, 0);
	multibuf_program(skel->progs.xdv_xdp_ingress);
	if (state_share_maps(s, skel->obj)) {
		xdp_ingress__destroy(skel);
		return NULL;
	}
	return skel;
}

static int attach_dispatcher(const struct xdivert *s, struct xdv_iface *iface)
{
	struct xdp_ingress *skel = open_entry(s);
	int err;

	if (!skel)
		return -errno;
	err = dispatcher_attach(skel->obj, iface);
	xdp_ingress__destroy(skel);
	return err;
}

/* The pinned entry program, loaded by the first who needs it. */
static int entry_fd(const struct xdivert *s)
{
	struct xdp_ingress *skel;
	char path[320];
	int fd, err;

	state_path(s, ENTRY, path, sizeof(path));
	fd = bpf_obj_get(path);
	if (fd >= 0)
		return fd;
	skel = open_entry(s);
	if (!skel)
		return -errno;
	err = xdp_ingress__load(skel);
	if (!err)
		err = state_pin(s, bpf_program__fd(skel->progs.xdv_xdp_ingress),
				ENTRY);
	xdp_ingress__destroy(skel);
	fd = err ? err : bpf_obj_get(path);
	return fd;
}

static int attach_link(const struct xdivert *s, struct xdv_iface *iface)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = iface->mode == XDV_MODE_NATIVE
				     ? XDP_FLAGS_DRV_MODE
				     : XDP_FLAGS_SKB_MODE);
	int prog, link, err;

	prog = entry_fd(s);
	if (prog < 0)
		return prog;
	link = bpf_link_create(prog, iface->ifindex, BPF_XDP, &opts);
	err = link < 0 ? link : hook_prog_id(prog, &iface->prog_id);
	close(prog);
	iface->dispatcher = 0;
	if (!err)
		err = hook_pin_link(s, iface->ifindex, link);
	if (link >= 0)
		close(link);
	return err;
}

/* The dispatchers of older versions of libxdp do not load on newer kernels. */
static int attach_mode(const struct xdivert *s, struct xdv_iface *iface,
		       __u32 mode)
{
	int err = -EOPNOTSUPP;

	iface->mode = mode;
	if (dispatcher_works())
		err = attach_dispatcher(s, iface);
	return !err || err == -EBUSY || err == -EEXIST ? err
						       : attach_link(s, iface);
}

/* Refused because the driver cannot, not because somebody is in the way. */
static bool driver_cannot(int err)
{
	return err == -EOPNOTSUPP || err == -EINVAL || err == -ENOTSUP;
}

int xdp_attach(struct xdivert *s, struct xdv_iface *iface)
{
	int err;

	if (iface->mode)
		return attach_mode(s, iface, iface->mode);
	err = attach_mode(s, iface, XDV_MODE_NATIVE);
	return driver_cannot(err) ? attach_mode(s, iface, XDV_MODE_GENERIC)
				  : err;
}

int xdp_detach(const struct xdivert *s, const struct xdv_iface *iface)
{
	if (iface->dispatcher)
		return dispatcher_detach(iface);
	hook_detach_link(s, iface->ifindex);
	return 0;
}
