/* SPDX-License-Identifier: BSD-2-Clause */
/* Callouts: what a rule's --do does to a packet. One file each in callouts/. */
#ifndef XDIVERT_CALLOUT_H
#define XDIVERT_CALLOUT_H

#include <xdivert.h>

struct callout_type {
	const char *name;
	const char *usage;
	/* 0, or -EINVAL after error_set(). argv[0] is the name. */
	int (*parse)(int argc, char **argv, void **state);
	enum xdivert_verdict (*run)(const void *state,
				    struct xdivert_packet *p);
	void (*free)(void *state);
};

extern const struct callout_type callout_set, callout_replace, callout_flow,
	callout_drop, callout_pass;

#endif
