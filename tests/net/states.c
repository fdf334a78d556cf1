// SPDX-License-Identifier: BSD-2-Clause
/*
 * ./states CONTEXT: divert, print each packet's injection state (as its own
 * handle sees it, as a bystander does, and the context), and send it on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <xdivert.h>

static const char *const names[] = {
	[XDIVERT_NOT_INJECTED] = "not",
	[XDIVERT_INJECTED_BY_SELF] = "self",
	[XDIVERT_INJECTED_BY_OTHER] = "other",
	[XDIVERT_PREVIOUSLY_INJECTED_BY_SELF] = "previously-self",
	[XDIVERT_PREVIOUSLY_INJECTED_BY_OTHER] = "previously-other",
};

static struct xdivert_injection *handle, *bystander;
static uint64_t context;

static void classify(void *arg, struct xdivert_packet *p,
		     const struct xdivert_metadata *m,
		     enum xdivert_verdict *verdict)
{
	int family = *xdivert_packet_data(p) >> 4 == 6 ? AF_INET6 : AF_INET;
	uint64_t given = 0;

	(void)arg;
	printf("%s ", names[xdivert_query_injection_state(handle, p, &given)]);
	printf("%s %llu\n",
	       names[xdivert_query_injection_state(bystander, p, NULL)],
	       (unsigned long long)given);
	fflush(stdout);
	*verdict = xdivert_inject_forward_async(handle, context, 0, family, 0,
						m->oif, p, NULL, NULL)
			   ? XDIVERT_DROP
			   : XDIVERT_ABSORB;
}

int main(int argc, char **argv)
{
	struct xdivert *x;

	context = argc == 2 ? strtoull(argv[1], NULL, 0) : 0;
	if (xdivert_open(&x, NULL) ||
	    xdivert_injection_create(&handle, x, AF_UNSPEC, XDIVERT_KIND_ALL) ||
	    xdivert_injection_create(&bystander, x, AF_UNSPEC,
				     XDIVERT_KIND_FORWARD) ||
	    xdivert_callout_register(handle, classify, NULL) ||
	    xdivert_serve(handle))
		return fprintf(stderr, "%s\n", xdivert_error()), 1;
	puts("ready");
	fflush(stdout);
	while (xdivert_dispatch(handle, -1) >= 0)
		;
	return 1;
}
