// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crew.h"
#include "error.h"
#include "groups.h"
#include "state.h"

struct crew {
	struct crew *next;
	pid_t pid;	/* a child inherits the list, not the right */
	uint64_t netns; /* cookie: with dir, nobody else's */
	char dir[256];
	int lock; /* state_daemon_lock() */
	unsigned int shares;
	uint64_t taken; /* a bit a share */
	struct groups_of *groups;
};
_Static_assert(XDIVERT_SHARES_MAX <= 64, "a share has no bit");

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct crew *crews;

static struct crew *find(const struct xdivert *x)
{
	struct crew *c;

	for (c = crews; c; c = c->next)
		if (c->pid == getpid() && c->netns == x->shared->netns &&
		    !strcmp(c->dir, x->dir))
			return c;
	return NULL;
}

static int become_daemon(struct xdivert *x, int *lock)
{
	int rc = state_lock(x);

	if (rc)
		return rc;
	rc = state_daemon_lock(x, lock);
	state_unlock(x);
	if (rc == -EBUSY)
		return error_set(rc, "a daemon runs here already (pid %d)",
				 x->shared->daemon_pid);
	if (rc)
		return error_set(rc, "cannot become the daemon: %s",
				 strerror(-rc));
	x->shared->daemon_pid = getpid();
	return 0;
}

/* A daemon that was killed left its limits and the numbers of its taps. */
static void forget_limits(struct xdivert *x)
{
	unsigned int row;

	for (row = 0; row < XDV_ROWS; row++)
		x->occupancy[row].limit = 0;
	memset(x->shared->tap, 0, sizeof(x->shared->tap));
}

static int found(struct crew **crew, struct xdivert *x, unsigned int shares)
{
	struct crew *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return error_set(-ENOMEM, "out of memory");
	rc = groups_new(&c->groups);
	rc = rc ? error_set(rc, "out of memory") : become_daemon(x, &c->lock);
	if (rc) {
		groups_free(c->groups);
		free(c);
		return rc;
	}
	forget_limits(x);
	c->pid = getpid();
	c->netns = x->shared->netns;
	snprintf(c->dir, sizeof(c->dir), "%s", x->dir);
	c->shares = shares;
	x->shared->taps = shares;
	c->next = crews;
	crews = c;
	*crew = c;
	return 0;
}

static int join(struct crew **crew, struct xdivert *x, unsigned int share,
		unsigned int shares)
{
	struct crew *c = find(x);
	int rc;

	if (!c) {
		rc = found(&c, x, shares);
		if (rc)
			return rc;
	}
	if (c->shares != shares)
		return error_set(-EINVAL,
				 "the handles that serve here have %u shares, "
				 "not %u",
				 c->shares, shares);
	if (c->taken & 1ull << share)
		return error_set(-EBUSY, "another handle serves share %u",
				 share);
	c->taken |= 1ull << share;
	*crew = c;
	return 0;
}

int crew_join(struct crew **crew, struct xdivert *x, unsigned int share,
	      unsigned int shares)
{
	int rc;

	if (!shares || shares > XDIVERT_SHARES_MAX || share >= shares)
		return error_set(-EINVAL, "no share %u of %u; %d are the most",
				 share, shares, XDIVERT_SHARES_MAX);
	pthread_mutex_lock(&mutex);
	rc = join(crew, x, share, shares);
	pthread_mutex_unlock(&mutex);
	return rc;
}

struct groups_of *crew_groups(const struct crew *crew)
{
	return crew->groups;
}

static void disband(struct crew *crew, struct xdivert *x)
{
	struct crew **at = &crews;

	while (*at != crew)
		at = &(*at)->next;
	*at = crew->next;
	x->shared->daemon_pid = 0;
	x->shared->taps = 0;
	close(crew->lock);
	groups_free(crew->groups);
	free(crew);
}

void crew_leave(struct crew *crew, struct xdivert *x, unsigned int share)
{
	pthread_mutex_lock(&mutex);
	crew->taken &= ~(1ull << share);
	if (!crew->taken)
		disband(crew, x);
	pthread_mutex_unlock(&mutex);
}
