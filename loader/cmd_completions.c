// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "cmd.h"

#define POLL_US 50000

/* Print what came since *seen; says how many were overwritten meanwhile. */
static void print_new(const struct state *s, __u64 *seen, bool json, bool tell)
{
	__u64 last = __atomic_load_n(&s->shared->completions, __ATOMIC_ACQUIRE);
	struct xdv_completion c;
	__u32 key;

	if (last - *seen > XDV_RECENT) {
		if (tell)
			fprintf(stderr, "xdivert: %llu records missed\n",
				(unsigned long long)(last - *seen -
						     XDV_RECENT));
		*seen = last - XDV_RECENT;
	}
	while (*seen != last) {
		key = *seen & (XDV_RECENT - 1);
		++*seen;
		if (!bpf_map_lookup_elem(s->recent, &key, &c) && c.seq == *seen)
			print_completion(&c, json);
	}
	fflush(stdout);
}

int cmd_completions(int argc, char **argv)
{
	bool json = false, follow = false;
	struct state s;
	__u64 seen = 0;
	int rc, i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--follow"))
			follow = true;
		else
			return fail(EXIT_USAGE,
				    "completions: '%s' is not an option",
				    argv[i]);
	}
	rc = open_state(&s, STATE_READ);
	if (rc)
		return rc;
	print_new(&s, &seen, json, false);
	while (follow && !ferror(stdout)) {
		usleep(POLL_US);
		print_new(&s, &seen, json, true);
	}
	state_close(&s);
	return 0;
}
