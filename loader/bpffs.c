// SPDX-License-Identifier: BSD-2-Clause
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#include "bpffs.h"

bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

static pid_t parent_of(pid_t pid)
{
	char path[64];
	FILE *file;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %*c %d", &parent) != 1)
		parent = 0;
	fclose(file);
	return parent;
}

/* Mount bpffs where everybody sees it: in the mount namespace of pid. */
static void mount_bpffs(pid_t pid)
{
	char path[64];
	pid_t child = fork();
	int ns;

	if (child) {
		waitpid(child, NULL, 0);
		return;
	}
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns >= 0)
		setns(ns, CLONE_NEWNS);
	_exit(mount("bpf", BPFFS, "bpf", 0, NULL) ? 1 : 0);
}

/*
 * `ip netns exec` hides bpffs behind a fresh sysfs; the processes that started
 * it still see it. The outermost of them that we may look at mounts it if
 * nobody has.
 */
static const char *bpffs_of_ancestor(char *path, size_t size)
{
	pid_t pid = getpid(), outermost = pid;

	while ((pid = parent_of(pid)) > 0) {
		snprintf(path, size, "/proc/%d/root" BPFFS, pid);
		if (is_bpffs(path))
			return path;
		if (!access(path, F_OK))
			outermost = pid;
	}
	mount_bpffs(outermost);
	snprintf(path, size, "/proc/%d/root" BPFFS, outermost);
	return path;
}

const char *bpffs_path(char *path, size_t size)
{
	if (is_bpffs(BPFFS))
		return BPFFS;
	return bpffs_of_ancestor(path, size);
}
