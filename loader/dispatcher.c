// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <xdp/libxdp.h>

#include "bpffs.h"
#include "dispatcher.h"
#include "state.h"

bool dispatcher_works(void)
{
	return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_EXT, NULL) == 1;
}

static enum xdp_attach_mode mode_of(const struct xdv_iface *iface)
{
	return iface->mode == XDV_MODE_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB;
}

/* libxdp looks in the usual place alone, unless it is told. */
static void tell_bpffs(void)
{
	char path[64];

	setenv("LIBXDP_BPFFS", bpffs_path(path, sizeof(path)), 0);
}

int dispatcher_attach(struct bpf_object *object, struct xdv_iface *iface)
{
	struct xdp_program *prog;
	int err;

	tell_bpffs();
	prog = xdp_program__from_bpf_obj(object, "xdp");
	err = libxdp_get_error(prog);
	if (err)
		return err;
	err = xdp_program__attach(prog, iface->ifindex, mode_of(iface), 0);
	if (!err) {
		iface->prog_id = xdp_program__id(prog);
		iface->dispatcher = 1;
	}
	xdp_program__close(prog);
	return err;
}

static bool is_program(const char *path, __u32 id)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	int fd = bpf_obj_get(path);
	bool same;

	if (fd < 0)
		return false;
	same = !bpf_obj_get_info_by_fd(fd, &info, &size) && info.id == id;
	close(fd);
	return same;
}

/* Is the program one of those pinned in a folder? With remove: what is pinned
 * goes.
 */
static bool search(const char *folder, __u32 id, bool remove)
{
	struct dirent *entry;
	bool found = false;
	char path[512];
	DIR *dir = opendir(folder);

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%.200s/%s", folder,
			 entry->d_name);
		if (remove)
			unlink(path);
		else if (strstr(entry->d_name, "-prog"))
			found = found || is_program(path, id);
	}
	if (dir)
		closedir(dir);
	return found;
}

/*
 * libxdp pins what is behind a dispatcher in xdp/dispatch-IFINDEX-ID of bpffs,
 * where it stays when the device goes. libxdp_clean_references() would take
 * the devices of other namespaces for gone; the program's id tells ours.
 */
void dispatcher_forget(const struct xdv_iface *iface)
{
	char buffer[64], path[400];
	const char *bpffs = bpffs_path(buffer, sizeof(buffer));
	struct dirent *entry;
	unsigned int ifindex;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/xdp", bpffs);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "dispatch-%u-", &ifindex) != 1 ||
		    ifindex != iface->ifindex)
			continue;
		snprintf(path, sizeof(path), "%s/xdp/%s", bpffs, entry->d_name);
		if (!search(path, iface->prog_id, false))
			continue;
		search(path, 0, true);
		rmdir(path);
	}
	if (dir)
		closedir(dir);
}

int dispatcher_detach(const struct xdv_iface *iface)
{
	struct xdp_program *prog;
	int err;

	tell_bpffs();
	prog = xdp_program__from_id(iface->prog_id);
	err = libxdp_get_error(prog);
	if (!err) {
		err = xdp_program__detach(prog, iface->ifindex, mode_of(iface),
					  0);
		xdp_program__close(prog);
	}
	if (err != -ENOENT)
		return err;
	dispatcher_forget(iface);
	return 0;
}
