// SPDX-License-Identifier: BSD-2-Clause
/* What an open object is worth when others change the state: contract C02. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "state.h"
#include "tally.h"
#include "unit.h"

static struct xdivert *open_again(bool create)
{
	struct xdivert_open_opts opts = {
		.sz = sizeof(opts), .pin_dir = lab.pins, .create = create};
	struct xdivert *x;

	if (xdivert_open(&x, &opts))
		fail_msg("%s", xdivert_error());
	return x;
}

/* Everything detached and made anew: the old object must leave it alone. */
static void test_C02_old_object(void **state)
{
	struct xdivert *somebody = open_again(false), *fresh;
	struct xdivert_interface list[4];
	struct xdv_rule rule = {.name = "r", .filter = "udp"};
	struct xdivert_injection *h;

	(void)state;
	assert_int_equal(xdivert_detach_all(somebody), 0);
	xdivert_close(somebody);
	fresh = open_again(true);
	assert_int_equal(xdivert_attach(fresh, "v0", NULL), 0);
	assert_int_equal(xdivert_attach(lab.x, "nosuch", NULL), -ENOTCONN);
	assert_non_null(strstr(xdivert_error(), "not ready"));
	assert_int_equal(xdivert_rule_add(lab.x, &rule), -ENOTCONN);
	assert_int_equal(xdivert_detach(lab.x, "v0"), -ENOTCONN);
	assert_int_equal(xdivert_detach_all(lab.x), -ENOTCONN);
	assert_int_equal(xdivert_injection_create(&h, lab.x, AF_UNSPEC, BOTH),
			 -ENOTCONN);
	assert_int_equal(xdivert_interfaces(fresh, list, 4), 1);
	assert_int_equal(access(lab.pins, F_OK), 0);
	xdivert_close(lab.x);
	lab.x = fresh;
}

/* Nothing attached any more: the state lives as long as a handle counts in it.
 */
static void test_C02_state_outlives_hooks(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};

	(void)state;
	assert_int_equal(xdivert_detach_all(lab.x), 0);
	assert_int_equal(access(lab.pins, F_OK), 0);
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	check_books();
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_int_equal(t.ok, 1);
	assert_int_equal(access(lab.pins, F_OK), -1);
	xdivert_close(lab.x);
	lab.x = open_again(true);
	assert_int_equal(xdivert_attach(lab.x, "v0", NULL), 0);
}

/* Programs that know fewer options than the library, or more. */
static void test_options_of_other_versions(void **state)
{
	struct {
		struct xdivert_attach_opts known;
		int more;
	} opts = {.known = {.sz = sizeof(opts)}};

	(void)state;
	assert_int_equal(xdivert_attach(lab.x, "w0", &opts.known), 0);
	assert_int_equal(xdivert_detach(lab.x, "w0"), 0);
	opts.more = 1;
	assert_int_equal(xdivert_attach(lab.x, "w0", &opts.known), -EINVAL);
	opts.known.sz = offsetof(struct xdivert_attach_opts, hook);
	opts.known.hook = 77; /* not looked at */
	assert_int_equal(xdivert_attach(lab.x, "w0", &opts.known), 0);
	assert_int_equal(xdivert_detach(lab.x, "w0"), 0);
	opts.known.sz = 0;
	assert_int_equal(xdivert_attach(lab.x, "w0", &opts.known), -EINVAL);
	opts.known = (struct xdivert_attach_opts){.sz = sizeof(opts.known),
						  .mode = 7};
	assert_int_equal(xdivert_attach(lab.x, "w0", &opts.known), -EINVAL);
	opts.known = (struct xdivert_attach_opts){.sz = sizeof(opts.known),
						  .fail = 9};
	assert_int_equal(xdivert_attach(lab.x, "w0", &opts.known), -EINVAL);
}

#define TEXT(field)                                                            \
	{                                                                      \
		offsetof(struct xdv_rule, field),                              \
			sizeof(((struct xdv_rule *)0)->field)                  \
	}

/* One text at a time that has no end. */
static void test_rules_that_are_none(void **state)
{
	static const struct {
		size_t offset, size;
	} texts[] = {TEXT(name),   TEXT(iif),	  TEXT(oif),	 TEXT(to),
		     TEXT(filter), TEXT(src_set), TEXT(dst_set), TEXT(actions)};
	const struct xdv_rule good = {.name = "r", .filter = "udp"};
	struct xdv_rule rule = good, *list;
	size_t i;

	(void)state;
	rule.layer = 77;
	assert_int_equal(xdivert_rule_add(lab.x, &rule), -EINVAL);
	assert_non_null(strstr(xdivert_error(), "layer 77"));
	rule = good;
	rule.fragment = 77;
	assert_int_equal(xdivert_rule_add(lab.x, &rule), -EINVAL);
	assert_non_null(strstr(xdivert_error(), "77"));
	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		rule = good;
		memset((char *)&rule + texts[i].offset, 'a', texts[i].size);
		assert_int_equal(xdivert_rule_add(lab.x, &rule), -EINVAL);
		assert_non_null(strstr(xdivert_error(), "does not end"));
		assert_int_equal(xdivert_rules_apply(lab.x, &rule, 1), -EINVAL);
	}
	assert_int_equal(xdivert_rules(lab.x, &list), 0);
	free(list);
}

/* Injections to whatever number make no rows, and rows of interfaces that have
 * gone make room for others; nothing that was counted is lost.
 */
static void test_rows_of_statistics(void **state)
{
	struct xdv_stats values[256] = {{.injected = 2, .failed = 2}};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_stats before, after;
	struct tally t = {0};
	uint32_t i;

	(void)state;
	for (i = 0; i < 1000; i++)
		assert_int_equal(inject(h, &plain, 100000 + i, &t), 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_int_equal(t.failed, 1000);
	assert_true(xdivert_stats_read(lab.x, &before, NULL, 0) < 10);
	for (i = 0; !bpf_map_update_elem(lab.x->stats, &(uint32_t){200000 + i},
					 values, BPF_NOEXIST);
	     i++)
		;
	assert_true(i > 900);
	assert_int_equal(xdivert_attach(lab.x, "w0", NULL), 0);
	assert_true(xdivert_stats_read(lab.x, &after, NULL, 0) < 10);
	assert_int_equal(after.injected, before.injected + 2 * i);
	assert_int_equal(after.failed, before.failed + 2 * i);
	assert_int_equal(xdivert_detach(lab.x, "w0"), 0);
	/* What was made up was never originated. */
	lab.x->shared->originated += 2 * i;
	check_books();
}

static bool enough;

static void *read_stats(void *arg)
{
	struct xdivert_stats s;
	long *n = arg;

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		if (xdivert_stats_read(lab.x, &s, NULL, 0) < 0)
			return n;
		++*n;
	}
	return NULL;
}

/* Statistics in one thread while another one serves, and interfaces change. */
static void test_statistics_beside_dispatch(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	pthread_t thread;
	void *failed;
	long n = 0;
	int i;

	(void)state;
	pthread_create(&thread, NULL, read_stats, &n);
	for (i = 0; i < 100; i++) {
		sh("ip link set w0 mtu %d", 1400 + i);
		xdivert_dispatch(h, 1);
	}
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_true(n > 0);
	end_serving(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C02_old_object),
		contract_test(test_C02_state_outlives_hooks),
		contract_test(test_options_of_other_versions),
		contract_test(test_rules_that_are_none),
		contract_test(test_rows_of_statistics),
		contract_test(test_statistics_beside_dispatch),
	};

	return cmocka_run_group_tests_name("objects", tests, lab_open,
					   lab_close);
}
