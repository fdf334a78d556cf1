// SPDX-License-Identifier: BSD-2-Clause
/*
 * Linked into the build without completions (--wrap): what user space tells
 * xdv_recent in their place would cost a system call a packet.
 */
#include <stdbool.h>
#include <string.h>

#include <bpf/bpf.h>

int __real_bpf_map_update_elem(int fd, const void *key, const void *value,
			       __u64 flags);
int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value,
			       __u64 flags);

static bool is_recent(int fd)
{
	static int recent = -1, last = -1;
	struct bpf_map_info info = {0};
	__u32 size = sizeof(info);

	if (fd == recent || fd == last)
		return fd == recent;
	last = fd;
	if (!bpf_obj_get_info_by_fd(fd, &info, &size) &&
	    !strcmp(info.name, "xdv_recent"))
		recent = fd;
	return fd == recent;
}

int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value,
			       __u64 flags)
{
	return is_recent(fd)
		       ? 0
		       : __real_bpf_map_update_elem(fd, key, value, flags);
}
