// SPDX-License-Identifier: BSD-2-Clause
#include <stdlib.h>

#include "cmd.h"

int cmd_apply(int argc, char **argv)
{
	struct xdv_rule *rules;
	struct xdivert *x;
	int rc, n;

	if (argc != 2)
		return fail(EXIT_USAGE, "apply: name one file (- is standard "
					"input)");
	n = read_rules(argv[1], 0, &rules);
	if (n < 0)
		return 1;
	rc = open_state(&x, true);
	if (!rc) {
		if (xdivert_rules_apply(x, rules, n))
			rc = fail(1, "%s: %s", argv[1], xdivert_error());
		xdivert_close(x);
	}
	free(rules);
	return rc;
}
