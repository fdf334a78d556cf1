/* SPDX-License-Identifier: BSD-2-Clause */
/* Callouts: what a rule's --do does to a packet. One file each in callouts/. */
#ifndef XDIVERT_CALLOUT_H
#define XDIVERT_CALLOUT_H

#include <stddef.h>

struct packet;
struct callout;

enum verdict {
	VERDICT_CONTINUE, /* ask the next callout; after the last one: inject */
	VERDICT_INJECT,
	VERDICT_DROP,
};

struct callout_type {
	const char *name;
	const char *usage;
	/* 0 or -EINVAL with a sentence in err. argv[0] is the name. */
	int (*parse)(int argc, char **argv, void **state, char *err,
		     size_t errlen);
	enum verdict (*run)(const void *state, struct packet *p);
	void (*free)(void *state);
};

extern const struct callout_type callout_set, callout_replace, callout_drop,
	callout_pass;

/*
 * Parse "NAME ARGS" (words as the shell splits them: '...', "...", \x). The
 * result is the caller's, for callout_free(). 0, -EINVAL with a sentence in
 * err, or -ENOMEM.
 */
int callout_parse(const char *text, struct callout **callout, char *err,
		  size_t errlen);
enum verdict callout_run(const struct callout *callout, struct packet *p);
void callout_free(struct callout *callout);

#endif
