// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "active.h"
#include "cmd.h"
#include "daemon.h"

#define COMPLAINTS_MAX 32

/* What was complained about once already. */
struct complaint {
	uint32_t ifindex;
	int32_t status;
};

struct daemon {
	struct xdivert *x;
	struct xdivert_injection *h;
	struct active_rules rules;
	bool stopping;
	bool reload;
};

/* Of all workers. */
static pthread_mutex_t complaining = PTHREAD_MUTEX_INITIALIZER;
static struct complaint complaint[COMPLAINTS_MAX];
static int complaints;

static bool complained_before(const struct xdv_completion *c)
{
	bool before = true;
	int i;

	pthread_mutex_lock(&complaining);
	for (i = 0; i < complaints; i++)
		if (complaint[i].ifindex == c->ifindex &&
		    complaint[i].status == c->status)
			break;
	if (i == complaints && complaints < COMPLAINTS_MAX) {
		complaint[complaints++] =
			(struct complaint){c->ifindex, c->status};
		before = false;
	}
	pthread_mutex_unlock(&complaining);
	return before;
}

/* Each kind of failure is told once; the rest is in the completions. */
static void complain(const struct xdv_completion *c)
{
	char name[TARGET_LEN];

	if (complained_before(c))
		return;
	fail(1, "%s: cannot inject: %s; see 'xdivert completions'",
	     target_of(c, name), xdivert_status_text(c->status));
}

static void completed(void *arg, struct xdivert_packet *packet,
		      const struct xdv_completion *completion)
{
	(void)arg;
	if (completion->status)
		complain(completion);
	xdivert_packet_free(packet);
}

static void set_flag(struct xdivert_packet *p, uint32_t flag)
{
	xdivert_packet_set_flags(p, xdivert_packet_flags(p) | flag);
}

static int family_of(struct xdivert_packet *p)
{
	return *xdivert_packet_data(p) >> 4 == 6 ? AF_INET6 : AF_INET;
}

static int inject_to(struct daemon *d, struct xdivert_packet *p,
		     uint32_t compartment, uint32_t to)
{
	set_flag(p, XDIVERT_PACKET_FORWARDED);
	return xdivert_inject_forward_async(d->h, 0, 0, family_of(p),
					    compartment, to, p, completed, d);
}

static int inject(struct daemon *d, struct xdivert_packet *p,
		  const struct xdivert_metadata *m)
{
	int family = family_of(p);

	if (m->layer != XDV_LAYER_FORWARD)
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

static int inject_elsewhere(struct daemon *d, struct xdivert_packet *p,
			    struct active_rule *rule)
{
	uint32_t compartment, to;
	int rc = xdivert_interface_find(rule->elsewhere, &compartment, &to);

	if (rc && !rule->complained)
		fail(1, "--to %s: %s; its packets are dropped meanwhile",
		     rule->elsewhere, xdivert_error());
	rule->complained = rc;
	return rc ? rc : inject_to(d, p, compartment, to);
}

static int inject_as_asked(struct daemon *d, struct xdivert_packet *p,
			   const struct xdivert_metadata *m,
			   struct active_rule *rule)
{
	if (*rule->elsewhere)
		return inject_elsewhere(d, p, rule);
	return rule->to ? inject_to(d, p, 0, rule->to) : inject(d, p, m);
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
	struct active_rule *rule;
	struct daemon *d = arg;

	if (d->rules.generation != xdivert_generation(d->x))
		active_load(&d->rules, d->x);
	rule = active_find(&d->rules, m->rule);
	if (ours(d, p) && !(rule && rule->returned)) {
		*verdict = inject(d, p, m) ? XDIVERT_DROP : XDIVERT_ABSORB;
		return;
	}
	/* A rule that nobody knows might have said no. */
	*verdict = !rule || rule->misses_callout || rule->misses_to
			   ? XDIVERT_DROP
			   : ask(rule, p);
	if (rule && rule->via_stack)
		set_flag(p, XDIVERT_PACKET_VIA_STACK);
	if (*verdict != XDIVERT_DROP)
		*verdict = inject_as_asked(d, p, m, rule) ? XDIVERT_DROP
							  : XDIVERT_ABSORB;
}

static int dispatch(struct daemon *d, int timeout_ms)
{
	int n = xdivert_dispatch(d->h, timeout_ms);

	if (n < 0 && n != -EINTR)
		fail(1, "%s", xdivert_error());
	return n;
}

static bool flagged(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void tell(struct daemon *d, bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
	xdivert_interrupt(d->h);
}

void daemon_stop(struct daemon *d)
{
	tell(d, &d->stopping);
}

void daemon_reload(struct daemon *d)
{
	tell(d, &d->reload);
}

void daemon_loop(struct daemon *d)
{
	while (!flagged(&d->stopping)) {
		if (__atomic_exchange_n(&d->reload, false, __ATOMIC_ACQ_REL))
			active_load(&d->rules, d->x);
		dispatch(d, -1);
	}
	/* Drain: what reached us before the hooks stopped. */
	xdivert_serve_stop(d->h);
	while (dispatch(d, 0) > 0)
		;
}

static int start(struct daemon *d, unsigned int share, unsigned int shares)
{
	int rc = open_state(&d->x, true);

	if (rc)
		return rc;
	active_load(&d->rules, d->x);
	if (xdivert_injection_create(&d->h, d->x, AF_UNSPEC,
				     XDIVERT_KIND_ALL) ||
	    xdivert_callout_register(d->h, classify, d) ||
	    xdivert_serve_share(d->h, share, shares))
		return fail(1, "%s", xdivert_error());
	return 0;
}

int daemon_open(struct daemon **daemon, unsigned int share, unsigned int shares,
		long idle_poll)
{
	struct daemon *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return fail(1, "out of memory");
	rc = start(d, share, shares);
	if (rc) {
		daemon_close(d);
		return rc;
	}
	if (idle_poll == BUSY_POLL)
		xdivert_busy_poll(d->h, true);
	else
		xdivert_idle_poll(d->h, idle_poll);
	*daemon = d;
	return 0;
}

int daemon_reassembly(struct daemon *d,
		      const struct xdivert_reassembly_opts *opts)
{
	return xdivert_reassembly(d->h, opts) ? fail(1, "%s", xdivert_error())
					      : 0;
}

void daemon_close(struct daemon *d)
{
	xdivert_injection_destroy(d->h, -1);
	active_free(&d->rules);
	xdivert_close(d->x);
	free(d);
}

unsigned int daemon_queues(const struct daemon *d)
{
	struct xdivert_interface list[XDV_MAX_IFACES];
	int i, n = xdivert_interfaces(d->x, list, XDV_MAX_IFACES);
	unsigned int queues = 0;

	for (i = 0; i < n; i++)
		queues += list[i].served;
	return queues;
}
