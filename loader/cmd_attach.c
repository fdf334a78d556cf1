// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

#define SERVE_TRIES 10000 /* of a millisecond */

static int parse_mode(const char *word, unsigned int *mode)
{
	if (!strcmp(word, "native"))
		*mode = XDV_MODE_NATIVE;
	else if (!strcmp(word, "generic"))
		*mode = XDV_MODE_GENERIC;
	else if (!strcmp(word, "tcx"))
		*mode = XDV_MODE_TCX;
	else if (!strcmp(word, "clsact"))
		*mode = XDV_MODE_CLSACT;
	else if (!strcmp(word, "auto"))
		*mode = 0;
	else
		return -1;
	return 0;
}

static int parse(int argc, char **argv, struct xdivert_attach_opts *r,
		 const char **ifname)
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
		if (c == 'k' && !strcmp(optarg, "tc")) {
			r->hook = XDV_HOOK_TC;
			continue;
		}
		if (c == 'k' && !strcmp(optarg, "xdp"))
			continue;
		if (c == '?')
			return EXIT_USAGE;
		return fail(EXIT_USAGE, "attach: '%s' is not one of %s", optarg,
			    c == 'm'   ? "native, generic (xdp), tcx, clsact "
					 "(tc), auto"
			    : c == 'f' ? "open, closed"
				       : "xdp, tc");
	}
	if (optind + 1 != argc)
		return fail(EXIT_USAGE, "attach: name one interface");
	*ifname = argv[optind];
	return 0;
}

static bool served(struct xdivert *x, const char *ifname)
{
	struct xdivert_interface list[XDV_MAX_IFACES];
	int i, n = xdivert_interfaces(x, list, XDV_MAX_IFACES);

	for (i = 0; i < n; i++)
		if (!strcmp(list[i].iface.name, ifname))
			return list[i].served == list[i].iface.queues;
	return false;
}

/* A daemon that runs serves a new interface at once; wait until it does. */
static void wait_for_daemon(struct xdivert *x, const char *ifname)
{
	int tries;

	for (tries = 0; tries < SERVE_TRIES; tries++) {
		if (!xdivert_daemon(x) || served(x, ifname))
			return;
		usleep(1000);
	}
	warn("%s: the daemon does not serve it yet; see its messages", ifname);
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

static void warn_about(const char *ifname, unsigned int mode)
{
	if (!forwarding("ipv4", ifname) && !forwarding("ipv6", ifname))
		warn("%s: the kernel does not forward, so no forward rule "
		     "matches; try 'sysctl -w net.ipv4.ip_forward=1'",
		     ifname);
	if (mode == XDV_MODE_GENERIC)
		warn("%s: in generic mode, packets that a sender on this host "
		     "left to segmentation offload are too big to be served; "
		     "use --hook tc, or turn that off there (ethtool -K DEV "
		     "tso "
		     "off gso off)",
		     ifname);
}

int cmd_attach(int argc, char **argv)
{
	struct xdivert_attach_opts opts = {.sz = sizeof(opts)};
	const char *ifname = NULL;
	struct xdivert *x;
	int rc = parse(argc, argv, &opts, &ifname);

	rc = rc ? rc : open_state(&x, true);
	if (rc)
		return rc;
	if (xdivert_attach(x, ifname, &opts)) {
		rc = fail(1, "%s", xdivert_error());
	} else {
		warn_about(ifname, opts.mode);
		wait_for_daemon(x, ifname);
	}
	xdivert_close(x);
	return rc;
}
