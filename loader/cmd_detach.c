// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>

#include "cmd.h"

int cmd_detach(int argc, char **argv)
{
	bool all = argc == 2 && !strcmp(argv[1], "--all");
	struct xdivert *x;
	int rc;

	if (argc != 2 || (argv[1][0] == '-' && !all))
		return fail(EXIT_USAGE, "detach: name one interface, or --all");
	/* To create is also to remove what a namespace of this name left. */
	rc = open_state(&x, all);
	if (rc)
		return rc;
	if (all ? xdivert_detach_all(x) : xdivert_detach(x, argv[1]))
		rc = fail(1, "%s", xdivert_error());
	else if (all && xdivert_daemon(x))
		warn("the daemon (pid %d) still runs; its maps go when it ends",
		     xdivert_daemon(x));
	xdivert_close(x);
	return rc;
}
