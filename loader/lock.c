// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who may change a compartment's pinned state, who serves it, and who has a
 * handle: flocks of folders in bpffs, so that they end with their process.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "state.h"

/* The folder may have been removed meanwhile, and another made. */
static int check_folder(const struct xdivert *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!st.st_nlink || (s->folder && s->folder != st.st_ino))
		return -ENOTCONN;
	return 0;
}

static int lock_dir(struct xdivert *s, int how)
{
	int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return errno == ENOENT ? -ENOTCONN : -errno;
	rc = flock(fd, how) ? -errno : check_folder(s, fd);
	if (rc) {
		close(fd);
		return rc;
	}
	s->owner = pthread_self();
	__atomic_store_n(&s->lock, fd, __ATOMIC_RELEASE);
	return 0;
}

/* The flock is between processes, the mutex between threads. */
static int lock_how(struct xdivert *s, int how)
{
	int rc = state_check_here(s);

	if (rc)
		return rc;
	rc = how & LOCK_NB ? pthread_mutex_trylock(&s->mutex)
			   : pthread_mutex_lock(&s->mutex);

	if (rc)
		return -rc;
	rc = lock_dir(s, how);
	if (rc)
		pthread_mutex_unlock(&s->mutex);
	if (rc == -ENOTCONN)
		return error_set(
			rc, "not ready: everything was detached meanwhile");
	return rc ? error_set(rc, "cannot lock %s: %s", s->dir, strerror(-rc))
		  : 0;
}

int state_lock(struct xdivert *s)
{
	return lock_how(s, LOCK_EX);
}

int state_trylock(struct xdivert *s)
{
	return lock_how(s, LOCK_EX | LOCK_NB);
}

bool state_locked(const struct xdivert *s)
{
	return __atomic_load_n(&s->lock, __ATOMIC_ACQUIRE) >= 0 &&
	       pthread_equal(s->owner, pthread_self());
}

void state_unlock(struct xdivert *s)
{
	if (!state_locked(s))
		return;
	close(s->lock);
	s->lock = -1;
	pthread_mutex_unlock(&s->mutex);
}

int state_lock_folder(const struct xdivert *s, const char *name, int how,
		      int *fd)
{
	char path[320];
	int err;

	state_path(s, name, path, sizeof(path));
	err = state_make_dir(path);
	if (err)
		return err;
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return -errno;
	if (!flock(*fd, how | LOCK_NB))
		return 0;
	err = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(*fd);
	*fd = -1;
	return err;
}

int state_daemon_lock(const struct xdivert *s, int *fd)
{
	int tries, err = -EBUSY;

	/* Somebody who asks whether a daemon runs has it for an instant. */
	for (tries = 0; err == -EBUSY && tries < 50; tries++) {
		if (tries)
			usleep(1000);
		err = state_lock_folder(s, "daemon", LOCK_EX, fd);
	}
	return err;
}

int state_handle_lock(const struct xdivert *s, int *fd)
{
	return state_lock_folder(s, "handles", LOCK_SH, fd);
}

static bool held(const struct xdivert *s, const char *name, int how)
{
	int fd, err = state_lock_folder(s, name, how, &fd);

	if (!err)
		close(fd);
	return err == -EBUSY;
}

/* Shared, so that those who ask do not see each other. */
bool state_daemon_runs(const struct xdivert *s)
{
	return held(s, "daemon", LOCK_SH);
}

bool state_has_handles(const struct xdivert *s)
{
	return held(s, "handles", LOCK_EX);
}
