// SPDX-License-Identifier: BSD-2-Clause
/* Dispatch waits asleep or awake, and returns when there is a reason to. */
#include <sys/socket.h>

#include "tally.h"
#include "unit.h"

#define FOR_EVER -1

enum wait { ASLEEP, AWAKE, SPINNING };

static void wait_like(struct xdivert_injection *h, enum wait wait)
{
	xdivert_idle_poll(h, wait == AWAKE ? 1000000 : 0);
	xdivert_busy_poll(h, wait == SPINNING);
}

static void *interrupt(void *h)
{
	xdivert_interrupt(h);
	return NULL;
}

/* Before it waits, or while it does: it returns once for each. */
static void interrupt_all(struct xdivert_injection *h)
{
	pthread_t thread;
	int i;

	xdivert_interrupt(h);
	assert_int_equal(xdivert_dispatch(h, FOR_EVER), 0);
	for (i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&thread, NULL, interrupt, h),
				 0);
		assert_int_equal(xdivert_dispatch(h, FOR_EVER), 0);
		pthread_join(thread, NULL);
	}
}

static void test_interrupt(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	enum wait wait;

	(void)state;
	for (wait = ASLEEP; wait <= SPINNING; wait++) {
		wait_like(h, wait);
		interrupt_all(h);
	}
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

static void *send_one(void *arg)
{
	(void)arg;
	send_from_far(&through);
	return NULL;
}

/* For who pulls, dispatch returns when there is something to receive. */
static void test_pulling(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct xdivert_packet *p;
	pthread_t thread;
	enum wait wait;
	int i;

	(void)state;
	for (wait = ASLEEP; wait <= SPINNING; wait++) {
		wait_like(h, wait);
		for (i = 0; i < 20; i++) {
			pthread_create(&thread, NULL, send_one, NULL);
			while (xdivert_receive(h, &p, 1) == 0)
				assert_true(xdivert_dispatch(h, FOR_EVER) >= 0);
			xdivert_packet_free(p);
			pthread_join(thread, NULL);
		}
	}
	end_serving(h);
	check_books();
}

/* Nothing comes: it says so when the time is over. */
static void test_timeout(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	enum wait wait;

	(void)state;
	for (wait = ASLEEP; wait <= SPINNING; wait++) {
		wait_like(h, wait);
		assert_int_equal(xdivert_dispatch(h, 0), 0);
		assert_int_equal(xdivert_dispatch(h, 1), 0);
	}
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_interrupt),
		contract_test(test_pulling),
		contract_test(test_timeout),
	};

	return cmocka_run_group_tests_name("waiting", tests, lab_open,
					   lab_close);
}
