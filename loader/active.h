/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules as a worker of the daemon uses them: callouts by rule id. */
#ifndef XDIVERT_ACTIVE_H
#define XDIVERT_ACTIVE_H

#include <xdivert.h>

struct active_rule {
	uint32_t id;
	uint32_t to; /* ifindex, 0: where the FIB says */
	/* IFACE@NETNS: asked for each packet, for either may be another one by
	 * then; "": here.
	 */
	char elsewhere[XDV_NAME_LEN];
	bool complained; /* about that */
	bool via_stack;
	bool returned; /* ask it about what we injected as well */
	struct xdivert_callout *callout[XDV_MAX_CALLOUTS];
	int callouts;
	/* It cannot do what it says: its packets are dropped. */
	bool misses_callout, misses_to;
};

struct active_rules {
	struct active_rule *rules; /* by id */
	int n;
	uint64_t generation;
};

/* Take in what changed. */
void active_load(struct active_rules *a, struct xdivert *x);
struct active_rule *active_find(const struct active_rules *a, uint32_t id);
void active_free(struct active_rules *a);

#endif
