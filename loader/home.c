// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "home.h"

static int move(int netns)
{
	return setns(netns, CLONE_NEWNET) ? -errno : 0;
}

static int leave_the_callers(struct xdivert_injection *h)
{
	int rc;

	h->elsewhere = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (h->elsewhere < 0)
		return -errno;
	rc = move(h->x->netns);
	if (!rc)
		return 0;
	close(h->elsewhere);
	h->elsewhere = -1;
	return error_set(rc,
			 "this thread may not enter the handle's network "
			 "namespace: %s",
			 strerror(-rc));
}

int home_enter(struct xdivert_injection *h)
{
	int rc = 0;

	if (!h->at_home && !state_here(h->x))
		rc = h->elsewhere < 0 ? leave_the_callers(h)
				      : move(h->x->netns);
	h->at_home = !rc;
	return rc;
}

void home_return(struct xdivert_injection *h)
{
	/* If that should fail, whoever needs it next is told. */
	h->at_home = !move(h->x->netns);
}

int home_leave(struct xdivert_injection *h)
{
	int rc;

	h->at_home = false;
	if (h->elsewhere < 0)
		return 0;
	rc = move(h->elsewhere);
	close(h->elsewhere);
	h->elsewhere = -1;
	return rc ? error_set(rc,
			      "cannot go back to the thread's own network "
			      "namespace: %s",
			      strerror(-rc))
		  : 0;
}
