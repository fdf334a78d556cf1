// SPDX-License-Identifier: BSD-2-Clause
/* When the dispatching thread sleeps, and when it waits awake. */
#include "idle.h"
#include "unit.h"

#define POLL 1000

static void sleeps_until_a_sleep_was_short(void **state)
{
	struct idle idle = {.poll = POLL};

	(void)state;
	assert_false(idle_polls(&idle, 5000));
	idle_slept(&idle, 5000, 5000 + POLL, true);
	assert_false(idle_polls(&idle, 7000));
	idle_slept(&idle, 7000, 7000 + POLL - 1, true);
	assert_true(idle_polls(&idle, 8000));
}

static void a_timeout_is_no_packet(void **state)
{
	struct idle idle = {.poll = POLL};

	(void)state;
	idle_slept(&idle, 100, 200, false);
	assert_false(idle_polls(&idle, 300));
}

static void waits_awake_as_long_as_it_says(void **state)
{
	struct idle idle = {.poll = POLL};

	(void)state;
	idle_slept(&idle, 100, 200, true);
	assert_true(idle_polls(&idle, 1000));
	assert_true(idle_polls(&idle, 1000 + POLL - 1));
	assert_false(idle_polls(&idle, 1000 + POLL));
	/* In vain: a long sleep ends it. */
	idle_slept(&idle, 1000 + POLL, 9000, true);
	assert_false(idle_polls(&idle, 9100));
}

static void work_makes_it_wait_anew(void **state)
{
	struct idle idle = {.poll = POLL};

	(void)state;
	idle_slept(&idle, 100, 200, true);
	assert_true(idle_polls(&idle, 1000));
	idle_ends(&idle);
	assert_true(idle_polls(&idle, 1000 + POLL));
	assert_true(idle_polls(&idle, 1000 + 2 * POLL - 1));
	assert_false(idle_polls(&idle, 1000 + 2 * POLL));
}

static void never_and_always(void **state)
{
	struct idle idle = {.poll = 0};

	(void)state;
	idle_slept(&idle, 100, 100, true);
	assert_false(idle_polls(&idle, 100));
	idle.busy = true;
	assert_true(idle_polls(&idle, 200));
	assert_true(idle_polls(&idle, 200 + (1ull << 62)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sleeps_until_a_sleep_was_short),
		cmocka_unit_test(a_timeout_is_no_packet),
		cmocka_unit_test(waits_awake_as_long_as_it_says),
		cmocka_unit_test(work_makes_it_wait_anew),
		cmocka_unit_test(never_and_always),
	};

	return cmocka_run_group_tests_name("idle", tests, NULL, NULL);
}
