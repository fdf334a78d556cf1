// SPDX-License-Identifier: BSD-2-Clause
#include "cmd.h"
#include "daemon.h"

int cmd_run(int argc, char **argv)
{
	struct xdivert *x;
	int rc;

	if (argc != 1)
		return fail(EXIT_USAGE, "run: '%s' is not an option", argv[1]);
	rc = open_state(&x, true);
	if (rc)
		return rc;
	rc = daemon_run(x);
	xdivert_close(x);
	return rc;
}
