// SPDX-License-Identifier: BSD-2-Clause
/* What completions say: contract C05, C12, C24, C27. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tally.h"
#include "unit.h"

#define NOWHERE 9999 /* no interface has that index */

static void test_C05_context(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdv_completion list[8];
	struct tally t = {0};
	static const uint64_t contexts[] = {UINT64_MAX, 0, 1ull << 32, 9};
	uint64_t seen = 0, before = 0;
	int n, i;

	(void)state;
	while ((n = xdivert_completions(lab.x, &before, list, 8, NULL)) > 0)
		seen = before;
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.context, 77);
	assert_int_equal(xdivert_completions(lab.x, &seen, list, 8, NULL), 1);
	assert_int_equal(list[0].context, 77);
	/* Each has its own, whatever it is. */
	for (i = 0; i < 4; i++)
		assert_int_equal(xdivert_inject_forward_async(
					 h, contexts[i], 0, AF_INET, 0, lab.w0,
					 lab_packet(h, &plain), completed, &t),
				 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 5);
	assert_int_equal(t.last.context, contexts[3]);
	assert_int_equal(xdivert_completions(lab.x, &seen, list, 8, NULL), 4);
	for (i = 0; i < 4; i++)
		assert_true(list[i].context == contexts[i]);
	xdivert_injection_destroy(h, -1);
}

static void test_C12_exactly_once_with_status(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};

	(void)state;
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.engine, XDV_ENGINE_PORT);
	assert_true(t.last.completed >= t.last.submitted);
	assert_int_equal(inject(h, &plain, NOWHERE, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 2);
	assert_int_equal(t.last.status, -ENODEV);
	assert_int_equal(xdivert_dispatch(h, 0), 0);
	assert_int_equal(t.called, 2);
	xdivert_injection_destroy(h, -1);
	assert_int_equal(t.called, 2);
	check_books();
}

struct order {
	struct xdivert_injection *h;
	pthread_mutex_t lock;
	bool returned[2000]; /* by context */
	unsigned int called;
	pthread_t thread; /* of the last */
};

static void after_its_call(void *arg, struct xdivert_packet *p,
			   const struct xdv_completion *c)
{
	struct order *o = arg;

	pthread_mutex_lock(&o->lock);
	assert_true(o->returned[c->context]);
	pthread_mutex_unlock(&o->lock);
	o->called++;
	o->thread = pthread_self();
	xdivert_packet_free(p);
}

static void *inject_ordered(void *arg)
{
	struct order *o = arg;
	int i;

	for (i = 0; i < 2000;) {
		struct xdivert_packet *p = lab_packet(o->h, &plain);
		int rc;

		pthread_mutex_lock(&o->lock);
		rc = xdivert_inject_forward_async(o->h, i, 0, AF_INET, 0,
						  lab.w0, p, after_its_call, o);
		if (!rc)
			o->returned[i++] = true;
		pthread_mutex_unlock(&o->lock);
		if (rc)
			xdivert_packet_free(p);
	}
	return NULL;
}

/* Two threads: one initiates, the other dispatches and is called. Who holds a
 * lock across the call is through with it before its completion is.
 */
static void test_C12_initiated_by_another_thread(void **state)
{
	struct order o = {.h = create(AF_UNSPEC, BOTH),
			  .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t thread;

	(void)state;
	pthread_create(&thread, NULL, inject_ordered, &o);
	while (o.called < 2000)
		assert_true(xdivert_dispatch(o.h, 2 * XDIVERT_BOUND_MS) > 0);
	pthread_join(thread, NULL);
	assert_true(pthread_equal(o.thread, pthread_self()));
	assert_int_equal(xdivert_dispatch(o.h, 0), 0);
	assert_int_equal(o.called, 2000);
	assert_int_equal(xdivert_injection_destroy(o.h, -1), 0);
	drain_wire(lab.wire_w);
}

static void test_C24_reasons(void **state)
{
	static const struct udp silent = {.family = 4,
					  .from_net = 1,
					  .from = 1,
					  .to_net = 2,
					  .to = 99,
					  .text = "x"};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};

	(void)state;
	assert_int_equal(inject(h, &silent, lab.w0, &t), 0);
	wait_called(h, &t, 1);
	assert_int_equal(t.last.status, -EHOSTUNREACH);
	assert_int_equal(t.last.engine, XDV_ENGINE_NEIGH);
	assert_string_equal(xdivert_reason_name(t.last.reason), "NEIGH_FAILED");
	sh("ip link set w0 down");
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -ENETDOWN);
	assert_string_equal(xdivert_reason_name(t.last.reason), "DEVICE_DOWN");
	lab_neighbours();
	xdivert_injection_destroy(h, -1);
	check_books();
}

static bool enough;

/* Another handle's batches, whose flushes are not the first one's. */
static void *neighbour(void *arg)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally *t = arg;
	int i;

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		for (i = 0; i < 64; i++)
			if (!inject(h, &plain, lab.w0, t))
				t->again++;
		xdivert_dispatch(h, 0);
	}
	xdivert_injection_destroy(h, -1);
	return NULL;
}

/* One to w, by a process that is stepped through it. */
static void write_traced(void)
{
	struct tally t = {0};
	struct xdivert_injection *h;

	if (xdivert_injection_create(&h, lab.x, AF_UNSPEC, BOTH) ||
	    inject(h, &plain, lab.w0, &t) || ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(1);
	raise(SIGSTOP);
	while (!t.called)
		xdivert_dispatch(h, 1000);
	_exit(xdivert_injection_destroy(h, -1) || !t.ok);
}

static void step(pid_t child)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, 0, 0), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSTOPPED(status));
}

/* Whoever writes a record may be interrupted anywhere: it is not to be read
 * before it is whole. What lies in its place says something else throughout.
 */
static void test_C12_half_a_record_is_none(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	struct xdv_completion c;
	uint64_t seen = 0;
	int i, status;
	pid_t child;

	(void)state;
	for (i = 0; i < XDV_RECENT; i++)
		assert_int_equal(inject(h, &plain, NOWHERE, &t), 0);
	wait_called(h, &t, XDV_RECENT);
	assert_int_equal(t.failed, XDV_RECENT);
	xdivert_injection_destroy(h, -1);
	while (xdivert_completions(lab.x, &seen, &c, 1, NULL) > 0)
		;
	child = fork();
	if (!child)
		write_traced();
	assert_int_equal(waitpid(child, &status, WUNTRACED), child);
	assert_true(WIFSTOPPED(status));
	do
		step(child);
	while (!xdivert_completions(lab.x, &seen, &c, 1, NULL));
	assert_int_equal(c.context, 77);
	assert_int_equal(c.ifindex, lab.w0);
	assert_int_equal(c.status, 0);
	assert_int_equal(c.reason, XDV_REASON_NONE);
	assert_true(c.submitted && c.completed >= c.submitted);
	assert_int_equal(ptrace(PTRACE_DETACH, child, 0, 0), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	drain_wire(lab.wire_w);
	check_books();
}

enum { TOTAL = 1000000, BATCH = 500 };
static uint8_t told[TOTAL]; /* completions, by context */

static void tell(void *arg, struct xdivert_packet *p,
		 const struct xdv_completion *c)
{
	assert_true(c->context < TOTAL);
	told[c->context]++;
	completed(arg, p, c);
}

/* A million with whatever happens to the target: one completion each. */
static void test_C27_a_million(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_stats before, after;
	struct tally t = {0}, other = {0};
	unsigned int seed = 27;
	pthread_t thread;
	char name[48];
	uint32_t id = 0;
	int i, ok = 0;

	(void)state;
	xdivert_stats_read(lab.x, &before, NULL, 0);
	snprintf(name, sizeof(name), "%s-y", lab.far);
	enough = false;
	pthread_create(&thread, NULL, neighbour, &other);
	for (i = 0; i < TOTAL; i++) {
		struct xdivert_packet *p = lab_packet(h, &plain);
		uint32_t target = rand_r(&seed) % 16 ? lab.w0 : NOWHERE;
		int rc;

		rc = xdivert_inject_forward_async(h, i, 0, AF_INET,
						  rand_r(&seed) % 512 ? 0 : id,
						  target, p, tell, &t);
		told[i] = rc != 0;
		if (rc)
			xdivert_packet_free(p);
		else
			ok++;
		if (i % BATCH)
			continue;
		wait_called(h, &t, ok);
		switch (i / BATCH % 100) {
		case 10:
			sh("ip link set w0 down");
			break;
		case 20:
			sh("ip link set w0 up");
			break;
		case 30:
			sh("ip neigh del 10.2.0.2 dev w0 2>/dev/null || true");
			break;
		case 40:
			sh("ip neigh replace 10.2.0.2 lladdr 02:00:00:00:00:01"
			   " dev w0 nud permanent");
			break;
		case 50:
			sh("ip netns add %s", name);
			xdivert_compartment_find(name, &id);
			break;
		case 70:
			sh("ip netns del %s", name);
			break;
		}
	}
	xdivert_injection_destroy(h, -1);
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	lab_neighbours();
	drain_wire(lab.wire_w);
	assert_int_equal(t.called, ok);
	for (i = 0; i < TOTAL; i++)
		assert_int_equal(told[i], 1);
	assert_int_equal(other.called, other.again);
	assert_true(t.ok > TOTAL / 4 && t.failed > TOTAL / 20);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.completed - before.completed, t.ok + other.ok);
	assert_int_equal(after.failed - before.failed, t.failed + other.failed);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C05_context),
		contract_test(test_C12_exactly_once_with_status),
		contract_test(test_C12_half_a_record_is_none),
		contract_test(test_C12_initiated_by_another_thread),
		contract_test(test_C24_reasons),
		contract_test(test_C27_a_million),
	};

	return cmocka_run_group_tests_name("completions", tests, lab_open,
					   lab_close);
}
