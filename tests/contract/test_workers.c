// SPDX-License-Identifier: BSD-2-Clause
/* Several handles at once, a thread each: they inject, and they serve. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tally.h"
#include "unit.h"

#define THREADS 2
#define NOWHERE 9999

/* A thread with its handle, and what came of it. */
struct worker {
	pthread_t thread;
	unsigned int number;
	const struct udp *packet; /* to inject through that interface */
	uint32_t target;
	struct xdivert *x;
	struct xdivert_injection *h;
	unsigned int initiated, called, ok;
	unsigned int received, wrong_iif, disordered;
	uint32_t iif; /* where its share of the packets comes in */
	bool done;
};

static struct xdivert *open_state(void)
{
	struct xdivert_open_opts opts = {.sz = sizeof(opts),
					 .pin_dir = lab.pins};
	struct xdivert *x;

	if (xdivert_open(&x, &opts))
		fail_msg("%s", xdivert_error());
	return x;
}

static void open_worker(struct worker *w, unsigned int number)
{
	*w = (struct worker){.number = number, .x = open_state()};
	if (xdivert_injection_create(&w->h, w->x, AF_UNSPEC, BOTH))
		fail_msg("%s", xdivert_error());
}

static void close_worker(struct worker *w)
{
	assert_int_equal(xdivert_injection_destroy(w->h, -1), 0);
	xdivert_close(w->x);
}

static void worker_completed(void *arg, struct xdivert_packet *p,
			     const struct xdv_completion *c)
{
	struct worker *w = arg;

	w->called++;
	w->ok += !c->status;
	/* Each handle's completions are its own, each status is its packet's.
	 */
	if ((uint32_t)c->context != w->number + 1 ||
	    (c->context >> 32 == NOWHERE) != (c->status == -ENODEV))
		w->called += 1000000;
	xdivert_packet_free(p);
}

static void inject_one(struct worker *w, const uint8_t *data, uint32_t len,
		       uint32_t ifindex)
{
	struct xdivert_packet *p = xdivert_packet_alloc(w->h, len);

	if (!p)
		return;
	memcpy(xdivert_packet_data(p), data, len);
	if (xdivert_inject_forward_async(
		    w->h, (uint64_t)ifindex << 32 | (w->number + 1), 0, AF_INET,
		    0, ifindex, p, worker_completed, w))
		xdivert_packet_free(p);
	else
		w->initiated++;
}

/* Batches of all sizes; one packet in eight to an interface that is not. */
static void *inject_many(void *arg)
{
	struct worker *w = arg;
	unsigned int seed = w->number + 1, i;
	uint8_t data[200];
	uint32_t len = lab_build(w->packet, data);

	lab_seal(data);
	for (i = 0; i < 200000; i++) {
		inject_one(w, data, len,
			   rand_r(&seed) % 8 ? w->target : NOWHERE);
		if (rand_r(&seed) % 40 == 0)
			xdivert_dispatch(w->h, 0);
	}
	while (w->called < w->initiated && xdivert_dispatch(w->h, 1000) > 0)
		;
	return NULL;
}

static void run_workers(struct worker *w)
{
	int i;

	for (i = 0; i < THREADS; i++)
		pthread_create(&w[i].thread, NULL, inject_many, &w[i]);
	for (i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
}

static void test_threads_inject_at_once(void **state)
{
	struct xdivert_stats before, after;
	struct worker w[THREADS];
	int i;

	(void)state;
	sh("ip route replace 10.2.0.2/32 via 10.1.0.2 dev v0 metric 50");
	sh("ip route replace 10.2.0.2/32 dev w0 metric 60");
	xdivert_stats_read(lab.x, &before, NULL, 0);
	for (i = 0; i < THREADS; i++) {
		open_worker(&w[i], i);
		w[i].packet = &plain;
		w[i].target = i ? lab.w0 : lab.v0;
	}
	run_workers(w);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	for (i = 0; i < THREADS; i++) {
		assert_int_equal(w[i].initiated, 200000);
		assert_int_equal(w[i].called, w[i].initiated);
		assert_true(w[i].ok > 100000 && w[i].ok < w[i].called);
		close_worker(&w[i]);
	}
	assert_int_equal(after.originated - before.originated, 400000);
	assert_int_equal(after.completed - before.completed, w[0].ok + w[1].ok);
	assert_int_equal(after.injected - before.injected, 400000);
	sh("ip route del 10.2.0.2/32 metric 50;"
	   "ip route del 10.2.0.2/32 metric 60");
	check_books();
}

/* What one transmits while another looks after its failures is not mistaken
 * for that one's.
 */
static void test_threads_on_one_cpu(void **state)
{
	static const struct udp nowhere = {.family = 4,
					   .from_net = 1,
					   .from = 1,
					   .to_net = 9,
					   .to = 2,
					   .text = "nowhere"};
	struct worker w[THREADS];
	cpu_set_t all, one;
	int i;

	(void)state;
	pthread_getaffinity_np(pthread_self(), sizeof(all), &all);
	CPU_ZERO(&one);
	for (i = 0; !CPU_ISSET(i, &all); i++)
		;
	CPU_SET(i, &one);
	for (i = 0; i < THREADS; i++) {
		open_worker(&w[i], i);
		w[i].packet = i ? &plain : &nowhere;
		w[i].target = lab.w0;
	}
	/* Threads inherit it. */
	pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
	run_workers(w);
	pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
	assert_int_equal(w[0].ok, 0);
	assert_true(w[1].ok > 100000);
	for (i = 0; i < THREADS; i++) {
		assert_int_equal(w[i].called, w[i].initiated);
		close_worker(&w[i]);
	}
	check_books();
}

static int in_a_child(void)
{
	struct xdivert_injection *h;
	int status, rc;
	pid_t child = fork();

	if (child) {
		waitpid(child, &status, 0);
		return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	}
	rc = xdivert_injection_create(&h, open_state(), AF_UNSPEC, BOTH);
	rc = rc ? rc : xdivert_serve_share(h, 1, 3);
	_exit(rc == -EBUSY ? 0 : 1);
}

static void test_shares(void **state)
{
	struct worker w[3];
	int i;

	(void)state;
	for (i = 0; i < 3; i++)
		open_worker(&w[i], i);
	assert_int_equal(xdivert_serve_share(w[0].h, 0, 0), -EINVAL);
	assert_int_equal(xdivert_serve_share(w[0].h, 3, 3), -EINVAL);
	assert_int_equal(xdivert_serve_share(w[0].h, 0, XDIVERT_SHARES_MAX + 1),
			 -EINVAL);
	assert_int_equal(xdivert_daemon(lab.x), 0);
	assert_int_equal(xdivert_serve_share(w[0].h, 0, 3), 0);
	assert_int_equal(xdivert_serve_share(w[0].h, 1, 3), -EALREADY);
	assert_int_equal(xdivert_serve_share(w[1].h, 0, 3), -EBUSY);
	assert_int_equal(xdivert_serve_share(w[1].h, 1, 2), -EINVAL);
	assert_int_equal(xdivert_serve(w[1].h), -EINVAL);
	assert_int_equal(in_a_child(), 0);
	assert_int_equal(xdivert_serve_share(w[2].h, 2, 3), 0);
	/* The last one to go is the daemon still. */
	close_worker(&w[0]);
	assert_int_equal(xdivert_daemon(lab.x), getpid());
	assert_int_equal(in_a_child(), 0);
	assert_int_equal(xdivert_serve_share(w[1].h, 0, 3), 0);
	close_worker(&w[1]);
	close_worker(&w[2]);
	assert_int_equal(xdivert_daemon(lab.x), 0);
}

static void classify(void *arg, struct xdivert_packet *p,
		     const struct xdivert_metadata *m,
		     enum xdivert_verdict *verdict)
{
	struct worker *w = arg;
	char text[16];

	memcpy(text, xdivert_packet_data(p) + 28, 12);
	text[12] = 0;
	if (m->iif != w->iif)
		w->wrong_iif++;
	if ((unsigned int)atoi(text + 6) != w->received++)
		w->disordered++;
	*verdict = XDIVERT_INJECT;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(&w->done, __ATOMIC_ACQUIRE))
		xdivert_dispatch(w->h, 20);
	while (xdivert_dispatch(w->h, 0) > 0)
		;
	return NULL;
}

/* Packet i from the far end, into v0 and into w0, for the other side. */
static void send_both(int i)
{
	struct udp u = {.family = 4, .from = 2, .to = 2};
	const uint8_t *mac;
	uint8_t frame[200];
	char text[16];
	uint32_t len;
	int net;

	snprintf(text, sizeof(text), "order-%06d", i);
	u.text = text;
	for (net = 1; net <= 2; net++) {
		u.from_net = net;
		u.to_net = 3 - net;
		len = lab_build(&u, frame + 14);
		lab_seal(frame + 14);
		mac = net == 1 ? lab.mac_v0 : lab.mac_w0;
		memcpy(frame, mac, 6);
		memcpy(frame + 6, lab.mac_v1, 6);
		memcpy(frame + 12, "\x08\x00", 2);
		assert_int_equal(send(net == 1 ? lab.wire_v : lab.wire_w, frame,
				      14 + len, 0),
				 14 + len);
	}
}

static void expect_in_order(int wire, int n)
{
	static uint8_t frame[2100];
	int i, size;

	for (i = 0; i < n; i++) {
		do
			size = lab_receive(wire, "", frame, 2000);
		while (size > 12 && memcmp(frame + size - 12, "order-", 6));
		assert_true(size > 0);
		frame[size] = 0;
		assert_int_equal(atoi((char *)frame + size - 6), i);
	}
}

static bool settled(unsigned int packets)
{
	struct xdivert_stats s;

	xdivert_stats_read(lab.x, &s, NULL, 0);
	return s.diverted + s.unserved + s.queue_dropped >= packets &&
	       !s.held && !s.in_flight;
}

/* Two handles, each with its interface's queue: nothing crosses over. */
static void test_threads_serve_at_once(void **state)
{
	enum { PACKETS = 1500 };
	struct xdv_rule rule = {.priority = 1,
				.layer = XDV_LAYER_FORWARD,
				.name = "r",
				.filter = "udp"};
	struct xdivert_stats before, after;
	struct worker w[THREADS];
	int i, tries;

	(void)state;
	drain_wire(lab.wire_v);
	drain_wire(lab.wire_w);
	assert_int_equal(xdivert_attach(lab.x, "w0", NULL), 0);
	assert_int_equal(xdivert_rule_add(lab.x, &rule), 0);
	xdivert_stats_read(lab.x, &before, NULL, 0);
	for (i = 0; i < THREADS; i++) {
		open_worker(&w[i], i);
		w[i].iif = i ? lab.w0 : lab.v0;
		assert_int_equal(
			xdivert_callout_register(w[i].h, classify, &w[i]), 0);
		assert_int_equal(xdivert_serve_share(w[i].h, i, THREADS), 0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	for (i = 0; i < PACKETS; i++)
		send_both(i);
	for (tries = 0; tries < 5000; tries++) {
		if (settled(before.matched + 2 * PACKETS))
			break;
		usleep(1000);
	}
	for (i = 0; i < THREADS; i++) {
		__atomic_store_n(&w[i].done, true, __ATOMIC_RELEASE);
		pthread_join(w[i].thread, NULL);
	}
	for (i = 0; i < THREADS; i++) {
		assert_int_equal(w[i].received, PACKETS);
		assert_int_equal(w[i].wrong_iif, 0);
		assert_int_equal(w[i].disordered, 0);
		close_worker(&w[i]);
	}
	expect_in_order(lab.wire_w, PACKETS);
	expect_in_order(lab.wire_v, PACKETS);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.completed - before.completed, 2 * PACKETS);
	assert_int_equal(after.unserved, before.unserved);
	xdivert_rule_flush(lab.x);
	assert_int_equal(xdivert_detach(lab.x, "w0"), 0);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_threads_inject_at_once),
		contract_test(test_threads_on_one_cpu),
		contract_test(test_shares),
		contract_test(test_threads_serve_at_once),
	};

	return cmocka_run_group_tests_name("workers", tests, lab_open,
					   lab_close);
}
