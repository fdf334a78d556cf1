// SPDX-License-Identifier: BSD-2-Clause
/* Which interfaces have a hook; hook_xdp.c and hook_tc.c put it there. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_arp.h>

#include "attach.h"
#include "clock.h"
#include "dispatcher.h"
#include "error.h"
#include "hook.h"
#include "multibuf.h"
#include "netdev.h"
#include "opts.h"
#include "ruleset.h"
#include "state.h"
#include "stats.h"
#include "tap.h"

/* The next interface after *key that is in xdv_ifaces; false at the end. */
static bool next_iface(const struct xdivert *s, __u32 **previous, __u32 *key,
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
static int free_slot(const struct xdivert *s)
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

/* In generic mode what is longer than the MTU was not cut into segments yet.
 * Taps take any.
 */
static int check_mtu(const char *ifname, bool tc, __u32 *longest)
{
	int mtu = netdev_mtu(ifname);

	*longest = XDV_PACKET_MAX;
	if (mtu <= XDV_PACKET_MAX)
		return mtu < 0 ? mtu : 0;
	*longest = mtu;
	if (tc || multibuf_works())
		return 0;
	return error_set(-EMSGSIZE,
			 "%s: MTU %d is more than a frame holds (%d), and only "
			 "kernels from 6.6 on use several; try --hook tc, or "
			 "lower it with 'ip link set %s mtu %d'",
			 ifname, mtu, XDV_PACKET_MAX, ifname, XDV_PACKET_MAX);
}

static int explain(int code, const char *ifname, const struct xdv_iface *iface)
{
	if (iface->mode == XDV_MODE_TCX && code == -EINVAL)
		return error_set(-EOPNOTSUPP,
				 "%s: this kernel has no tcx links (6.6 has); "
				 "try --mode clsact",
				 ifname);
	if (iface->hook == XDV_HOOK_TC)
		return error_set(code, "%s: cannot attach to TC ingress: %s",
				 ifname, strerror(-code));
	switch (code) {
	case -EBUSY:
	case -EEXIST:
		return error_set(-EBUSY,
				 "%s: another XDP program is attached; see "
				 "'bpftool net'",
				 ifname);
	case -EOPNOTSUPP:
	case -EINVAL:
		return error_set(-EOPNOTSUPP,
				 "%s: the driver refuses XDP in this mode; try "
				 "--mode generic",
				 ifname);
	case -ERANGE:
		return error_set(code,
				 "%s: the driver refuses XDP with this MTU, or "
				 "with that of its peer; lower it, or try "
				 "--hook tc",
				 ifname);
	}
	return error_set(code, "%s: cannot attach XDP: %s", ifname,
			 strerror(-code));
}

/* Through netlink (libxdp) the kernel takes no program away below another. */
static int explain_detach(int code, const char *ifname,
			  const struct xdv_iface *iface)
{
	if (code != -EBUSY && code != -EEXIST)
		return explain(code, ifname, iface);
	return error_set(-EBUSY,
			 "%s: the kernel keeps its XDP program while a device "
			 "above it (a bridge, a bond) has one; detach that "
			 "first",
			 ifname);
}

/* The slot's last user may have been served; this one is not yet. */
static void forget_served(const struct xdivert *s,
			  const struct xdv_iface *iface)
{
	__u32 i;

	for (i = 0; i < iface->queues; i++)
		s->occupancy[iface->slot * XDV_MAX_QUEUES + i].limit = 0;
}

static void link_name(__u32 ifindex, char *name, size_t size)
{
	snprintf(name, size, "link_%u", ifindex);
}

int hook_pin_link(const struct xdivert *s, __u32 ifindex, int link)
{
	char name[32];

	link_name(ifindex, name, sizeof(name));
	return state_pin(s, link, name);
}

/* Unpinning alone would detach later, when the kernel frees the link. */
void hook_detach_link(const struct xdivert *s, __u32 ifindex)
{
	char name[32], path[320];
	int fd;

	link_name(ifindex, name, sizeof(name));
	state_path(s, name, path, sizeof(path));
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		bpf_link_detach(fd);
		close(fd);
	}
	state_unpin(s, name);
}

int hook_prog_id(int prog, __u32 *id)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	int err = bpf_obj_get_info_by_fd(prog, &info, &size);

	*id = info.id;
	return err;
}

static int detach_iface(struct xdivert *s, const struct xdv_iface *iface)
{
	int err = iface->hook == XDV_HOOK_TC ? tc_detach(s, iface)
					     : xdp_detach(s, iface);

	/* What is still attached stays listed, so that it can be detached. */
	if (!err)
		bpf_map_delete_elem(s->ifaces, &iface->ifindex);
	state_announce(s);
	return err;
}

static bool is_tc_mode(unsigned int mode)
{
	return mode == XDV_MODE_TCX || mode == XDV_MODE_CLSACT;
}

/* XDP programs see Ethernet frames; TC can do without a link header. */
static int check_opts(const char *ifname,
		      const struct xdivert_attach_opts *opts)
{
	int type = netdev_type(ifname);

	if (opts->mode > XDV_MODE_CLSACT || opts->fail > XDV_FAIL_CLOSED ||
	    opts->hook > XDV_HOOK_TC)
		return error_set(-EINVAL, "%s: no such mode, hook or --fail",
				 ifname);
	if (opts->mode && is_tc_mode(opts->mode) != (opts->hook == XDV_HOOK_TC))
		return error_set(-EINVAL,
				 "%s: that is a mode of the other hook",
				 ifname);
	if (type < 0)
		return error_set(type, "%s: %s", ifname, strerror(-type));
	if (type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK)
		return 0;
	if (opts->hook == XDV_HOOK_XDP)
		return error_set(-EOPNOTSUPP,
				 "%s: not an Ethernet device; try --hook tc",
				 ifname);
	return tc_raw_type(type)
		       ? 0
		       : error_set(-EOPNOTSUPP,
				   "%s: its kind of link is not supported",
				   ifname);
}

static int prepare(struct xdivert *s, const char *ifname,
		   const struct xdivert_attach_opts *opts,
		   struct xdv_iface *iface)
{
	__u32 ifindex = if_nametoindex(ifname);
	int rc;

	if (!ifindex)
		return error_set(-ENODEV, "%s: no such interface", ifname);
	if (!bpf_map_lookup_elem(s->ifaces, &ifindex, iface))
		return error_set(-EEXIST,
				 "%s: already attached (hook %s); 'xdivert "
				 "detach' it first to change that",
				 ifname,
				 iface->hook == XDV_HOOK_TC ? "tc" : "xdp");
	rc = check_opts(ifname, opts);
	rc = rc ? rc
		: check_mtu(ifname, opts->hook == XDV_HOOK_TC, &iface->longest);
	if (rc)
		return rc;
	iface->fail = opts->fail;
	iface->hook = opts->hook;
	iface->mode = opts->mode;
	rc = free_slot(s);
	if (rc < 0)
		return error_set(rc, "%s: %d interfaces are attached already",
				 ifname, XDV_MAX_IFACES);
	iface->ifindex = ifindex;
	iface->slot = rc;
	iface->queues =
		iface->hook == XDV_HOOK_XDP ? netdev_rx_queues(ifname) : 0;
	if (iface->queues > XDV_MAX_QUEUES)
		iface->queues = XDV_MAX_QUEUES;
	iface->serial = now();
	snprintf(iface->name, sizeof(iface->name), "%s", ifname);
	return netdev_mac(ifindex, iface->mac);
}

static int attach(struct xdivert *s, const char *ifname,
		  const struct xdivert_attach_opts *opts)
{
	struct xdv_iface iface = {0};
	int rc;

	hook_prune(s);
	rc = prepare(s, ifname, opts, &iface);
	if (rc)
		return rc;
	rc = stats_row(s, iface.ifindex);
	if (rc)
		return explain(rc, ifname, &iface);
	forget_served(s, &iface);
	rc = iface.hook == XDV_HOOK_TC ? tc_attach(s, &iface)
				       : xdp_attach(s, &iface);
	if (rc)
		return explain(rc, ifname, &iface);
	rc = bpf_map_update_elem(s->ifaces, &iface.ifindex, &iface, BPF_ANY);
	state_announce(s);
	if (!rc)
		return 0;
	detach_iface(s, &iface);
	return explain(rc, ifname, &iface);
}

int xdivert_attach(struct xdivert *x, const char *ifname,
		   const struct xdivert_attach_opts *opts)
{
	struct xdivert_attach_opts all;
	int rc = opts_take(&all, sizeof(all), opts);

	if (rc)
		return rc;
	rc = state_lock(x);
	rc = rc ? rc : attach(x, ifname, &all);
	if (rc && !x->shared->next_rule)
		state_remove_idle(x);
	state_unlock(x);
	return rc;
}

/* By its name now or, if it has gone, at the time of attach. */
static bool find_iface(const struct xdivert *s, const char *ifname,
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

static int detach(struct xdivert *s, const char *ifname)
{
	struct xdv_iface iface;
	int rc;

	if (!find_iface(s, ifname, &iface))
		return error_set(-ENOENT, "%s: %s", ifname,
				 if_nametoindex(ifname)
					 ? "xdivert is not attached"
					 : "no such interface");
	rc = detach_iface(s, &iface);
	return rc ? explain_detach(rc, ifname, &iface) : 0;
}

int xdivert_detach(struct xdivert *x, const char *ifname)
{
	int rc = state_lock(x);

	rc = rc ? rc : detach(x, ifname);
	if (!rc)
		state_remove_idle(x);
	state_unlock(x);
	return rc;
}

static int detach_all(struct xdivert *s)
{
	__u32 key, *previous = NULL;
	struct xdv_iface iface;
	int err = 0, rc;

	/* After each one from the beginning: it may have been in the way. */
	while (next_iface(s, &previous, &key, &iface)) {
		rc = detach_iface(s, &iface);
		err = rc ? explain_detach(rc, iface.name, &iface) : 0;
		if (!rc)
			previous = NULL;
	}
	rc = rules_flush(s);
	return err ? err : rc;
}

int xdivert_detach_all(struct xdivert *x)
{
	int rc = state_lock(x);

	rc = rc ? rc : detach_all(x);
	if (!rc)
		state_remove_idle(x);
	state_unlock(x);
	return rc;
}

int xdivert_interfaces(struct xdivert *x, struct xdivert_interface *list, int n)
{
	__u32 key, *previous = NULL;
	bool here = state_here(x);
	struct xdv_iface iface;
	int count = 0;

	while (next_iface(x, &previous, &key, &iface)) {
		if (count < n) {
			if (here)
				if_indextoname(key, iface.name);
			if (iface.hook == XDV_HOOK_TC)
				iface.queues = tap_count(x);
			list[count].iface = iface;
			list[count].served = state_daemon_runs(x)
						     ? state_served(x, &iface)
						     : 0;
		}
		count++;
	}
	return count;
}

int hook_count(const struct xdivert *s)
{
	__u32 key, *previous = NULL;
	struct xdv_iface iface;
	int n = 0;

	while (next_iface(s, &previous, &key, &iface))
		n++;
	return n;
}

/* Its name and address may have changed since, and what comes in. */
static void refresh(const struct xdivert *s, struct xdv_iface *iface)
{
	struct xdv_iface new = *iface;

	if (!if_indextoname(iface->ifindex, new.name) ||
	    netdev_mac(iface->ifindex, new.mac))
		return;
	if (iface->hook == XDV_HOOK_TC)
		check_mtu(new.name, true, &new.longest);
	if (memcmp(&new, iface, sizeof(new)))
		bpf_map_update_elem(s->ifaces, &iface->ifindex, &new,
				    BPF_EXIST);
}

void hook_prune(struct xdivert *s)
{
	__u32 key, *previous = NULL;
	char name[IF_NAMESIZE];
	struct xdv_iface iface;

	while (next_iface(s, &previous, &key, &iface)) {
		if (if_indextoname(key, name)) {
			refresh(s, &iface);
			continue;
		}
		if (errno != ENXIO)
			continue;
		detach_iface(s, &iface);
		previous = NULL;
	}
}

void hook_forget(const struct xdivert *s)
{
	__u32 key, *previous = NULL;
	struct xdv_iface iface;

	while (next_iface(s, &previous, &key, &iface))
		if (iface.dispatcher)
			dispatcher_forget(&iface);
}
