// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "cmd.h"
#include "daemon.h"

#define XDV_MAX_CALLOUTS 16
#define COMPLAINTS_MAX	 32

struct active_rule {
	uint32_t id;
	uint32_t to; /* ifindex, 0: where the FIB says */
	struct xdivert_callout *callout[XDV_MAX_CALLOUTS];
	int callouts;
	bool broken; /* it cannot do what it says: its packets are dropped */
};

/* What was complained about once already. */
struct complaint {
	uint32_t ifindex;
	int32_t status;
};

struct daemon {
	struct xdivert *x;
	struct xdivert_injection *h;
	struct active_rule *rules;
	int rule_count;
	uint64_t generation;
	struct complaint complaint[COMPLAINTS_MAX];
	int complaints;
	int signals;
	bool stopping;
};

static void free_rules(struct daemon *d)
{
	int i, j;

	for (i = 0; i < d->rule_count; i++)
		for (j = 0; j < d->rules[i].callouts; j++)
			xdivert_callout_free(d->rules[i].callout[j]);
	free(d->rules);
	d->rules = NULL;
	d->rule_count = 0;
}

static void load_rule(struct active_rule *to, struct xdv_rule *from)
{
	char *line, *rest = from->actions;

	to->id = from->id;
	to->to = *from->to ? if_nametoindex(from->to) : 0;
	if (*from->to && !to->to) {
		to->broken = true;
		fail(1,
		     "rule %s: its --to %s has gone; its packets are dropped",
		     from->name, from->to);
	}
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		if (to->callouts < XDV_MAX_CALLOUTS &&
		    !xdivert_callout_parse(line, &to->callout[to->callouts])) {
			to->callouts++;
			continue;
		}
		to->broken = true;
		fail(1, "rule %s: %s; its packets are dropped", from->name,
		     xdivert_error());
	}
}

static void load_rules(struct daemon *d)
{
	struct xdv_rule *rules;
	int i, n;

	d->generation = xdivert_generation(d->x);
	n = xdivert_rules(d->x, &rules);
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

/* Each kind of failure is told once; the rest is in the completions. */
static void complain(struct daemon *d, const struct xdv_completion *c)
{
	char name[IF_NAMESIZE];
	int i;

	for (i = 0; i < d->complaints; i++)
		if (d->complaint[i].ifindex == c->ifindex &&
		    d->complaint[i].status == c->status)
			return;
	if (d->complaints == COMPLAINTS_MAX)
		return;
	d->complaint[d->complaints++] =
		(struct complaint){c->ifindex, c->status};
	fail(1, "%s: cannot inject: %s%s; see 'xdivert completions'",
	     ifname_of(c->ifindex, name), xdivert_status_text(c->status),
	     c->status == -EOPNOTSUPP || c->status == -ENXIO
		     ? " (on a veth, turn GRO on at its peer: ethtool -K PEER "
		       "gro on)"
		     : "");
}

static void completed(void *arg, struct xdivert_packet *packet,
		      const struct xdv_completion *completion)
{
	if (completion->status)
		complain(arg, completion);
	xdivert_packet_free(packet);
}

static int inject(struct daemon *d, struct xdivert_packet *p,
		  const struct xdivert_metadata *m, uint32_t to)
{
	int family = *xdivert_packet_data(p) >> 4 == 6 ? AF_INET6 : AF_INET;

	if (to) {
		xdivert_packet_set_flags(p, XDIVERT_PACKET_FORWARDED);
		return xdivert_inject_forward_async(d->h, 0, 0, family, 0, to,
						    p, completed, d);
	}
	if (m->layer == XDV_LAYER_RECEIVE)
		return xdivert_inject_receive_async(d->h, 0, 0, family, 0,
						    m->iif, p, completed, d);
	return xdivert_inject_forward_async(d->h, 0, 0, family, 0, m->oif, p,
					    completed, d);
}

static enum xdivert_verdict ask(const struct active_rule *rule,
				struct xdivert_packet *p)
{
	enum xdivert_verdict verdict = XDIVERT_CONTINUE;
	int i;

	for (i = 0; i < rule->callouts && verdict == XDIVERT_CONTINUE; i++)
		verdict = xdivert_callout_run(rule->callout[i], p);
	return verdict;
}

/* What we injected and see again (a loop, a hairpin) was edited already. */
static bool ours(struct daemon *d, const struct xdivert_packet *p)
{
	enum xdivert_injection_state state =
		xdivert_query_injection_state(d->h, p, NULL);

	return state == XDIVERT_INJECTED_BY_SELF ||
	       state == XDIVERT_PREVIOUSLY_INJECTED_BY_SELF;
}

static void classify(void *arg, struct xdivert_packet *p,
		     const struct xdivert_metadata *m,
		     enum xdivert_verdict *verdict)
{
	const struct active_rule *rule;
	struct daemon *d = arg;

	if (d->generation != xdivert_generation(d->x))
		load_rules(d);
	if (ours(d, p)) {
		*verdict = inject(d, p, m, 0) ? XDIVERT_DROP : XDIVERT_ABSORB;
		return;
	}
	/* A rule that was deleted while the packet waited might have said no.
	 */
	rule = find_rule(d, m->rule);
	*verdict = !rule || rule->broken ? XDIVERT_DROP : ask(rule, p);
	if (*verdict != XDIVERT_DROP)
		*verdict = inject(d, p, m, rule->to) ? XDIVERT_DROP
						     : XDIVERT_ABSORB;
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

static int dispatch(struct daemon *d)
{
	int n = xdivert_dispatch(d->h, 0);

	if (n < 0)
		fail(1, "%s", xdivert_error());
	return n;
}

static void loop(struct daemon *d)
{
	struct pollfd fds[] = {
		{.fd = xdivert_fd(d->h), .events = POLLIN},
		{.fd = d->signals, .events = POLLIN},
	};

	while (!d->stopping) {
		/* The library says when it wants to look again by itself. */
		if (poll(fds, 2, xdivert_timeout(d->h)) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			read_signal(d);
		dispatch(d);
	}
	/* Drain: what reached us before the hooks stopped. */
	xdivert_serve_stop(d->h);
	while (dispatch(d) > 0)
		;
}

static int open_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return d->signals < 0 ? fail(1, "signalfd: %s", strerror(errno)) : 0;
}

static int start(struct daemon *d)
{
	int rc = open_signals(d);

	if (rc)
		return rc;
	load_rules(d);
	if (xdivert_injection_create(&d->h, d->x, AF_UNSPEC,
				     XDIVERT_KIND_FORWARD |
					     XDIVERT_KIND_RECEIVE) ||
	    xdivert_callout_register(d->h, classify, d) || xdivert_serve(d->h))
		return fail(1, "%s", xdivert_error());
	return 0;
}

static unsigned int count_queues(struct xdivert *x)
{
	struct xdivert_interface list[XDV_MAX_IFACES];
	int i, n = xdivert_interfaces(x, list, XDV_MAX_IFACES);
	unsigned int queues = 0;

	for (i = 0; i < n; i++)
		queues += list[i].served;
	return queues;
}

int daemon_run(struct xdivert *x)
{
	struct daemon d = {.x = x, .signals = -1};
	unsigned int queues;
	int rc = start(&d);

	if (!rc) {
		queues = count_queues(x);
		fprintf(stderr, "xdivert: ready: %u queue%s\n", queues,
			queues == 1 ? "" : "s");
		sd_notify(0, "READY=1");
		loop(&d);
		sd_notify(0, "STOPPING=1");
	}
	xdivert_injection_destroy(d.h, -1);
	free_rules(&d);
	close(d.signals);
	return rc;
}
