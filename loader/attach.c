// SPDX-License-Identifier: BSD-2-Clause
/* The only file that attaches programs to interfaces. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <xdp/libxdp.h>

#include "attach.h"
#include "netdev.h"
#include "xdp_ingress.skel.h"

#define ENTRY "xdv_xdp_ingress"

static int say(char *err, size_t errlen, int code, const char *ifname,
	       const char *what)
{
	snprintf(err, errlen, "%s: %s", ifname, what);
	return code;
}

/* The next interface after *key that is in xdv_ifaces; false at the end. */
static bool next_iface(const struct state *s, __u32 **previous, __u32 *key,
		       struct xdv_iface *iface)
{
	while (!bpf_map_get_next_key(s->ifaces, *previous, key)) {
		*previous = key;
		if (!bpf_map_lookup_elem(s->ifaces, key, iface))
			return true;
	}
	return false;
}

/* A free slot; two interfaces never share one. */
static int free_slot(const struct state *s)
{
	unsigned char used[XDV_MAX_IFACES] = {0};
	__u32 key, *previous = NULL;
	struct xdv_iface iface;
	int i;

	while (next_iface(s, &previous, &key, &iface))
		used[iface.slot % XDV_MAX_IFACES] = 1;
	for (i = 0; i < XDV_MAX_IFACES; i++)
		if (!used[i])
			return i;
	return -ENOSPC;
}

static struct xdp_ingress *open_entry(const struct state *s)
{
	struct xdp_ingress *skel = xdp_ingress__open();

	if (!skel)
		return NULL;
	bpf_program__set_autoload(skel->progs.xdv_xdp_divert, false);
	if (bpf_map__reuse_fd(skel->maps.xdv_stats, s->stats) ||
	    bpf_map__reuse_fd(skel->maps.xdv_control, s->control) ||
	    bpf_map__reuse_fd(skel->maps.xdv_ifaces, s->ifaces) ||
	    bpf_map__reuse_fd(skel->maps.xdv_queues, s->queues) ||
	    bpf_map__reuse_fd(skel->maps.xdv_xsks, s->xsks) ||
	    bpf_map__reuse_fd(skel->maps.xdv_recent, s->recent) ||
	    bpf_map__reuse_fd(skel->maps.xdv_stages, s->stages) ||
	    bpf_map__reuse_fd(skel->maps.xdv_scratch, s->scratch) ||
	    bpf_map__reuse_fd(skel->maps.xdv_rules, s->rules)) {
		xdp_ingress__destroy(skel);
		return NULL;
	}
	return skel;
}

/* The libxdp dispatcher runs several programs on one interface, but needs
 * programs that replace functions (BPF_PROG_TYPE_EXT).
 */
static bool dispatcher_works(void)
{
	return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_EXT, NULL) == 1;
}

static int attach_dispatcher(const struct state *s, struct xdv_iface *iface)
{
	enum xdp_attach_mode mode =
		iface->mode == XDV_MODE_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB;
	struct xdp_ingress *skel = open_entry(s);
	struct xdp_program *prog;
	int err;

	if (!skel)
		return -errno;
	prog = xdp_program__from_bpf_obj(skel->obj, "xdp");
	err = libxdp_get_error(prog);
	if (!err)
		err = xdp_program__attach(prog, iface->ifindex, mode, 0);
	if (!err) {
		iface->prog_id = xdp_program__id(prog);
		iface->dispatcher = 1;
	}
	if (!libxdp_get_error(prog))
		xdp_program__close(prog);
	xdp_ingress__destroy(skel);
	return err;
}

/* The pinned entry program, loaded by the first who needs it. */
static int entry_fd(const struct state *s)
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

static void link_name(__u32 ifindex, char *name, size_t size)
{
	snprintf(name, size, "link_%u", ifindex);
}

static int attach_link(const struct state *s, struct xdv_iface *iface)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = iface->mode == XDV_MODE_NATIVE
				     ? XDP_FLAGS_DRV_MODE
				     : XDP_FLAGS_SKB_MODE);
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	char name[32];
	int prog, link, err;

	prog = entry_fd(s);
	if (prog < 0)
		return prog;
	link = bpf_link_create(prog, iface->ifindex, BPF_XDP, &opts);
	err = link < 0 ? link : bpf_obj_get_info_by_fd(prog, &info, &size);
	close(prog);
	if (!err) {
		iface->prog_id = info.id;
		iface->dispatcher = 0;
		link_name(iface->ifindex, name, sizeof(name));
		err = state_pin(s, link, name);
	}
	if (link >= 0)
		close(link);
	return err;
}

static int attach_mode(const struct state *s, struct xdv_iface *iface,
		       __u32 mode)
{
	iface->mode = mode;
	return dispatcher_works() ? attach_dispatcher(s, iface)
				  : attach_link(s, iface);
}

/* Refused because the driver cannot, not because somebody is in the way. */
static bool driver_cannot(int err)
{
	return err == -EOPNOTSUPP || err == -EINVAL || err == -ENOTSUP;
}

static int attach_iface(const struct state *s, struct xdv_iface *iface,
			__u32 mode)
{
	int err;

	if (mode)
		return attach_mode(s, iface, mode);
	err = attach_mode(s, iface, XDV_MODE_NATIVE);
	return driver_cannot(err) ? attach_mode(s, iface, XDV_MODE_GENERIC)
				  : err;
}

static int check_mtu(const char *ifname, char *err, size_t errlen)
{
	int mtu = netdev_mtu(ifname);

	if (mtu <= XDV_PACKET_MAX)
		return mtu < 0 ? mtu : 0;
	snprintf(err, errlen,
		 "%s: MTU %d is more than a frame holds (%d); lower it with "
		 "'ip link set %s mtu %d'",
		 ifname, mtu, XDV_PACKET_MAX, ifname, XDV_PACKET_MAX);
	return -EMSGSIZE;
}

static int explain(char *err, size_t errlen, int code, const char *ifname)
{
	char text[128];

	switch (code) {
	case -EBUSY:
	case -EEXIST:
		say(err, errlen, code, ifname,
		    "another XDP program is attached; see 'bpftool net'");
		return -EBUSY;
	case -EOPNOTSUPP:
	case -EINVAL:
		return say(err, errlen, code, ifname,
			   "the driver refuses XDP in this mode; try --mode "
			   "generic");
	}
	snprintf(text, sizeof(text), "cannot attach XDP: %s", strerror(-code));
	return say(err, errlen, code, ifname, text);
}

/* The slot's last user may have been served; this one is not yet. */
static void forget_served(const struct state *s, const struct xdv_iface *iface)
{
	__u32 i;

	for (i = 0; i < iface->queues; i++)
		s->occupancy[iface->slot * XDV_MAX_QUEUES + i].limit = 0;
}

int hook_attach(struct state *s, const struct attach_request *request,
		char *err, size_t errlen)
{
	struct xdv_iface iface = {.fail = request->fail};
	const char *ifname = request->ifname;
	int rc;

	hook_prune(s);
	iface.ifindex = if_nametoindex(ifname);
	if (!iface.ifindex)
		return say(err, errlen, -ENODEV, ifname, "no such interface");
	if (!bpf_map_lookup_elem(s->ifaces, &iface.ifindex, &iface))
		return say(err, errlen, -EEXIST, ifname,
			   "already attached; 'xdivert detach' it first to "
			   "change the mode");
	rc = check_mtu(ifname, err, errlen);
	if (rc)
		return rc;
	rc = free_slot(s);
	if (rc < 0)
		return say(err, errlen, rc, ifname,
			   "64 interfaces are attached already");
	iface.slot = rc;
	iface.queues = netdev_rx_queues(ifname);
	if (iface.queues > XDV_MAX_QUEUES)
		iface.queues = XDV_MAX_QUEUES;
	snprintf(iface.name, sizeof(iface.name), "%s", ifname);
	rc = state_stats_row(s, iface.ifindex);
	if (rc)
		return explain(err, errlen, rc, ifname);
	forget_served(s, &iface);
	rc = attach_iface(s, &iface, request->mode);
	if (rc)
		return explain(err, errlen, rc, ifname);
	rc = bpf_map_update_elem(s->ifaces, &iface.ifindex, &iface, BPF_ANY);
	return rc ? explain(err, errlen, rc, ifname) : 0;
}

static int detach_dispatcher(const struct xdv_iface *iface)
{
	struct xdp_program *prog = xdp_program__from_id(iface->prog_id);
	int err = libxdp_get_error(prog);

	if (err)
		return err;
	err = xdp_program__detach(
		prog, iface->ifindex,
		iface->mode == XDV_MODE_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB,
		0);
	xdp_program__close(prog);
	return err;
}

/* Unpinning alone would detach later, when the kernel frees the link. */
static void detach_link(const struct state *s, const struct xdv_iface *iface)
{
	char name[32], path[320];
	int fd;

	link_name(iface->ifindex, name, sizeof(name));
	state_path(s, name, path, sizeof(path));
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		bpf_link_detach(fd);
		close(fd);
	}
	state_unpin(s, name);
}

static int detach_iface(struct state *s, const struct xdv_iface *iface)
{
	int err = 0;

	if (iface->dispatcher)
		err = detach_dispatcher(iface);
	else
		detach_link(s, iface);
	bpf_map_delete_elem(s->ifaces, &iface->ifindex);
	return err;
}

/* By its name now or, if it has gone, at the time of attach. */
static bool find_iface(const struct state *s, const char *ifname,
		       struct xdv_iface *iface)
{
	__u32 key, *previous = NULL, ifindex = if_nametoindex(ifname);

	if (ifindex)
		return !bpf_map_lookup_elem(s->ifaces, &ifindex, iface);
	while (next_iface(s, &previous, &key, iface))
		if (!strcmp(iface->name, ifname))
			return true;
	return false;
}

int hook_detach(struct state *s, const char *ifname, char *err, size_t errlen)
{
	struct xdv_iface iface;
	int rc;

	if (!find_iface(s, ifname, &iface))
		return say(err, errlen, -ENOENT, ifname,
			   if_nametoindex(ifname) ? "xdivert is not attached"
						  : "no such interface");
	rc = detach_iface(s, &iface);
	return rc ? explain(err, errlen, rc, ifname) : 0;
}

int hook_detach_all(struct state *s)
{
	struct xdv_iface iface;
	int err = 0, rc;
	__u32 key;

	while (!bpf_map_get_next_key(s->ifaces, NULL, &key)) {
		if (bpf_map_lookup_elem(s->ifaces, &key, &iface))
			break;
		rc = detach_iface(s, &iface);
		err = err ? err : rc;
	}
	return err;
}

int hook_count(const struct state *s)
{
	__u32 key, *previous = NULL;
	struct xdv_iface iface;
	int n = 0;

	while (next_iface(s, &previous, &key, &iface))
		n++;
	return n;
}

void hook_prune(struct state *s)
{
	__u32 key, *previous = NULL;
	char name[IF_NAMESIZE];
	struct xdv_iface iface;

	while (next_iface(s, &previous, &key, &iface)) {
		if (if_indextoname(key, name) || errno != ENXIO)
			continue;
		detach_iface(s, &iface);
		previous = NULL;
	}
}
