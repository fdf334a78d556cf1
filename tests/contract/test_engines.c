// SPDX-License-Identifier: BSD-2-Clause
/* Few packets go through the port, many as live frames; nobody notices. */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tally.h"
#include "unit.h"

/* Which engines sent how many. */
struct engines {
	int called, failed;
	int of[XDV_ENGINE_NEIGH + 1];
};

static void count(void *arg, struct xdivert_packet *p,
		  const struct xdv_completion *c)
{
	struct engines *e = arg;

	e->called++;
	e->failed += c->status != 0;
	e->of[c->engine]++;
	xdivert_packet_free(p);
}

static void inject_number(struct xdivert_injection *h, int number,
			  struct engines *e)
{
	char text[16];
	struct udp u = plain;

	snprintf(text, sizeof(text), "order-%06d", number);
	u.text = text;
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, lab_packet(h, &u),
						      count, e),
			 0);
}

static void inject_batch(struct xdivert_injection *h, int first, int n,
			 struct engines *e)
{
	int i, called = e->called;

	for (i = 0; i < n; i++)
		inject_number(h, first + i, e);
	while (e->called < called + n)
		assert_true(xdivert_dispatch(h, 10000) > 0);
}

static void expect_numbers(int first, int n)
{
	static uint8_t frame[2100];
	int i, size;

	for (i = 0; i < n; i++) {
		do
			size = lab_receive(lab.wire_w, "", frame, 2000);
		while (size > 12 && memcmp(frame + size - 12, "order-", 6));
		assert_true(size > 0);
		frame[size] = 0;
		assert_int_equal(atoi((char *)frame + size - 6), first + i);
	}
}

static void test_C12_engines_by_batch_size(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct engines e = {0};

	(void)state;
	drain_wire(lab.wire_w);
	inject_batch(h, 0, 1, &e);
	inject_batch(h, 1, 4, &e);
	assert_int_equal(e.of[XDV_ENGINE_PORT], 5);
	inject_batch(h, 5, 100, &e);
	assert_int_equal(e.of[XDV_ENGINE_PORT], 5);
	assert_int_equal(e.of[XDV_ENGINE_LIVE], 100);
	assert_int_equal(e.failed, 0);
	expect_numbers(0, 105);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Batches whose sizes make nearly every one take the other engine. */
static void test_C26_order_across_engines(void **state)
{
	enum { PACKETS = 30000 };
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct engines e = {0};
	unsigned int seed = 26;
	int sent = 0, seen = 0, n;

	(void)state;
	drain_wire(lab.wire_w);
	while (sent < PACKETS) {
		n = 1 + rand_r(&seed) % 24;
		inject_batch(h, sent, n, &e);
		sent += n;
		if (sent - seen > 2000) {
			expect_numbers(seen, sent - seen);
			seen = sent;
		}
	}
	expect_numbers(seen, sent - seen);
	assert_int_equal(e.failed, 0);
	assert_int_equal(e.called, sent);
	assert_int_equal(e.of[XDV_ENGINE_PORT] + e.of[XDV_ENGINE_LIVE], sent);
	assert_true(e.of[XDV_ENGINE_PORT] > PACKETS / 20);
	assert_true(e.of[XDV_ENGINE_LIVE] > PACKETS / 3);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Each engine answers for what happens to its target meanwhile. */
static void test_C27_exactly_once_across_engines(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct engines e = {0};
	unsigned int seed = 27;
	int round, sent = 0, n;

	(void)state;
	for (round = 0; round < 4000; round++) {
		n = 1 + rand_r(&seed) % 24;
		inject_batch(h, sent, n, &e);
		sent += n;
		if (round % 200 == 50)
			sh("ip link set w0 down");
		if (round % 200 == 100)
			lab_neighbours();
		if (round % 200 == 150)
			sh("ip neigh del 10.2.0.2 dev w0");
		if (round % 200 == 160)
			lab_neighbours();
	}
	assert_int_equal(e.called, sent);
	assert_true(e.failed > sent / 10 && e.failed < sent / 2);
	assert_true(e.of[XDV_ENGINE_PORT] > sent / 20);
	assert_true(e.of[XDV_ENGINE_LIVE] > sent / 3);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	drain_wire(lab.wire_w);
	check_books();
}

/* The port serves its own namespace, outwards. */
static void test_C08_live_frames_elsewhere(void **state)
{
	static const struct udp back = {.family = 4,
					.from_net = 1,
					.from = 2,
					.to_net = 1,
					.to = 1,
					.text = "back"};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct engines e = {0};
	uint32_t far;

	(void)state;
	assert_int_equal(xdivert_compartment_find(lab.far, &far), 0);
	sh("nsenter --net=/run/netns/%s ip neigh replace 10.1.0.1 lladdr"
	   " %02x:%02x:%02x:%02x:%02x:%02x dev v1 nud permanent",
	   lab.far, lab.mac_v0[0], lab.mac_v0[1], lab.mac_v0[2], lab.mac_v0[3],
	   lab.mac_v0[4], lab.mac_v0[5]);
	assert_int_equal(
		xdivert_inject_forward_async(h, 0, 0, AF_INET, far, lab.v1,
					     lab_packet(h, &back), count, &e),
		0);
	assert_int_equal(
		xdivert_inject_receive_async(h, 0, 0, AF_INET, 0, lab.v0,
					     lab_packet(h, &back), count, &e),
		0);
	while (e.called < 2)
		assert_true(xdivert_dispatch(h, 10000) > 0);
	assert_int_equal(e.of[XDV_ENGINE_LIVE], 2);
	assert_int_equal(e.failed, 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Somebody takes our device away: live frames do it all. */
static void test_without_the_port(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct engines e = {0};

	(void)state;
	drain_wire(lab.wire_w);
	inject_batch(h, 0, 1, &e);
	sh("ip link del xdv0");
	inject_batch(h, 1, 3, &e);
	inject_batch(h, 4, 50, &e);
	assert_int_equal(e.failed, 0);
	assert_int_equal(e.of[XDV_ENGINE_PORT], 1);
	assert_int_equal(e.of[XDV_ENGINE_LIVE], 53);
	expect_numbers(0, 54);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_int_equal(if_nametoindex("xdv0"), 0);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C12_engines_by_batch_size),
		contract_test(test_C26_order_across_engines),
		contract_test(test_C27_exactly_once_across_engines),
		contract_test(test_C08_live_frames_elsewhere),
		contract_test(test_without_the_port),
	};

	return cmocka_run_group_tests_name("engines", tests, lab_open,
					   lab_close);
}
