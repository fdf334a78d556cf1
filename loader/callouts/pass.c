// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>

#include "callout.h"

static int parse(int argc, char **argv, void **state, char *err, size_t errlen)
{
	(void)argv;
	(void)state;
	if (argc == 1)
		return 0;
	snprintf(err, errlen, "pass takes no arguments");
	return -EINVAL;
}

static enum verdict run(const void *state, struct packet *p)
{
	(void)state;
	(void)p;
	return VERDICT_INJECT;
}

const struct callout_type callout_pass = {
	.name = "pass",
	.usage = "pass",
	.parse = parse,
	.run = run,
};
