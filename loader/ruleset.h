/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules: stored as given, and compiled into programs for the hooks. */
#ifndef XDIVERT_RULESET_H
#define XDIVERT_RULESET_H

#include <xdivert.h>

/* A name that a shell and a listing take as one word; -EINVAL. */
int rule_check_name(const char *name);

/* All of the rest under state_lock(). */

int rules_flush(struct xdivert *s);
/* Make their programs anew: a hook came into use. */
int rules_rebuild(struct xdivert *s);
/* Interfaces came or went: rules that name one may mean another now. */
void rules_refresh(struct xdivert *s);

/*
 * Have the hooks run these rules, which are in order, instead of those that
 * they run. reload: read the files of address sets again. All or nothing; 0 or
 * -errno after error_set().
 */
int ruleset_install(struct xdivert *s, const struct xdv_rule *rules, int n,
		    bool reload);
/* The interface a rule names must exist; none is ifindex 0. */
int ruleset_resolve(const char *name, uint32_t *ifindex);

#endif
