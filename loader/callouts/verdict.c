// SPDX-License-Identifier: BSD-2-Clause
/* drop and pass: callouts that only decide. */
#include <errno.h>
#include <stdio.h>

#include "callout.h"
#include "error.h"

static int parse(int argc, char **argv, void **state)
{
	(void)state;
	if (argc == 1)
		return 0;
	return error_set(-EINVAL, "%s takes no arguments", argv[0]);
}

static enum xdivert_verdict run_drop(const void *state,
				     struct xdivert_packet *p)
{
	(void)state;
	(void)p;
	return XDIVERT_DROP;
}

static enum xdivert_verdict run_pass(const void *state,
				     struct xdivert_packet *p)
{
	(void)state;
	(void)p;
	return XDIVERT_INJECT;
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
