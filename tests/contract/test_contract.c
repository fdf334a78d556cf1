// SPDX-License-Identifier: BSD-2-Clause
/* The contract of asynchronous forward injection, a test a row. */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "lab.h"
#include "unit.h"

#define BOTH (XDIVERT_KIND_FORWARD | XDIVERT_KIND_RECEIVE)

/* What completions did, for one test. */
struct tally {
	struct xdivert_injection *h;
	int called, ok, failed;
	struct xdv_completion last;
	pthread_t thread;
	int again; /* inject so often from the completion */
	int rc;
};

static const struct udp plain = {.family = 4,
				 .from_net = 1,
				 .from = 1,
				 .to_net = 2,
				 .to = 2,
				 .sport = 1,
				 .dport = 9,
				 .text = "contract"};

static void completed(void *arg, struct xdivert_packet *p,
		      const struct xdv_completion *c)
{
	struct tally *t = arg;

	t->called++;
	t->ok += !c->status;
	t->failed += c->status != 0;
	t->last = *c;
	t->thread = pthread_self();
	xdivert_packet_free(p);
}

static struct xdivert_injection *create(int family, uint32_t kinds)
{
	struct xdivert_injection *h;

	if (xdivert_injection_create(&h, lab.x, family, kinds))
		fail_msg("%s", xdivert_error());
	return h;
}

static int inject(struct xdivert_injection *h, const struct udp *u,
		  uint32_t ifindex, struct tally *t)
{
	struct xdivert_packet *p = lab_packet(h, u);
	int rc = xdivert_inject_forward_async(
		h, 77, 0, u->family == 4 ? AF_INET : AF_INET6, 0, ifindex, p,
		completed, t);

	if (rc)
		xdivert_packet_free(p);
	return rc;
}

static void expect_on(int wire, const char *text)
{
	uint8_t frame[2100];

	assert_true(lab_receive(wire, text, frame, 2000) > 0);
}

static void expect_nothing_on(int wire, const char *text)
{
	uint8_t frame[2100];

	assert_int_equal(lab_receive(wire, text, frame, 50), 0);
}

static void check_books(void)
{
	struct xdivert_stats s;

	assert_true(xdivert_stats_read(lab.x, &s, NULL, 0) >= 0);
	assert_int_equal(s.diverted + s.originated,
			 s.injected + s.dropped + s.held);
	assert_int_equal(s.injected, s.completed + s.failed + s.in_flight);
	assert_int_equal(s.held, 0);
	assert_int_equal(s.in_flight, 0);
}

static void test_C01_handles(void **state)
{
	struct xdivert_injection *a = create(AF_INET, XDIVERT_KIND_FORWARD);
	struct xdivert_injection *b = create(AF_UNSPEC, BOTH), *c;
	struct tally ta = {0}, tb = {0};
	struct xdivert_packet *p;

	(void)state;
	assert_int_equal(inject(a, &plain, lab.w0, &ta), 0);
	assert_int_equal(inject(b, &plain, lab.w0, &tb), 0);
	assert_int_equal(xdivert_dispatch(a, 0), 1);
	assert_int_equal(ta.ok, 1);
	assert_int_equal(tb.called, 0);
	assert_int_equal(xdivert_dispatch(b, 0), 1);
	assert_int_equal(tb.ok, 1);
	/* Kinds and families that a handle was not made for. */
	p = lab_packet(a, &plain);
	assert_int_equal(xdivert_inject_receive_async(a, 0, 0, AF_INET, 0,
						      lab.v0, p, completed,
						      &ta),
			 -EOPNOTSUPP);
	assert_int_equal(xdivert_inject_forward_async(a, 0, 0, AF_INET6, 0,
						      lab.v0, p, completed,
						      &ta),
			 -EAFNOSUPPORT);
	/* A packet of another handle. */
	assert_int_equal(xdivert_inject_forward_async(b, 0, 0, AF_INET, 0,
						      lab.v0, p, completed,
						      &ta),
			 -EINVAL);
	xdivert_packet_free(p);
	assert_int_equal(xdivert_injection_create(&c, lab.x, AF_UNSPEC, 0),
			 -EINVAL);
	assert_int_equal(xdivert_injection_create(&c, lab.x, AF_UNSPEC, 8),
			 -EINVAL);
	assert_int_equal(xdivert_injection_create(&c, lab.x, AF_UNIX, BOTH),
			 -EAFNOSUPPORT);
	assert_int_equal(ta.called, 1);
	assert_int_equal(xdivert_injection_destroy(a, -1), 0);
	assert_int_equal(xdivert_injection_destroy(b, -1), 0);
	check_books();
}

static void test_C02_not_ready(void **state)
{
	struct xdivert_open_opts opts = {
		.sz = sizeof(opts), .pin_dir = "/sys/fs/bpf/xdivert-nothing"};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, &plain);
	struct tally t = {0};
	struct xdivert *x;

	(void)state;
	assert_int_equal(xdivert_open(&x, &opts), -ENOTCONN);
	assert_non_null(strstr(xdivert_error(), "not ready"));
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 12345,
						      lab.w0, p, completed, &t),
			 -ENOTCONN);
	xdivert_packet_free(p);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_int_equal(t.called, 0);
}

static void test_C03_destroy_waits(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	(void)state;
	for (i = 0; i < 100; i++)
		assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	assert_int_equal(t.called, 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_int_equal(t.called, 100);
	assert_int_equal(t.ok, 100);
	/* With no time to wait they are cancelled, each with its completion. */
	h = create(AF_UNSPEC, BOTH);
	t = (struct tally){0};
	for (i = 0; i < 100; i++)
		assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	assert_int_equal(xdivert_injection_destroy(h, 0), 0);
	assert_int_equal(t.failed, 100);
	assert_int_equal(t.last.status, -ECANCELED);
	assert_int_equal(t.last.reason, XDV_REASON_CANCELED);
	check_books();
}

static void inject_again(void *arg, struct xdivert_packet *p,
			 const struct xdv_completion *c)
{
	struct tally *t = arg;

	(void)c;
	t->called++;
	t->rc = xdivert_inject_forward_async(t->h, 0, 0, AF_INET, 0, lab.w0, p,
					     completed, t);
	if (t->rc)
		xdivert_packet_free(p);
}

static void test_C04_closing(void **state)
{
	struct tally t = {.h = create(AF_UNSPEC, BOTH)};
	struct xdivert_packet *p = lab_packet(t.h, &plain);

	(void)state;
	assert_int_equal(xdivert_inject_forward_async(t.h, 0, 0, AF_INET, 0,
						      lab.w0, p, inject_again,
						      &t),
			 0);
	assert_int_equal(xdivert_injection_destroy(t.h, -1), 0);
	assert_int_equal(t.rc, -ESHUTDOWN);
	assert_int_equal(t.called, 1);
	check_books();
}

static void test_C05_context(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdv_completion list[8];
	struct tally t = {0};
	uint64_t seen = 0, before = 0;
	int n;

	(void)state;
	while ((n = xdivert_completions(lab.x, &before, list, 8, NULL)) > 0)
		seen = before;
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.context, 77);
	assert_int_equal(xdivert_completions(lab.x, &seen, list, 8, NULL), 1);
	assert_int_equal(list[0].context, 77);
	xdivert_injection_destroy(h, -1);
}

/* C06, C07, C14, C15: initiation fails, nobody is called, the packet is still
 * ours.
 */
static void test_C14_errors_of_initiation(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, XDIVERT_KIND_FORWARD);
	static const struct udp six = {.family = 6,
				       .from_net = 1,
				       .from = 1,
				       .to_net = 2,
				       .to = 2,
				       .text = "six"};
	const struct {
		const char *row;
		const struct udp *u;
		uint32_t flags;
		int family;
		uint32_t compartment;
		int rc;
	} cases[] = {
		{"C06", &plain, 1, AF_INET, 0, -EINVAL},
		{"C06", &plain, 0x80000000, AF_INET, 0, -EINVAL},
		{"C07", &plain, 0, AF_UNIX, 0, -EAFNOSUPPORT},
		{"C07", &plain, 0, AF_UNSPEC, 0, -EAFNOSUPPORT},
		{"C07", &plain, 0, AF_INET6, 0, -EINVAL},
		{"C07", &six, 0, AF_INET, 0, -EINVAL},
		{"C08", &plain, 0, AF_INET, 1, -ENOTCONN},
	};
	struct xdivert_packet *p;
	struct tally t = {0};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		p = lab_packet(h, cases[i].u);
		print_message("%s\n", cases[i].row);
		assert_int_equal(xdivert_inject_forward_async(
					 h, 0, cases[i].flags, cases[i].family,
					 cases[i].compartment, lab.w0, p,
					 completed, &t),
				 cases[i].rc);
		assert_true(*xdivert_error());
		xdivert_packet_free(p);
	}
	assert_int_equal(xdivert_dispatch(h, 0), 0);
	assert_int_equal(t.called, 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

static void test_C15_too_many_pending(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	(void)state;
	for (i = 0; i < XDIVERT_PENDING_MAX; i++)
		assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	assert_int_equal(inject(h, &plain, lab.w0, &t), -ENOBUFS);
	assert_int_equal(xdivert_dispatch(h, 0), XDIVERT_PENDING_MAX);
	assert_int_equal(t.called, XDIVERT_PENDING_MAX);
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_injection_destroy(h, -1);
	check_books();
}

static void test_C15_malformed_packets(void **state)
{
	static const uint8_t bad[][20] = {
		{0x45, 0, 0, 21}, {0x45, 0, 0, 19}, {0x44, 0, 0, 20},
		{0x46, 0, 0, 20}, {0x55, 0, 0, 20}, {0},
	};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		p = xdivert_packet_alloc(h, 20);
		memcpy(xdivert_packet_data(p), bad[i], 20);
		assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET,
							      0, lab.w0, p,
							      NULL, NULL),
				 -EINVAL);
		xdivert_packet_free(p);
	}
	p = xdivert_packet_alloc(h, 0);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, p, NULL, NULL),
			 -EINVAL);
	xdivert_packet_free(p);
	assert_null(xdivert_packet_alloc(h, XDIVERT_PACKET_MAX + 1));
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

/* Into another namespace by its id: the packet leaves through an interface of
 * that one, and arrives here.
 */
static void test_C08_compartments(void **state)
{
	static const struct udp back = {.family = 4,
					.from_net = 1,
					.from = 2,
					.to_net = 1,
					.to = 1,
					.dport = 5001,
					.text = "compartment"};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(5001)};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd fd = {.fd = s, .events = POLLIN};
	struct xdivert_packet *p;
	struct tally t = {0};
	uint32_t far, gone;

	(void)state;
	assert_int_equal(bind(s, (void *)&address, sizeof(address)), 0);
	assert_int_equal(xdivert_compartment_find(lab.far, &far), 0);
	assert_int_equal(xdivert_compartment_find("no-such", &gone), -ENOTCONN);
	sh("nsenter --net=/run/netns/%s sh -c 'ip neigh replace 10.1.0.1 lladdr"
	   " %02x:%02x:%02x:%02x:%02x:%02x dev v1 nud permanent'",
	   lab.far, lab.mac_v0[0], lab.mac_v0[1], lab.mac_v0[2], lab.mac_v0[3],
	   lab.mac_v0[4], lab.mac_v0[5]);
	p = lab_packet(h, &back);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, far,
						      lab.v1, p, completed, &t),
			 0);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.compartment, far);
	assert_int_equal(poll(&fd, 1, 2000), 1);
	close(s);
	/* One that goes while the packet waits. */
	sh("ip netns add %s-x", lab.far);
	{
		char name[48];

		snprintf(name, sizeof(name), "%s-x", lab.far);
		assert_int_equal(xdivert_compartment_find(name, &gone), 0);
	}
	p = lab_packet(h, &back);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, gone, 1,
						      p, completed, &t),
			 0);
	sh("ip netns del %s-x", lab.far);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	assert_int_equal(t.last.status, -ENOTCONN);
	/* And the handle lives. */
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	xdivert_injection_destroy(h, -1);
	check_books();
}

/* Metadata of what is diverted, and the next hop on the chosen interface. */
static void receive_one(struct xdivert_injection *h, struct xdivert_packet **p)
{
	struct pollfd fd = {.fd = xdivert_fd(h), .events = POLLIN};
	int tries;

	for (tries = 0; tries < 200; tries++) {
		if (xdivert_receive(h, p, 1) == 1)
			return;
		poll(&fd, 1, 10);
	}
	fail_msg("nothing was received");
}

static void add_rule(const char *filter, uint32_t layer)
{
	struct xdv_rule rule = {.priority = 1, .layer = layer, .name = "r"};

	snprintf(rule.filter, sizeof(rule.filter), "%s", filter);
	if (xdivert_rule_add(lab.x, &rule))
		fail_msg("%s", xdivert_error());
}

static struct xdivert_injection *serve(const char *filter, uint32_t layer)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);

	add_rule(filter, layer);
	if (xdivert_serve(h))
		fail_msg("%s", xdivert_error());
	return h;
}

static void end_serving(struct xdivert_injection *h)
{
	xdivert_injection_destroy(h, -1);
	assert_int_equal(xdivert_rule_flush(lab.x), 0);
	check_books();
}

static void send_from_far(const struct udp *u)
{
	uint8_t data[2000];
	uint32_t len = lab_build(u, data);

	/* The hook checks the header's sum. */
	if (u->family == 4) {
		uint16_t sum = xdivert_checksum(data, 20, 0);

		memcpy(data + 10, &sum, 2);
	}
	lab_send(data, len);
}

static const struct udp through = {.family = 4,
				   .from_net = 1,
				   .from = 2,
				   .to_net = 2,
				   .to = 2,
				   .sport = 5,
				   .dport = 6,
				   .text = "through"};

static void test_C09_interfaces(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	const struct xdivert_metadata *m;
	struct xdivert_packet *p;
	struct tally t = {0};
	uint8_t frame[2100];
	uint32_t id;

	(void)state;
	send_from_far(&through);
	receive_one(h, &p);
	m = xdivert_packet_metadata(p);
	assert_int_equal(m->iif, lab.v0);
	assert_int_equal(m->oif, lab.w0);
	assert_int_equal(m->layer, XDV_LAYER_FORWARD);
	assert_true(m->received > 0);
	assert_int_not_equal(m->compartment, 0);
	assert_int_equal(xdivert_compartment_find(lab.far, &id), 0);
	assert_int_not_equal(m->compartment, id);
	/* Where it was going, with the indices that came with it. */
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET,
						      m->compartment, m->oif, p,
						      completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	expect_on(lab.wire_w, "through");
	/* The routing table prefers w0; a route on v0 is there too. */
	sh("ip route add 10.2.0.0/24 via 10.1.0.2 dev v0 metric 999");
	assert_int_equal(inject(h, &plain, lab.v0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	assert_true(lab_receive(lab.wire_v, "contract", frame, 2000) > 0);
	assert_memory_equal(frame, lab.mac_v1, 6);
	sh("ip route del 10.2.0.0/24 via 10.1.0.2 dev v0");
	end_serving(h);
}

static void test_C10_clone_and_fresh(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, &plain), *copy;
	struct tally t = {0};

	(void)state;
	copy = xdivert_packet_clone(p);
	assert_int_equal(xdivert_packet_data(copy)[0], 0x45);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, copy, completed,
						      &t),
			 0);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.ok, 2);
	expect_on(lab.wire_w, "contract");
	expect_on(lab.wire_w, "contract");
	xdivert_injection_destroy(h, -1);
}

static void drain_wire(int wire)
{
	uint8_t frame[2100];

	while (lab_receive(wire, "", frame, 0) > 0)
		;
}

static void test_C11_initiated_not_sent(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};

	(void)state;
	drain_wire(lab.wire_w);
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	expect_nothing_on(lab.wire_w, "contract");
	assert_int_equal(t.called, 0);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	expect_on(lab.wire_w, "contract");
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
	assert_int_equal(t.last.engine, XDV_ENGINE_LIVE);
	assert_true(t.last.completed >= t.last.submitted);
	assert_int_equal(inject(h, &plain, 9999, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 2);
	assert_int_equal(t.last.status, -ENODEV);
	assert_int_equal(xdivert_dispatch(h, 0), 0);
	assert_int_equal(t.called, 2);
	xdivert_injection_destroy(h, -1);
	assert_int_equal(t.called, 2);
	check_books();
}

static void test_C13_argument(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, &plain);

	(void)state;
	/* Nobody to call: the library frees the packet. */
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, p, NULL, NULL),
			 0);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

struct later {
	struct xdivert_injection *h;
	struct xdivert_packet *p[3];
	struct tally *t;
};

static void *inject_later(void *arg)
{
	struct later *l = arg;
	int i;

	/* In another order than they came. */
	for (i = 2; i >= 0; i--)
		if (xdivert_inject_forward_async(
			    l->h, i, 0, AF_INET, 0,
			    xdivert_packet_metadata(l->p[i])->oif, l->p[i],
			    completed, l->t))
			return l;
	return NULL;
}

static void test_C16_held_and_injected_by_another_thread(void **state)
{
	struct tally t = {0};
	struct later l = {.h = serve("udp", XDV_LAYER_FORWARD), .t = &t};
	struct xdivert_stats s;
	pthread_t thread;
	void *failed;
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		send_from_far(&through);
		receive_one(l.h, &l.p[i]);
	}
	xdivert_stats_read(lab.x, &s, NULL, 0);
	assert_int_equal(s.held, 3);
	pthread_create(&thread, NULL, inject_later, &l);
	/* The other thread's injections wake this one. */
	while (t.called < 3)
		assert_true(xdivert_dispatch(l.h, 5000) > 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(t.ok, 3);
	assert_int_equal(t.last.context, 0);
	/* What is still held when the handle dies is dropped, and counted. */
	send_from_far(&through);
	receive_one(l.h, &l.p[0]);
	xdivert_stats_read(lab.x, &s, NULL, 0);
	i = s.dropped;
	assert_int_equal(xdivert_injection_destroy(l.h, -1), 1);
	xdivert_stats_read(lab.x, &s, NULL, 0);
	assert_int_equal(s.dropped, i + 1);
	xdivert_rule_flush(lab.x);
	check_books();
}

static void test_C17_no_hook_on_the_way_out(void **state)
{
	struct xdivert_injection *h = serve("", XDV_LAYER_FORWARD);
	struct xdivert_stats before, after;
	struct tally t = {0};

	(void)state;
	xdivert_stats_read(lab.x, &before, NULL, 0);
	assert_int_equal(inject(h, &plain, lab.v0, &t), 0);
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 2);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.matched, before.matched);
	end_serving(h);
}

static void test_C18_injection_state(void **state)
{
	static const struct udp loop = {.family = 4,
					.from_net = 1,
					.from = 9,
					.to_net = 2,
					.to = 2,
					.ttl = 20,
					.text = "goes round"};
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct xdivert_injection *other = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p;
	struct tally t = {0};
	uint8_t frame[2100];
	uint64_t context;
	int n;

	(void)state;
	drain_wire(lab.wire_w);
	assert_int_equal(inject(h, &loop, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	n = lab_receive(lab.wire_w, "goes round", frame, 2000);
	assert_true(n > 0);
	/* Somebody sends it back to us as it is. */
	lab_send(frame + 14, n - 14);
	receive_one(h, &p);
	context = 0;
	assert_int_equal(xdivert_query_injection_state(h, p, &context),
			 XDIVERT_INJECTED_BY_SELF);
	assert_int_equal(context, 77);
	assert_int_equal(xdivert_query_injection_state(other, p, &context),
			 XDIVERT_INJECTED_BY_OTHER);
	assert_int_equal(context, 0);
	xdivert_packet_free(p);
	/* Another one injected it since. */
	frame[14 + 8] = 19;
	memset(frame + 14 + 10, 0, 2);
	{
		uint16_t sum = xdivert_checksum(frame + 14, 20, 0);

		memcpy(frame + 24, &sum, 2);
	}
	lab_send(frame + 14, n - 14);
	receive_one(h, &p);
	assert_int_equal(xdivert_query_injection_state(h, p, NULL),
			 XDIVERT_INJECTED_BY_SELF);
	xdivert_packet_free(p);
	/* A repetition from its sender has the TTL that ours had before. */
	frame[14 + 8] = 21;
	memset(frame + 14 + 10, 0, 2);
	{
		uint16_t sum = xdivert_checksum(frame + 14, 20, 0);

		memcpy(frame + 24, &sum, 2);
	}
	lab_send(frame + 14, n - 14);
	receive_one(h, &p);
	assert_int_equal(xdivert_query_injection_state(h, p, NULL),
			 XDIVERT_NOT_INJECTED);
	xdivert_packet_free(p);
	/* One that was never injected. */
	send_from_far(&through);
	receive_one(h, &p);
	assert_int_equal(xdivert_query_injection_state(h, p, &context),
			 XDIVERT_NOT_INJECTED);
	assert_int_equal(context, 0);
	xdivert_packet_free(p);
	xdivert_injection_destroy(other, -1);
	end_serving(h);
}

/* A lone fragment goes out as it is. */
static void test_C19_lone_fragment(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, &plain);
	uint8_t *data = xdivert_packet_data(p), frame[2100];
	struct tally t = {0};
	int n;

	(void)state;
	drain_wire(lab.wire_w);
	data[6] = 0x20;
	data[7] = 0x10;
	xdivert_packet_finish(p);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	n = lab_receive(lab.wire_w, "contract", frame, 2000);
	assert_int_equal(n, 14 + 36);
	assert_int_equal(frame[20], 0x20);
	assert_int_equal(frame[21], 0x10);
	xdivert_injection_destroy(h, -1);
}

static void test_C20_clones_are_independent(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, &plain), *copy, *all[9000];
	int n = 0, i;

	(void)state;
	copy = xdivert_packet_clone(p);
	xdivert_packet_data(copy)[30] ^= 0xff;
	assert_int_not_equal(xdivert_packet_data(p)[30],
			     xdivert_packet_data(copy)[30]);
	assert_int_equal(xdivert_packet_put(copy, 10), 0);
	assert_int_equal(xdivert_packet_len(copy), xdivert_packet_len(p) + 10);
	assert_int_equal(xdivert_packet_push(copy, 20), 0);
	assert_int_equal(xdivert_packet_pull(copy, 20), 0);
	assert_int_equal(xdivert_packet_trim(copy, 10), 0);
	assert_int_equal(xdivert_packet_len(copy), xdivert_packet_len(p));
	assert_int_equal(xdivert_packet_put(copy, 4000), -ENOSPC);
	assert_int_equal(xdivert_packet_push(copy, 4000), -ENOSPC);
	assert_int_equal(xdivert_packet_trim(copy, 4000), -ENOSPC);
	assert_int_equal(xdivert_packet_pull(copy, 4000), -ENOSPC);
	xdivert_packet_free(copy);
	xdivert_packet_free(p);
	/* Every frame can be had, comes back, and can be had again. */
	while (n < 9000 && (all[n] = xdivert_packet_alloc(h, 40)))
		n++;
	assert_true(n > 1000 && n < 9000);
	assert_null(xdivert_packet_clone(all[0]));
	for (i = 1; i < n; i++)
		xdivert_packet_free(all[i]);
	for (i = 1; i < n; i++)
		assert_non_null(xdivert_packet_alloc(h, 40));
	assert_int_equal(xdivert_injection_destroy(h, -1), n);
}

static void dispatch_inside(void *arg, struct xdivert_packet *p,
			    const struct xdv_completion *c)
{
	struct tally *t = arg;

	(void)c;
	t->thread = pthread_self();
	t->rc = xdivert_dispatch(t->h, 0);
	if (t->again-- > 0)
		assert_int_equal(xdivert_inject_forward_async(
					 t->h, 0, 0, AF_INET, 0, lab.w0, p,
					 dispatch_inside, t),
				 0);
	else
		xdivert_packet_free(p);
	t->called++;
}

static void test_C23_context_of_the_completion(void **state)
{
	struct tally t = {.h = create(AF_UNSPEC, BOTH), .again = 5};
	struct xdivert_packet *p = lab_packet(t.h, &plain);

	(void)state;
	assert_int_equal(xdivert_inject_forward_async(t.h, 0, 0, AF_INET, 0,
						      lab.w0, p,
						      dispatch_inside, &t),
			 0);
	/* Each round sends what the last one's completion injected. */
	while (t.called < 6)
		assert_int_equal(xdivert_dispatch(t.h, 1000), 1);
	assert_int_equal(t.rc, -EDEADLK);
	assert_true(pthread_equal(t.thread, pthread_self()));
	assert_int_equal(xdivert_injection_destroy(t.h, -1), 0);
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
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -EHOSTUNREACH);
	assert_string_equal(xdivert_reason_name(t.last.reason), "FIB_NO_NEIGH");
	sh("ip link set w0 down");
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -ENETDOWN);
	assert_string_equal(xdivert_reason_name(t.last.reason), "DEVICE_DOWN");
	lab_neighbours();
	xdivert_injection_destroy(h, -1);
	check_books();
}

/* A local server answers a request that was edited on its way in. */
static void test_C25_receive_injection(void **state)
{
	static const struct udp request = {.family = 4,
					   .from_net = 1,
					   .from = 2,
					   .to_net = 1,
					   .to = 1,
					   .sport = 7,
					   .dport = 5002,
					   .text = "what is cold"};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(5002)};
	struct xdivert_injection *h = serve("udp port 5002", XDV_LAYER_RECEIVE);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd fd = {.fd = s, .events = POLLIN};
	const struct xdivert_metadata *m;
	struct xdivert_packet *p;
	struct tally t = {0};
	char text[100] = "";
	socklen_t size = sizeof(address);

	(void)state;
	assert_int_equal(bind(s, (void *)&address, sizeof(address)), 0);
	send_from_far(&request);
	receive_one(h, &p);
	m = xdivert_packet_metadata(p);
	assert_int_equal(m->layer, XDV_LAYER_RECEIVE);
	assert_int_equal(poll(&fd, 1, 0), 0);
	memcpy(xdivert_packet_data(p) + 28 + 8, "warm", 4);
	xdivert_packet_finish(p);
	assert_int_equal(xdivert_inject_receive_async(h, 5, 0, AF_INET, 0,
						      m->iif, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.context, 5);
	assert_int_equal(poll(&fd, 1, 2000), 1);
	assert_int_equal(
		recvfrom(s, text, sizeof(text), 0, (void *)&address, &size),
		12);
	assert_string_equal(text, "what is warm");
	drain_wire(lab.wire_v);
	assert_int_equal(sendto(s, "so it is", 8, 0, (void *)&address, size),
			 8);
	expect_on(lab.wire_v, "so it is");
	close(s);
	/* No such interface; one that is down. */
	assert_int_equal(xdivert_inject_receive_async(h, 0, 0, AF_INET, 0, 9999,
						      lab_packet(h, &request),
						      completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -ENODEV);
	end_serving(h);
}

static void test_C26_order(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	static uint8_t frame[2100];
	struct tally t = {0};
	struct udp u = plain, other = plain;
	char text[16];
	int i, got, n;

	(void)state;
	drain_wire(lab.wire_w);
	u.text = text;
	other.to_net = 1;
	for (i = 0; i < 3000; i++) {
		snprintf(text, sizeof(text), "order-%06d", i);
		assert_int_equal(inject(h, &u, lab.w0, &t), 0);
		/* Other targets between, and batches of any size. */
		if (i % 7 == 0)
			assert_int_equal(inject(h, &other, lab.v0, &t), 0);
		if (i % 13 == 0 || i % 100 == 0)
			xdivert_dispatch(h, 0);
	}
	xdivert_dispatch(h, 0);
	assert_int_equal(t.ok, t.called);
	for (i = 0; i < 3000; i++) {
		do
			n = lab_receive(lab.wire_w, "", frame, 2000);
		while (n > 12 && memcmp(frame + n - 12, "order-", 6));
		assert_true(n > 0);
		frame[n] = 0;
		got = atoi((char *)frame + n - 6);
		assert_int_equal(got, i);
	}
	xdivert_injection_destroy(h, -1);
}

/* A million with whatever happens to the target: one completion each. */
static void test_C27_a_million(void **state)
{
	enum { TOTAL = 1000000, BATCH = 500 };
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_stats before, after;
	struct tally t = {0};
	unsigned int seed = 27;
	char name[48];
	uint32_t id = 0;
	int i, ok = 0;

	(void)state;
	xdivert_stats_read(lab.x, &before, NULL, 0);
	snprintf(name, sizeof(name), "%s-y", lab.far);
	for (i = 0; i < TOTAL; i++) {
		struct xdivert_packet *p = lab_packet(h, &plain);
		uint32_t target = rand_r(&seed) % 16 ? lab.w0 : 9999;
		int rc;

		rc = xdivert_inject_forward_async(h, i, 0, AF_INET,
						  rand_r(&seed) % 512 ? 0 : id,
						  target, p, completed, &t);
		if (rc)
			xdivert_packet_free(p);
		else
			ok++;
		if (i % BATCH)
			continue;
		xdivert_dispatch(h, 0);
		assert_int_equal(t.called, ok);
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
	lab_neighbours();
	drain_wire(lab.wire_w);
	assert_int_equal(t.called, ok);
	assert_true(t.ok > TOTAL / 4 && t.failed > TOTAL / 20);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.completed - before.completed, t.ok);
	assert_int_equal(after.failed - before.failed, t.failed);
	check_books();
}

static void test_C28_ttl(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct udp u = through;
	struct xdivert_packet *p;
	struct tally t = {0};
	uint8_t frame[2100];

	(void)state;
	u.ttl = 33;
	u.text = "diverted";
	send_from_far(&u);
	receive_one(h, &p);
	assert_int_equal(xdivert_packet_flags(p), XDIVERT_PACKET_FORWARDED);
	assert_int_equal(xdivert_packet_data(p)[8], 33);
	assert_int_equal(xdivert_inject_onward(h, p), 0);
	xdivert_dispatch(h, 0);
	assert_true(lab_receive(lab.wire_w, "diverted", frame, 2000) > 0);
	assert_int_equal(frame[22], 32);
	assert_int_equal(xdivert_checksum(frame + 14, 20, 0), 0);
	/* As given, even 1. */
	u.ttl = 1;
	u.text = "made here";
	assert_int_equal(inject(h, &u, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_true(lab_receive(lab.wire_w, "made here", frame, 2000) > 0);
	assert_int_equal(frame[22], 1);
	/* With the flag it ends here. */
	p = lab_packet(h, &u);
	xdivert_packet_set_flags(p, XDIVERT_PACKET_FORWARDED);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -ETIME);
	end_serving(h);
}

static void test_C29_too_big(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	char text[1600];
	struct udp u = plain;
	struct tally t = {0};

	(void)state;
	memset(text, 'x', sizeof(text));
	text[1473] = 0;
	u.text = text;
	assert_int_equal(inject(h, &u, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -EMSGSIZE);
	text[1472] = 0;
	assert_int_equal(inject(h, &u, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	xdivert_injection_destroy(h, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C01_handles),
		cmocka_unit_test(test_C02_not_ready),
		cmocka_unit_test(test_C03_destroy_waits),
		cmocka_unit_test(test_C04_closing),
		cmocka_unit_test(test_C05_context),
		cmocka_unit_test(test_C14_errors_of_initiation),
		cmocka_unit_test(test_C15_too_many_pending),
		cmocka_unit_test(test_C15_malformed_packets),
		cmocka_unit_test(test_C08_compartments),
		cmocka_unit_test(test_C09_interfaces),
		cmocka_unit_test(test_C10_clone_and_fresh),
		cmocka_unit_test(test_C11_initiated_not_sent),
		cmocka_unit_test(test_C12_exactly_once_with_status),
		cmocka_unit_test(test_C13_argument),
		cmocka_unit_test(test_C16_held_and_injected_by_another_thread),
		cmocka_unit_test(test_C17_no_hook_on_the_way_out),
		cmocka_unit_test(test_C18_injection_state),
		cmocka_unit_test(test_C19_lone_fragment),
		cmocka_unit_test(test_C20_clones_are_independent),
		cmocka_unit_test(test_C23_context_of_the_completion),
		cmocka_unit_test(test_C24_reasons),
		cmocka_unit_test(test_C25_receive_injection),
		cmocka_unit_test(test_C26_order),
		cmocka_unit_test(test_C27_a_million),
		cmocka_unit_test(test_C28_ttl),
		cmocka_unit_test(test_C29_too_big),
	};

	return cmocka_run_group_tests_name("contract", tests, lab_open,
					   lab_close);
}
