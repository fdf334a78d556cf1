/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The address sets of the rules in force, as tries in the kernel. A set is
 * known by its file's path; it is pinned, so that a change of rules need not
 * read the file again.
 */
#ifndef XDIVERT_SET_H
#define XDIVERT_SET_H

#include "filter.h"
#include "state.h"

struct set {
	char path[XDV_PATH_LEN];
	int map[2]; /* IPv4, IPv6 */
	bool fresh; /* read just now, not yet pinned */
};

struct sets {
	struct set *list;
	int n;
};

/* The set of that file, read anew or as it is; NULL after error_set(). */
const struct set *sets_get(struct sets *sets, const struct xdivert *s,
			   const char *path, bool anew);
/* These are in use now: pin what is fresh, forget all others. */
void sets_keep(struct sets *sets, const struct xdivert *s);
void sets_close(struct sets *sets);

/*
 * Append eBPF that leaves r0 = 1 if the packet's source or destination is in
 * the set, 0 if not. Registers and stack as in filter_translate().
 */
int set_emit(struct insns *is, const struct set *set, bool source,
	     int link_type, enum filter_view view);

#endif
