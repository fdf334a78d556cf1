/* SPDX-License-Identifier: BSD-2-Clause */
/* Which interfaces have the hook. Under state_lock(). */
#ifndef XDIVERT_ATTACH_H
#define XDIVERT_ATTACH_H

#include <xdivert.h>

int hook_count(const struct xdivert *s);
/* Forget interfaces that no longer exist; learn new names and addresses. */
void hook_prune(struct xdivert *s);
/* The namespace is gone: remove what is pinned outside of our folder. */
void hook_forget(const struct xdivert *s);

#endif
