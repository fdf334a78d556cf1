// SPDX-License-Identifier: BSD-2-Clause
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tally.h"
#include "unit.h"

const struct udp plain = {.family = 4,
			  .from_net = 1,
			  .from = 1,
			  .to_net = 2,
			  .to = 2,
			  .sport = 1,
			  .dport = 9,
			  .text = "contract"};

const struct udp through = {.family = 4,
			    .from_net = 1,
			    .from = 2,
			    .to_net = 2,
			    .to = 2,
			    .sport = 5,
			    .dport = 6,
			    .text = "through"};

void completed(void *arg, struct xdivert_packet *p,
	       const struct xdv_completion *c)
{
	struct tally *t = arg;

	t->called++;
	t->ok += !c->status;
	t->failed += c->status != 0;
	t->engine[c->engine]++;
	t->last = *c;
	t->thread = pthread_self();
	xdivert_packet_free(p);
}

struct xdivert_injection *create(int family, uint32_t kinds)
{
	struct xdivert_injection *h;

	if (xdivert_injection_create(&h, lab.x, family, kinds))
		fail_msg("%s", xdivert_error());
	return h;
}

int inject(struct xdivert_injection *h, const struct udp *u, uint32_t ifindex,
	   struct tally *t)
{
	struct xdivert_packet *p = lab_packet(h, u);
	int rc = xdivert_inject_forward_async(
		h, 77, 0, u->family == 4 ? AF_INET : AF_INET6, 0, ifindex, p,
		completed, t);

	if (rc)
		xdivert_packet_free(p);
	return rc;
}

void wait_called(struct xdivert_injection *h, const struct tally *t, int n)
{
	while (t->called < n)
		assert_true(xdivert_dispatch(h, 2 * XDIVERT_BOUND_MS) > 0);
	assert_int_equal(t->called, n);
}

void expect_on(int wire, const char *text)
{
	uint8_t frame[2100];

	assert_true(lab_receive(wire, text, frame, 2000) > 0);
}

void expect_nothing_on(int wire, const char *text)
{
	uint8_t frame[2100];

	assert_int_equal(lab_receive(wire, text, frame, 50), 0);
}

void check_books(void)
{
	struct xdivert_stats s;

	assert_true(xdivert_stats_read(lab.x, &s, NULL, 0) >= 0);
	assert_int_equal(s.diverted + s.originated,
			 s.injected + s.dropped + s.held);
	assert_int_equal(s.injected, s.completed + s.failed + s.in_flight);
	assert_int_equal(s.held, 0);
	assert_int_equal(s.in_flight, 0);
}

int close_books(void **state)
{
	(void)state;
	check_books();
	return 0;
}

void receive_one(struct xdivert_injection *h, struct xdivert_packet **p)
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

struct xdivert_injection *serve(const char *filter, uint32_t layer)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);

	add_rule(filter, layer);
	if (xdivert_serve(h))
		fail_msg("%s", xdivert_error());
	return h;
}

void end_serving(struct xdivert_injection *h)
{
	xdivert_injection_destroy(h, -1);
	assert_int_equal(xdivert_rule_flush(lab.x), 0);
	check_books();
}

void send_from_far(const struct udp *u)
{
	uint8_t data[9000];
	uint32_t len = lab_build(u, data);

	/* The hook checks the header's sum. */
	lab_seal(data);
	lab_send(data, len);
}

void drain_wire(int wire)
{
	uint8_t frame[2100];

	while (lab_receive(wire, "", frame, 0) > 0)
		;
}
