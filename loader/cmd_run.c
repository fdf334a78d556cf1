// SPDX-License-Identifier: BSD-2-Clause
#include "attach.h"
#include "cmd.h"
#include "daemon.h"

int cmd_run(int argc, char **argv)
{
	struct state s;
	int rc;

	if (argc != 1)
		return fail(EXIT_USAGE, "run: '%s' is not an option", argv[1]);
	rc = open_state(&s, STATE_CREATE);
	if (rc)
		return rc;
	rc = daemon_run(&s) ? 1 : 0;
	state_lock(&s);
	if (!hook_count(&s) && !state_daemon_runs(&s))
		state_remove(&s);
	state_close(&s);
	return rc;
}
