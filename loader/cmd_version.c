// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>

#include "cmd.h"

int cmd_version(int argc, char **argv)
{
	if (argc != 1)
		return fail(EXIT_USAGE, "version: '%s' is not an option",
			    argv[1]);
	puts("xdivert " XDIVERT_VERSION);
	return 0;
}
