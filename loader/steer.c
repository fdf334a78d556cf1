// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "steer.h"

struct job {
	const char *ifname;
	int rc;
};

/* Is there any CPU in the mask? It is read as "00000000,00000003", say. */
static bool steers_by_default(void)
{
	char mask[4096];
	int fd = open("/proc/sys/net/core/rps_default_mask",
		      O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, mask, sizeof(mask) - 1);
	close(fd);
	mask[n > 0 ? n : 0] = '\0';
	return strspn(mask, "0,\n") != strlen(mask);
}

/* One receive queue: so we make them. */
static int write_mask(const char *ifname)
{
	char path[128];
	int fd, rc;

	snprintf(path, sizeof(path), "/sys/class/net/%s/queues/rx-0/rps_cpus",
		 ifname);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = write(fd, "0", 1) == 1 ? 0 : -errno;
	close(fd);
	return rc;
}

/* The sysfs that is mounted may be of another network namespace. */
static void *in_own_sysfs(void *arg)
{
	struct job *job = arg;

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL))
		job->rc = -errno;
	else
		job->rc = write_mask(job->ifname);
	return NULL;
}

int steer_nowhere(const char *ifname)
{
	struct job job = {.ifname = ifname};
	pthread_t thread;
	int rc;

	if (!steers_by_default())
		return 0;
	rc = pthread_create(&thread, NULL, in_own_sysfs, &job);
	if (rc)
		return -rc;
	pthread_join(thread, NULL);
	return job.rc;
}
