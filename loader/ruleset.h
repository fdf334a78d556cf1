/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules: stored as given, and compiled into one program for the hook. */
#ifndef XDIVERT_RULESET_H
#define XDIVERT_RULESET_H

#include <xdivert.h>

/* Under state_lock(). */
int ruleset_flush(struct xdivert *s);
/* Interfaces came or went: rules that name one may mean another now. */
void ruleset_refresh(struct xdivert *s);

#endif
