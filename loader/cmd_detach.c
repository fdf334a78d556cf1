// SPDX-License-Identifier: BSD-2-Clause
#include <string.h>

#include "attach.h"
#include "cmd.h"
#include "ruleset.h"

int cmd_detach(int argc, char **argv)
{
	struct state s;
	char err[256] = "";
	bool all = argc == 2 && !strcmp(argv[1], "--all");
	int rc;

	if (argc != 2 || (argv[1][0] == '-' && !all))
		return fail(EXIT_USAGE, "detach: name one interface, or --all");
	rc = open_state(&s, STATE_READ);
	if (rc)
		return rc;
	state_lock(&s);
	if (all) {
		if (hook_detach_all(&s))
			rc = fail(1, "cannot detach every interface");
		ruleset_flush(&s, err, sizeof(err));
	} else if (hook_detach(&s, argv[1], err, sizeof(err))) {
		rc = fail(1, "%s", err);
	}
	/* State lives as long as an interface is attached or a daemon runs. */
	if (!rc && !hook_count(&s) && !state_daemon_runs(&s))
		state_remove(&s);
	state_close(&s);
	return rc;
}
