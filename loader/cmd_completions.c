// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

#define POLL_US 50000
#define BATCH	64

/* Print what came since *seen; says how many were overwritten meanwhile. */
static void print_new(struct xdivert *x, uint64_t *seen, bool json, bool tell)
{
	struct xdv_completion list[BATCH];
	uint64_t missed = 0;
	int i, n;

	do {
		n = xdivert_completions(x, seen, list, BATCH, &missed);
		for (i = 0; i < n; i++)
			print_completion(&list[i], json);
	} while (n == BATCH);
	if (missed && tell)
		warn("%llu records missed", (unsigned long long)missed);
	fflush(stdout);
}

int cmd_completions(int argc, char **argv)
{
	bool json = false, follow = false;
	struct xdivert *x;
	uint64_t seen = 0;
	int rc, i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--follow"))
			follow = true;
		else
			return fail(EXIT_USAGE,
				    "completions: '%s' is not an option",
				    argv[i]);
	}
	rc = open_state(&x, false);
	if (rc)
		return rc;
	print_new(x, &seen, json, false);
	while (follow && !ferror(stdout)) {
		usleep(POLL_US);
		print_new(x, &seen, json, true);
	}
	xdivert_close(x);
	return 0;
}
