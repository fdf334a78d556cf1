// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"

int cmd_detach(int argc, char **argv)
{
	bool all = argc == 2 && !strcmp(argv[1], "--all");
	struct xdivert_open_opts opts = {.sz = sizeof(opts),
					 .pin_dir = pin_dir};
	struct xdivert *x;
	int rc = 0, err;

	if (argc != 2 || (argv[1][0] == '-' && !all))
		return fail(EXIT_USAGE, "detach: name one interface, or --all");
	err = xdivert_open(&x, &opts);
	/* Everything is detached when there is nothing. */
	if (err == -ENOTCONN && all)
		return 0;
	if (err)
		return fail(1, "%s", xdivert_error());
	if (all ? xdivert_detach_all(x) : xdivert_detach(x, argv[1]))
		rc = fail(1, "%s", xdivert_error());
	else if (all && xdivert_daemon(x))
		warn("the daemon (pid %d) still runs; its maps go when it ends",
		     xdivert_daemon(x));
	xdivert_close(x);
	return rc;
}
