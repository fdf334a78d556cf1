// SPDX-License-Identifier: BSD-2-Clause
/* The daemon: its workers, a thread each, and the signals that end it. */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "cmd.h"
#include "daemon.h"

struct worker {
	struct daemon *daemon;
	pthread_t thread;
	bool started;
};

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	daemon_loop(w->daemon);
	return NULL;
}

static int start(struct worker *workers, unsigned int n, long idle_poll,
		 const struct xdivert_reassembly_opts *reassembly)
{
	unsigned int i;
	int rc;

	for (i = 0; i < n; i++) {
		rc = daemon_open(&workers[i].daemon, i, n, idle_poll);
		if (rc)
			return rc;
	}
	/* They share what waits for its rest. */
	rc = daemon_reassembly(workers[0].daemon, reassembly);
	if (rc)
		return rc;
	for (i = 0; i < n; i++) {
		rc = pthread_create(&workers[i].thread, NULL, work,
				    &workers[i]);
		if (rc)
			return fail(1, "cannot start a thread: %s",
				    strerror(rc));
		workers[i].started = true;
	}
	return 0;
}

static void stop(struct worker *workers, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (workers[i].started)
			daemon_stop(workers[i].daemon);
	for (i = 0; i < n; i++)
		if (workers[i].started)
			pthread_join(workers[i].thread, NULL);
	for (i = 0; i < n; i++)
		if (workers[i].daemon)
			daemon_close(workers[i].daemon);
}

/* What the rules refer to; the workers see by themselves when rules change. */
static void reload_sets(void)
{
	struct xdivert *x;

	if (open_state(&x, false))
		return;
	if (xdivert_rules_reload(x))
		fail(1, "%s; the rules stay as they are", xdivert_error());
	xdivert_close(x);
}

static void wait_for_end(struct worker *workers, unsigned int n, sigset_t *set)
{
	unsigned int i;
	int signal = 0;

	while (!sigwait(set, &signal) && signal == SIGHUP) {
		reload_sets();
		for (i = 0; i < n; i++)
			daemon_reload(workers[i].daemon);
	}
}

static int run(unsigned int n, long idle_poll,
	       const struct xdivert_reassembly_opts *reassembly)
{
	struct worker workers[XDIVERT_SHARES_MAX] = {0};
	unsigned int queues;
	sigset_t set;
	int rc;

	block_signals(&set);
	rc = start(workers, n, idle_poll, reassembly);
	if (!rc) {
		queues = daemon_queues(workers[0].daemon);
		fprintf(stderr, "xdivert: ready: %u queue%s\n", queues,
			queues == 1 ? "" : "s");
		sd_notify(0, "READY=1");
		wait_for_end(workers, n, &set);
		sd_notify(0, "STOPPING=1");
	}
	stop(workers, n);
	return rc;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"workers", required_argument, NULL, 'w'},
		{"busy-poll", no_argument, NULL, 'b'},
		{"idle-poll", required_argument, NULL, 'i'},
		{"reassembly-timeout", required_argument, NULL, 't'},
		{"reassembly-memory", required_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	struct xdivert_reassembly_opts reassembly = {.sz = sizeof(reassembly)};
	long workers = 1, idle_poll = -1, n;
	bool busy_poll = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			busy_poll = true;
			continue;
		case 'i':
			if (!parse_number(optarg, 0, 1000000, &idle_poll))
				continue;
			return fail(EXIT_USAGE,
				    "run: --idle-poll needs 0 to 1000000 "
				    "microseconds, not '%s'",
				    optarg);
		case 'w':
			if (!parse_number(optarg, 1, XDIVERT_SHARES_MAX,
					  &workers))
				continue;
			return fail(EXIT_USAGE,
				    "run: '%s' workers; 1 to %d are possible",
				    optarg, XDIVERT_SHARES_MAX);
		case 't':
			if (parse_number(optarg, 1, 3600, &n))
				return fail(EXIT_USAGE,
					    "run: --reassembly-timeout needs 1 "
					    "to 3600 seconds, not '%s'",
					    optarg);
			reassembly.timeout4_ms = n * 1000;
			reassembly.timeout6_ms = n * 1000;
			continue;
		case 'm':
			if (parse_number(optarg, 1, 4096, &n))
				return fail(EXIT_USAGE,
					    "run: --reassembly-memory needs 1 "
					    "to 4096 MiB, not '%s'",
					    optarg);
			reassembly.memory = (uint64_t)n << 20;
			continue;
		}
		return EXIT_USAGE;
	}
	if (optind != argc)
		return fail(EXIT_USAGE, "run: '%s' is not an option",
			    argv[optind]);
	if (busy_poll && idle_poll >= 0)
		return fail(EXIT_USAGE, "run: --busy-poll never sleeps: "
					"--idle-poll cannot be with it");
	if (idle_poll < 0)
		idle_poll = busy_poll ? BUSY_POLL : XDIVERT_IDLE_POLL_US;
	return run(workers, idle_poll, &reassembly);
}
