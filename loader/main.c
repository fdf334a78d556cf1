// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>
#include <cap-ng.h>
#include <xdp/libxdp.h>

#include "cmd.h"

const char *pin_dir;

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	bool privileged;
	const char *usage;
} commands[] = {
	{"attach", cmd_attach, true,
	 "IFACE [--mode native|generic|auto] [--fail open|closed]"},
	{"detach", cmd_detach, true, "IFACE | --all"},
	{"rule", cmd_rule, true,
	 "add NAME --filter EXPR [--iif IFACE] [--oif IFACE] [--priority N]\n"
	 "                       [--to IFACE] [--do 'CALLOUT ARGS']... | list | del NAME | flush"},
	{"run", cmd_run, true, ""},
	{"inject", cmd_inject, true,
	 "--oif IFACE (--pcap FILE | --hex BYTES) [--count N]"},
	{"completions", cmd_completions, true, "[--follow] [--json]"},
	{"stats", cmd_stats, true, "[--json]"},
	{"status", cmd_status, true, "[--json]"},
	{"version", cmd_version, false, ""},
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

int fail(int code, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "xdivert: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	return code;
}

static void usage(FILE *out)
{
	size_t i;

	fprintf(out, "usage: xdivert [--pin-dir DIR] COMMAND ...\n");
	for (i = 0; i < COMMANDS; i++)
		fprintf(out, "       xdivert %s %s\n", commands[i].name,
			commands[i].usage);
}

static bool privileged(void)
{
	capng_get_caps_process();
	return (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN) ||
		(capng_have_capability(CAPNG_EFFECTIVE, CAP_BPF) &&
		 capng_have_capability(CAPNG_EFFECTIVE, CAP_PERFMON))) &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN);
}

static int quiet_libbpf(enum libbpf_print_level level, const char *format,
			va_list args)
{
	if (!getenv("XDIVERT_DEBUG"))
		return 0;
	(void)level;
	return vfprintf(stderr, format, args);
}

static int quiet_libxdp(enum libxdp_print_level level, const char *format,
			va_list args)
{
	return quiet_libbpf((enum libbpf_print_level)level, format, args);
}

int main(int argc, char **argv)
{
	size_t i;

	libbpf_set_print(quiet_libbpf);
	libxdp_set_print(quiet_libxdp);
	while (argc > 2 && !strcmp(argv[1], "--pin-dir")) {
		pin_dir = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	for (i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		if (commands[i].privileged && !privileged())
			return fail(1,
				    "%s needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; try sudo",
				    argv[1]);
		return commands[i].run(argc - 1, argv + 1);
	}
	return fail(EXIT_USAGE, "no command '%s'; 'xdivert help' lists them",
		    argv[1]);
}
