// SPDX-License-Identifier: BSD-2-Clause
/*
 * A compartment's id is its namespace's inode number. Nothing here keeps a
 * namespace alive: it is looked up anew each time, so one that was deleted is
 * gone for us too. Its number may be another's by then; when that one was born
 * tells them apart.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/magic.h>
#include <sys/vfs.h>

#include <xdivert.h>

#include "compartment.h"
#include "error.h"

#define NAMES		      "/run/netns"
#define INIT		      "/proc/1/ns/net"
#define PID_NAMESPACE_OF_INIT 0xeffffffcu /* include/linux/proc_ns.h */

/* The namespace of that file, or -1: one that was deleted leaves a plain file.
 */
static int open_namespace(const char *path, uint32_t *id)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct statfs fs;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstatfs(fd, &fs) || fs.f_type != NSFS_MAGIC || fstat(fd, &st)) {
		close(fd);
		return -1;
	}
	*id = st.st_ino;
	return fd;
}

static int open_by_name(const char *name, uint32_t *id)
{
	char path[300];
	int fd = -1;

	if (*name && !strchr(name, '/')) {
		snprintf(path, sizeof(path), NAMES "/%s", name);
		fd = open_namespace(path, id);
	}
	if (fd < 0)
		return error_set(-ENOTCONN,
				 "no compartment '%s'; see 'ip netns'", name);
	return fd;
}

static int open_by_id(uint32_t wanted)
{
	struct dirent *entry;
	DIR *dir = opendir(NAMES);
	char path[300];
	uint32_t id;
	int fd = -1;

	while (dir && fd < 0 && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), NAMES "/%s", entry->d_name);
		fd = open_namespace(path, &id);
		if (fd >= 0 && id != wanted) {
			close(fd);
			fd = -1;
		}
	}
	if (dir)
		closedir(dir);
	if (fd >= 0)
		return fd;
	fd = open_namespace(INIT, &id);
	if (fd >= 0 && id == wanted)
		return fd;
	if (fd >= 0)
		close(fd);
	return error_set(-ENOTCONN, "no compartment %u; see 'lsns -t net'",
			 wanted);
}

static bool is_number(const char *text, uint32_t *number)
{
	char *end;

	*number = strtoul(text, &end, 10);
	return *text && !*end;
}

/* A number may be a name as well: then it is that. */
static int open_by_either(const char *name, uint32_t *id)
{
	int fd = open_by_name(name, id);

	return fd < 0 && is_number(name, id) ? open_by_id(*id) : fd;
}

static int enter(int fd)
{
	int rc;

	if (fd < 0)
		return fd;
	rc = setns(fd, CLONE_NEWNET) ? -errno : 0;
	close(fd);
	return rc ? error_set(rc, "cannot enter the compartment: %s",
			      strerror(-rc))
		  : 0;
}

int netns_enter(int netns)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), rc;

	if (home < 0)
		return -errno;
	if (!setns(netns, CLONE_NEWNET))
		return home;
	rc = -errno;
	close(home);
	return rc;
}

int netns_leave(int home)
{
	int rc = setns(home, CLONE_NEWNET) ? -errno : 0;

	close(home);
	return rc;
}

int xdivert_compartment_find(const char *name, uint32_t *id)
{
	int fd = open_by_name(name, id);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int xdivert_compartment_enter(const char *name)
{
	uint32_t id;

	return enter(open_by_name(name, &id));
}

/* The namespace's name for `ip netns`, "default" for init's, or its inode (for
 * names with a dot too: bpffs takes none).
 */
void compartment_name(char *name, size_t size)
{
	struct stat self, other;
	struct dirent *entry;
	char path[300];
	DIR *dir;

	snprintf(name, size, "default");
	if (stat("/proc/thread-self/ns/net", &self))
		return;
	/* In a container process 1 is not the host's. */
	if (!stat("/proc/self/ns/pid", &other) &&
	    other.st_ino == PID_NAMESPACE_OF_INIT && !stat(INIT, &other) &&
	    other.st_ino == self.st_ino)
		return;
	snprintf(name, size, "net-%lu", (unsigned long)self.st_ino);
	dir = opendir(NAMES);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (strchr(entry->d_name, '.'))
			continue;
		snprintf(path, sizeof(path), NAMES "/%s", entry->d_name);
		if (!stat(path, &other) && other.st_ino == self.st_ino &&
		    other.st_dev == self.st_dev)
			snprintf(name, size, "%s", entry->d_name);
	}
	closedir(dir);
}

static int find_inside(int netns, const char *ifname, uint32_t *ifindex)
{
	int home = netns_enter(netns), rc = home < 0 ? home : 0;

	if (home >= 0) {
		*ifindex = if_nametoindex(ifname);
		rc = netns_leave(home);
	}
	return rc ? error_set(rc, "cannot look into the compartment: %s",
			      strerror(-rc))
		  : 0;
}

static int find_elsewhere(const char *ifname, const char *netns,
			  uint32_t *compartment, uint32_t *ifindex)
{
	int fd = open_by_either(netns, compartment), rc;

	if (fd < 0)
		return fd;
	rc = find_inside(fd, ifname, ifindex);
	close(fd);
	if (!rc && !*ifindex)
		rc = error_set(-ENODEV, "%s: no such interface in %s", ifname,
			       netns);
	return rc;
}

int xdivert_interface_find(const char *name, uint32_t *compartment,
			   uint32_t *ifindex)
{
	const char *at = strrchr(name, '@');
	char ifname[IF_NAMESIZE];

	*compartment = XDIVERT_COMPARTMENT_UNSPECIFIED;
	/* Names of interfaces may have an @ too. */
	*ifindex = if_nametoindex(name);
	if (*ifindex)
		return 0;
	if (!at || at - name >= (int)sizeof(ifname))
		return error_set(-ENODEV, "%s: no such interface", name);
	snprintf(ifname, sizeof(ifname), "%.*s", (int)(at - name), name);
	return find_elsewhere(ifname, at + 1, compartment, ifindex);
}

/* SO_NETNS_COOKIE (5.14) */
int compartment_cookie(uint64_t *cookie)
{
	socklen_t size = sizeof(*cookie);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	rc = getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &size) ? -errno
									: 0;
	close(fd);
	return rc;
}

/* That of init's never ends, and the kernel may make its inode anew. */
static uint64_t born(int fd)
{
	struct stat st, init;

	if (fstat(fd, &st) || (!stat(INIT, &init) && init.st_ino == st.st_ino))
		return 0;
	return st.st_ctim.tv_sec * 1000000000ull + st.st_ctim.tv_nsec;
}

int compartment_born(uint32_t id, uint64_t *time)
{
	int fd = open_by_id(id);

	if (fd < 0)
		return fd;
	*time = born(fd);
	close(fd);
	return 0;
}

int compartment_switch(uint32_t id, uint64_t time)
{
	int fd = open_by_id(id);

	if (fd < 0 || born(fd) == time)
		return enter(fd);
	close(fd);
	return error_set(-ENOTCONN, "compartment %u has gone", id);
}
