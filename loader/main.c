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
	enum { NOTHING, STATE, PACKETS } needs; /* privileges, for what */
	const char *usage;
} commands[] = {
	{"attach", cmd_attach, STATE,
	 "IFACE [--hook xdp|tc] [--mode native|generic|auto]\n"
	 "                       [--fail open|closed]"},
	{"detach", cmd_detach, STATE, "IFACE | --all"},
	/* Asks for privileges where it needs them. */
	{"rule", cmd_rule, NOTHING,
	 "add NAME --filter EXPR [--iif IFACE] [--oif IFACE] [--priority N]\n"
	 "                       [--layer forward|receive|group] [--fragment "
	 "yes|no|whole]\n"
	 "                       [--src-set FILE] [--dst-set FILE] [--to "
	 "IFACE]\n"
	 "                       [--via-stack] [--returned] [--do 'CALLOUT "
	 "ARGS']...\n"
	 "       xdivert rule list [--json | --format apply] | explain NAME | "
	 "del NAME | flush | reload\n"
	 "       xdivert rule test --pcap FILE [--rules FILE] [--iif IFACE] "
	 "[--oif IFACE]\n"
	 "                       [--layer forward|receive|group] [--json]"},
	{"apply", cmd_apply, STATE, "FILE"},
	{"flow", cmd_flow, STATE, "list [--json] | flush | limit N"},
	{"run", cmd_run, PACKETS,
	 "[--workers N] [--busy-poll | --idle-poll USEC]\n"
	 "                       [--reassembly-timeout SECONDS] "
	 "[--reassembly-memory MIB]"},
	{"inject", cmd_inject, PACKETS,
	 "--oif IFACE (--pcap FILE | --hex BYTES) [--count N] [--rate PPS]\n"
	 "                       [--via-stack]"},
	{"completions", cmd_completions, STATE, "[--follow] [--json]"},
	{"stats", cmd_stats, STATE, "[--watch] [--json] | --prometheus"},
	{"status", cmd_status, STATE, "[--json]"},
	{"version", cmd_version, NOTHING, ""},
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

void warn(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "xdivert: warning: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
}

static void usage(FILE *out)
{
	size_t i;

	fprintf(out, "usage: xdivert [--pin-dir DIR] [--compartment NAME] "
		     "COMMAND ...\n");
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

int need_privileges(const char *what)
{
	return privileged() ? 0
			    : fail(1,
				   "%s needs CAP_BPF, CAP_PERFMON and "
				   "CAP_NET_ADMIN; try sudo",
				   what);
}

static int need_sockets(const char *what)
{
	return capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_RAW)
		       ? 0
		       : fail(1, "%s needs CAP_NET_RAW, too; try sudo", what);
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

/* Remove "name VALUE" from the arguments; -1 if the value is missing. */
static int take_option(int *argc, char **argv, const char *name,
		       const char **value)
{
	int i;

	for (i = 1; i < *argc; i++) {
		if (strcmp(argv[i], name))
			continue;
		if (i + 1 == *argc)
			return -1;
		*value = argv[i + 1];
		memmove(&argv[i], &argv[i + 2],
			(*argc - i - 1) * sizeof(*argv));
		*argc -= 2;
		return 0;
	}
	return 0;
}

static int run(const struct command *c, int argc, char **argv,
	       const char *compartment)
{
	char name[64];

	if (c->needs != NOTHING && need_privileges(c->name))
		return 1;
	if (c->needs == PACKETS && need_sockets(c->name))
		return 1;
	if (compartment && xdivert_compartment_enter(compartment))
		return fail(1, "%s", xdivert_error());
	/* What getopt puts before its complaints. */
	snprintf(name, sizeof(name), "xdivert: %s", c->name);
	argv[0] = name;
	return c->run(argc, argv);
}

int main(int argc, char **argv)
{
	const char *compartment = NULL;
	size_t i;

	libbpf_set_print(quiet_libbpf);
	libxdp_set_print(quiet_libxdp);
	if (take_option(&argc, argv, "--pin-dir", &pin_dir) ||
	    take_option(&argc, argv, "--compartment", &compartment))
		return fail(EXIT_USAGE,
			    "--pin-dir and --compartment need a value");
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version"))
		return cmd_version(1, argv);
	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return run(&commands[i], argc - 1, argv + 1,
				   compartment);
	return fail(EXIT_USAGE, "no command '%s'; 'xdivert help' lists them",
		    argv[1]);
}
