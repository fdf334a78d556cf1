// SPDX-License-Identifier: BSD-2-Clause
/* Initiating an injection, and refusing to: contract C06, C07, C11, C13 to C15.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tally.h"
#include "unit.h"

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

static int called_without;

static void without_argument(void *arg, struct xdivert_packet *p,
			     const struct xdv_completion *c)
{
	(void)c;
	assert_null(arg);
	called_without++;
	xdivert_packet_free(p);
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
	/* A function that wants nothing is given nothing. */
	assert_int_equal(xdivert_inject_forward_async(
				 h, 0, 0, AF_INET, 0, lab.w0,
				 lab_packet(h, &plain), without_argument, NULL),
			 0);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	assert_int_equal(called_without, 1);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

static const struct udp six = {.family = 6,
			       .from_net = 1,
			       .from = 1,
			       .to_net = 2,
			       .to = 2,
			       .text = "six"};

struct attempt {
	const struct udp *u;
	uint32_t flags;
	int family;
	uint32_t compartment;
	int rc;
};

/* Initiation fails with that code: nobody is called, nothing is counted, and
 * the packet is still ours, to use as if nothing had been (C14).
 */
static void check_refused(const struct attempt *a)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, a->u);
	struct xdivert_stats before, after;
	struct tally t = {0};

	assert_true(xdivert_stats_read(lab.x, &before, NULL, 0) >= 0);
	assert_int_equal(xdivert_inject_forward_async(h, 0, a->flags, a->family,
						      a->compartment, lab.w0, p,
						      completed, &t),
			 a->rc);
	assert_true(*xdivert_error());
	assert_int_equal(xdivert_inject_receive_async(h, 0, a->flags, a->family,
						      a->compartment, lab.v0, p,
						      completed, &t),
			 a->rc);
	assert_int_equal(xdivert_dispatch(h, 0), 0);
	assert_int_equal(t.called, 0);
	assert_true(xdivert_stats_read(lab.x, &after, NULL, 0) >= 0);
	assert_int_equal(after.originated, before.originated);
	assert_int_equal(after.injected, before.injected);
	assert_int_equal(xdivert_inject_forward_async(
				 h, 0, 0,
				 a->u->family == 4 ? AF_INET : AF_INET6, 0,
				 lab.w0, p, completed, &t),
			 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_int_equal(t.ok, 1);
	check_books();
}

static void test_C06_flags_are_reserved(void **state)
{
	uint32_t flag;

	(void)state;
	for (flag = 1; flag; flag <<= 1)
		check_refused(
			&(struct attempt){&plain, flag, AF_INET, 0, -EINVAL});
}

static void test_C07_families(void **state)
{
	static const struct attempt attempts[] = {
		{&plain, 0, AF_UNIX, 0, -EAFNOSUPPORT},
		{&plain, 0, AF_UNSPEC, 0, -EAFNOSUPPORT},
		{&plain, 0, -1, 0, -EAFNOSUPPORT},
		{&plain, 0, AF_INET6, 0, -EINVAL},
		{&six, 0, AF_INET, 0, -EINVAL},
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(attempts); i++)
		check_refused(&attempts[i]);
}

/* The other codes are in C01, C04 and C15. */
static void test_C14_the_packet_stays_the_callers(void **state)
{
	(void)state;
	check_refused(&(struct attempt){&plain, 0, AF_INET, 1, -ENOTCONN});
	check_refused(&(struct attempt){&plain, 1, AF_INET, 1, -EINVAL});
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C11_initiated_not_sent),
		contract_test(test_C13_argument),
		contract_test(test_C06_flags_are_reserved),
		contract_test(test_C07_families),
		contract_test(test_C14_the_packet_stays_the_callers),
		contract_test(test_C15_too_many_pending),
		contract_test(test_C15_malformed_packets),
	};

	return cmocka_run_group_tests_name("initiation", tests, lab_open,
					   lab_close);
}
