// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "attach.h"
#include "cmd.h"

static int parse_mode(const char *word, unsigned int *mode)
{
	if (!strcmp(word, "native"))
		*mode = XDV_MODE_NATIVE;
	else if (!strcmp(word, "generic"))
		*mode = XDV_MODE_GENERIC;
	else if (!strcmp(word, "auto"))
		*mode = 0;
	else
		return -1;
	return 0;
}

static int parse(int argc, char **argv, struct attach_request *r)
{
	static const struct option options[] = {
		{"mode", required_argument, NULL, 'm'},
		{"fail", required_argument, NULL, 'f'},
		{"hook", required_argument, NULL, 'k'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'm' && !parse_mode(optarg, &r->mode))
			continue;
		if (c == 'f' && !strcmp(optarg, "closed")) {
			r->fail = XDV_FAIL_CLOSED;
			continue;
		}
		if (c == 'f' && !strcmp(optarg, "open"))
			continue;
		if (c == 'k' && !strcmp(optarg, "xdp"))
			continue;
		if (c == '?')
			return EXIT_USAGE;
		return fail(EXIT_USAGE,
			    "attach: '%s' is not one of %s", optarg,
			    c == 'm' ? "native, generic, auto" :
			    c == 'f' ? "open, closed" :
				       "xdp");
	}
	if (optind + 1 != argc)
		return fail(EXIT_USAGE, "attach: name one interface");
	r->ifname = argv[optind];
	return 0;
}

int cmd_attach(int argc, char **argv)
{
	struct attach_request request = {0};
	struct state s;
	char err[256] = "";
	int rc = parse(argc, argv, &request);

	rc = rc ? rc : open_state(&s, STATE_CREATE);
	if (rc)
		return rc;
	state_lock(&s);
	if (hook_attach(&s, &request, err, sizeof(err)))
		rc = fail(1, "%s", err);
	if (rc && !hook_count(&s) && !state_daemon_runs(&s) &&
	    !s.shared->next_rule)
		state_remove(&s);
	state_close(&s);
	return rc;
}
