// SPDX-License-Identifier: BSD-2-Clause
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "home.h"

void home_enter(struct xdivert_injection *h)
{
	if (h->at_home)
		return;
	h->at_home = true;
	if (state_here(h->x))
		return;
	h->elsewhere = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	home_return(h);
}

void home_return(const struct xdivert_injection *h)
{
	setns(h->x->netns, CLONE_NEWNET);
}

void home_leave(struct xdivert_injection *h)
{
	h->at_home = false;
	if (h->elsewhere < 0)
		return;
	setns(h->elsewhere, CLONE_NEWNET);
	close(h->elsewhere);
	h->elsewhere = -1;
}
