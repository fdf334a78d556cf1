/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules: stored as given, and compiled into one program for the hook. */
#ifndef XDIVERT_RULESET_H
#define XDIVERT_RULESET_H

#include <stddef.h>

#include "state.h"

/* All rules in the order in which they are tried; the caller frees *rules. */
int ruleset_read(const struct state *s, struct xdv_rule **rules);

/* Under state_lock(). 0, or -errno with a sentence in err; all or nothing. */
int ruleset_add(struct state *s, struct xdv_rule *rule, char *err,
		size_t errlen);
int ruleset_del(struct state *s, const char *name, char *err, size_t errlen);
int ruleset_flush(struct state *s, char *err, size_t errlen);

#endif
