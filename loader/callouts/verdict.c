// SPDX-License-Identifier: BSD-2-Clause
/* drop and pass: callouts that only decide. */
#include <errno.h>
#include <stdio.h>

#include "callout.h"

static int parse(int argc, char **argv, void **state, char *err, size_t errlen)
{
	(void)state;
	if (argc == 1)
		return 0;
	snprintf(err, errlen, "%s takes no arguments", argv[0]);
	return -EINVAL;
}

static enum verdict run_drop(const void *state, struct packet *p)
{
	(void)state;
	(void)p;
	return VERDICT_DROP;
}

static enum verdict run_pass(const void *state, struct packet *p)
{
	(void)state;
	(void)p;
	return VERDICT_INJECT;
}

const struct callout_type callout_drop = {
	.name = "drop",
	.usage = "drop",
	.parse = parse,
	.run = run_drop,
};

const struct callout_type callout_pass = {
	.name = "pass",
	.usage = "pass",
	.parse = parse,
	.run = run_pass,
};
