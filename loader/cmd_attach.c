// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "attach.h"
#include "cmd.h"

#define SERVE_TRIES 2000 /* of a millisecond */

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
		return fail(EXIT_USAGE, "attach: '%s' is not one of %s", optarg,
			    c == 'm'   ? "native, generic, auto"
			    : c == 'f' ? "open, closed"
				       : "xdp");
	}
	if (optind + 1 != argc)
		return fail(EXIT_USAGE, "attach: name one interface");
	r->ifname = argv[optind];
	return 0;
}

/* A daemon that runs serves a new interface at once; wait until it does. */
static void wait_for_daemon(const struct state *s, const char *ifname)
{
	__u32 ifindex = if_nametoindex(ifname);
	struct xdv_iface iface;
	int tries;

	for (tries = 0; tries < SERVE_TRIES; tries++) {
		if (!state_daemon_runs(s) ||
		    bpf_map_lookup_elem(s->ifaces, &ifindex, &iface) ||
		    state_served(s, &iface) == iface.queues)
			return;
		usleep(1000);
	}
	fprintf(stderr,
		"xdivert: warning: %s: the daemon does not serve it yet; see "
		"its messages\n",
		ifname);
}

static bool forwarding(const char *family, const char *ifname)
{
	char path[128], digit = '1';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/forwarding",
		 family, ifname);
	file = fopen(path, "re");
	if (!file)
		return true;
	digit = fgetc(file);
	fclose(file);
	return digit != '0';
}

static void warn_about_forwarding(const char *ifname)
{
	if (forwarding("ipv4", ifname) || forwarding("ipv6", ifname))
		return;
	fprintf(stderr,
		"xdivert: warning: %s: the kernel does not forward, so nothing "
		"is diverted; try 'sysctl -w net.ipv4.ip_forward=1'\n",
		ifname);
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
	state_unlock(&s);
	if (!rc) {
		warn_about_forwarding(request.ifname);
		wait_for_daemon(&s, request.ifname);
	}
	state_close(&s);
	return rc;
}
