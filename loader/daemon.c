// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "attach.h"
#include "callout.h"
#include "daemon.h"
#include "handle.h"
#include "queue.h"
#include "ruleset.h"

#define BATCH	     64
#define CALLOUTS_MAX 16
#define BUSY_WAIT    5 /* ms */
#define BUSY_TRIES   200

struct active_rule {
	uint32_t id;
	uint32_t to; /* ifindex, 0: where the FIB says */
	struct callout *callout[CALLOUTS_MAX];
	int callouts;
};

struct daemon {
	struct state *s;
	struct handle *h;
	struct queues *q;
	struct active_rule *rules;
	int rule_count;
	uint64_t generation;
	int signals;
	int changes;	/* inotify: attach and detach */
	int busy_tries; /* to open a queue that somebody still has */
	bool stopping;
};

static void complain(const char *what)
{
	fprintf(stderr, "xdivert: %s\n", what);
}

static void free_rules(struct daemon *d)
{
	int i, j;

	for (i = 0; i < d->rule_count; i++)
		for (j = 0; j < d->rules[i].callouts; j++)
			callout_free(d->rules[i].callout[j]);
	free(d->rules);
	d->rules = NULL;
	d->rule_count = 0;
}

static void load_rule(struct active_rule *to, struct xdv_rule *from)
{
	char *line, *rest = from->actions, err[256];

	to->id = from->id;
	to->to = *from->to ? if_nametoindex(from->to) : 0;
	while ((line = strsep(&rest, "\n"))) {
		if (!*line || to->callouts == CALLOUTS_MAX)
			continue;
		if (!callout_parse(line, &to->callout[to->callouts], err,
				   sizeof(err)))
			to->callouts++;
		else
			complain(err);
	}
}

static void load_rules(struct daemon *d)
{
	struct xdv_rule *rules;
	int i, n;

	d->generation =
		__atomic_load_n(&d->s->shared->generation, __ATOMIC_ACQUIRE);
	n = ruleset_read(d->s, &rules);
	if (n < 0)
		return;
	free_rules(d);
	d->rules = calloc(n + 1, sizeof(*d->rules));
	for (i = 0; d->rules && i < n; i++)
		load_rule(&d->rules[i], &rules[i]);
	d->rule_count = d->rules ? n : 0;
	free(rules);
}

static const struct active_rule *find_rule(const struct daemon *d, uint32_t id)
{
	int i;

	for (i = 0; i < d->rule_count; i++)
		if (d->rules[i].id == id)
			return &d->rules[i];
	return NULL;
}

static void drop(struct daemon *d, struct packet *p)
{
	__atomic_fetch_add(&d->s->shared->dropped, 1, __ATOMIC_RELAXED);
	packet_free(d->h, p);
}

/* What follows the IP packet in a short frame is padding. */
static bool trim(struct packet *p)
{
	uint32_t len = 0;

	if (p->len >= 20 && p->data[0] >> 4 == 4)
		len = p->data[2] << 8 | p->data[3];
	else if (p->len >= 40 && p->data[0] >> 4 == 6)
		len = 40 + (p->data[4] << 8 | p->data[5]);
	if (len < 20 || len > p->len)
		return false;
	p->len = len;
	return true;
}

static enum verdict ask(const struct active_rule *rule, struct packet *p)
{
	enum verdict verdict = VERDICT_CONTINUE;
	int i;

	for (i = 0; i < rule->callouts && verdict == VERDICT_CONTINUE; i++)
		verdict = callout_run(rule->callout[i], p);
	return verdict;
}

static void handle_packet(struct daemon *d, struct packet *p)
{
	const struct active_rule *rule = find_rule(d, p->rule);
	uint32_t target = rule && rule->to ? rule->to : p->oif;
	struct headers headers;

	if (!trim(p)) {
		drop(d, p);
		return;
	}
	if (!packet_parse(p->data, p->len, &headers))
		csum_complete(p->data, p->len, &headers);
	if (rule && ask(rule, p) == VERDICT_DROP) {
		drop(d, p);
		return;
	}
	if (handle_inject(d->h, p, target, 0, XDV_DESC_DECREMENT_TTL))
		drop(d, p);
}

static unsigned int serve(struct daemon *d)
{
	struct packet *batch[BATCH];
	unsigned int i, n = queues_receive(d->q, batch, BATCH);
	int err;

	if (!n)
		return 0;
	if (d->generation !=
	    __atomic_load_n(&d->s->shared->generation, __ATOMIC_ACQUIRE))
		load_rules(d);
	for (i = 0; i < n; i++)
		handle_packet(d, batch[i]);
	err = handle_submit(d->h);
	if (err)
		fprintf(stderr, "xdivert: injection failed: %s\n",
			strerror(-err));
	queues_refill(d->q);
	return n;
}

static void completed(void *arg, struct packet *packet,
		      const struct xdv_completion *completion)
{
	struct daemon *d = arg;

	(void)completion;
	packet_free(d->h, packet);
}

static void update_interfaces(struct daemon *d)
{
	char events[4096], err[256];
	int rc;

	while (read(d->changes, events, sizeof(events)) > 0)
		;
	state_lock(d->s);
	hook_prune(d->s);
	state_unlock(d->s);
	rc = queues_update(d->q, err, sizeof(err));
	/* The kernel frees the sockets of a detached interface a little later
	 * than we close them.
	 */
	if (rc == -EBUSY && d->busy_tries < BUSY_TRIES) {
		d->busy_tries++;
		return;
	}
	d->busy_tries = 0;
	if (rc)
		complain(err);
}

static void read_signal(struct daemon *d)
{
	struct signalfd_siginfo info;

	if (read(d->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		load_rules(d);
	else
		d->stopping = true;
}

static void loop(struct daemon *d)
{
	struct pollfd fds[] = {
		{.fd = queues_fd(d->q), .events = POLLIN},
		{.fd = d->signals, .events = POLLIN},
		{.fd = d->changes, .events = POLLIN},
	};

	while (!d->stopping) {
		if (poll(fds, 3, d->busy_tries ? BUSY_WAIT : -1) < 0 &&
		    errno != EINTR)
			return;
		if (fds[1].revents)
			read_signal(d);
		if (fds[2].revents || d->busy_tries)
			update_interfaces(d);
		serve(d);
	}
	/* Drain: what reached us before the sockets left the map. */
	queues_stop(d->q);
	while (serve(d))
		;
}

static int open_events(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	d->changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (d->signals < 0 || d->changes < 0)
		return -errno;
	if (inotify_add_watch(d->changes, d->s->dir, IN_CREATE | IN_DELETE) < 0)
		return -errno;
	return 0;
}

static int start(struct daemon *d)
{
	char err[256] = "";
	int rc = open_events(d);

	if (!rc)
		rc = handle_create(&d->h, d->s, completed, d, err, sizeof(err));
	if (!rc)
		rc = handle_pin(d->h);
	if (!rc)
		rc = queues_create(&d->q, d->s, d->h, err, sizeof(err));
	if (!rc) {
		load_rules(d);
		rc = queues_update(d->q, err, sizeof(err));
	}
	if (rc)
		complain(*err ? err : strerror(-rc));
	return rc;
}

int daemon_run(struct state *s)
{
	struct daemon d = {.s = s, .signals = -1, .changes = -1};
	int lock, rc = state_daemon_lock(s, &lock);

	if (rc) {
		fprintf(stderr, "xdivert: %s\n",
			rc == -EBUSY ? "a daemon runs here already"
				     : strerror(-rc));
		return rc;
	}
	state_settle(s);
	s->shared->daemon_pid = getpid();
	rc = start(&d);
	if (!rc) {
		fprintf(stderr, "xdivert: ready: %u queues\n",
			queues_count(d.q));
		sd_notify(0, "READY=1");
		loop(&d);
		sd_notify(0, "STOPPING=1");
	}
	queues_destroy(d.q);
	if (d.h)
		handle_unpin(d.h);
	handle_destroy(d.h);
	free_rules(&d);
	s->shared->daemon_pid = 0;
	close(d.signals);
	close(d.changes);
	close(lock);
	return rc;
}
