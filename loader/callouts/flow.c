// SPDX-License-Identifier: BSD-2-Clause
/* flow pass|drop [after N packets] [timeout S]: decide the rest of a flow. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "callout.h"
#include "error.h"
#include "packet.h"

#define USAGE "flow pass|drop [after N packets] [timeout S]"

static int parse_number(const char *word, unsigned long max, uint64_t *n)
{
	char *end;

	errno = 0;
	*n = strtoul(word, &end, 10);
	return *word < '0' || *word > '9' || *end || errno || *n > max ? -1 : 0;
}

static int parse_verdict(const char *word, unsigned int *verdict)
{
	if (!strcmp(word, "pass"))
		*verdict = XDV_FLOW_PASS;
	else if (!strcmp(word, "drop"))
		*verdict = XDV_FLOW_DROP;
	else
		return -1;
	return 0;
}

static int parse_opts(int argc, char **argv, struct xdivert_flow_opts *o)
{
	uint64_t timeout;
	int i = 2;

	if (argc < 2 || parse_verdict(argv[1], &o->verdict))
		return -1;
	if (argc - i >= 3 && !strcmp(argv[i], "after") &&
	    (!strcmp(argv[i + 2], "packets") ||
	     !strcmp(argv[i + 2], "packet"))) {
		if (parse_number(argv[i + 1], LONG_MAX, &o->after))
			return -1;
		i += 3;
	}
	if (argc - i >= 2 && !strcmp(argv[i], "timeout")) {
		if (parse_number(argv[i + 1], INT_MAX, &timeout) || !timeout)
			return -1;
		o->timeout = timeout;
		i += 2;
	}
	return i == argc ? 0 : -1;
}

static int parse(int argc, char **argv, void **state)
{
	struct xdivert_flow_opts *o = calloc(1, sizeof(*o));

	if (!o)
		return error_set(-ENOMEM, "out of memory");
	o->sz = sizeof(*o);
	if (!parse_opts(argc, argv, o)) {
		*state = o;
		return 0;
	}
	free(o);
	return error_set(-EINVAL, "expected " USAGE);
}

/* What is no flow is decided packet by packet. */
static enum xdivert_verdict run(const void *state, struct xdivert_packet *p)
{
	const struct xdivert_flow_opts *o = state;

	xdivert_flow_decide(p->h, p, o);
	if (o->after)
		return XDIVERT_CONTINUE;
	return o->verdict == XDV_FLOW_DROP ? XDIVERT_DROP : XDIVERT_INJECT;
}

const struct callout_type callout_flow = {
	.name = "flow",
	.usage = USAGE,
	.parse = parse,
	.run = run,
	.free = free,
};
