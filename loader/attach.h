/* SPDX-License-Identifier: BSD-2-Clause */
/* Put the hook on an interface and take it off. */
#ifndef XDIVERT_ATTACH_H
#define XDIVERT_ATTACH_H

#include <stddef.h>

#include "state.h"

struct attach_request {
	const char *ifname;
	unsigned int mode; /* enum xdv_mode, 0: native, else generic */
	unsigned int fail; /* enum xdv_fail */
};

/*
 * 0, or -errno with a sentence in err. Nothing is left behind on failure.
 * -EEXIST: ours is attached already; -EBUSY: another XDP program is in the way.
 */
int hook_attach(struct state *s, const struct attach_request *request,
		char *err, size_t errlen);
/* -ENOENT if ours is not attached there. */
int hook_detach(struct state *s, const char *ifname, char *err, size_t errlen);
int hook_detach_all(struct state *s);
/* How many interfaces are attached. */
int hook_count(const struct state *s);
/* Forget interfaces that no longer exist. */
void hook_prune(struct state *s);

#endif
