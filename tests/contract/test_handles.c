// SPDX-License-Identifier: BSD-2-Clause
/* The life of injection handles: contract C01 to C04, C23. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tally.h"
#include "unit.h"

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

static int inject_in_a_child(void)
{
	struct xdivert_injection *h;
	struct xdivert_open_opts opts = {.sz = sizeof(opts),
					 .pin_dir = lab.pins};
	struct tally t = {0};
	struct xdivert *x;

	if (xdivert_open(&x, &opts) ||
	    xdivert_injection_create(&h, x, AF_UNSPEC, BOTH))
		return 1;
	if (inject(h, &plain, lab.w0, &t) || xdivert_dispatch(h, 0) != 1)
		return 2;
	/* One that does not end in peace leaves what it has. */
	return t.ok == 1 && !xdivert_injection_destroy(h, -1) ? 0 : 3;
}

/* A handle of each of two processes, side by side. */
static void test_C01_processes(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int status;
	pid_t child;

	(void)state;
	drain_wire(lab.wire_w);
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	child = fork();
	if (!child)
		_exit(inject_in_a_child());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	expect_on(lab.wire_w, plain.text);
	expect_nothing_on(lab.wire_w, plain.text);
	assert_int_equal(t.called, 0);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	assert_int_equal(t.ok, 1);
	expect_on(lab.wire_w, plain.text);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Who serves must be able to send on whatever a rule diverts. */
static void test_C01_only_whole_handles_serve(void **state)
{
	struct xdivert_injection *h = create(AF_INET, BOTH);

	(void)state;
	assert_int_equal(xdivert_serve(h), -EINVAL);
	assert_non_null(strstr(xdivert_error(), "both kinds"));
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	h = create(AF_UNSPEC, XDIVERT_KIND_FORWARD);
	assert_int_equal(xdivert_serve(h), -EINVAL);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	h = create(AF_UNSPEC, XDIVERT_KIND_ALL);
	assert_int_equal(xdivert_serve(h), 0);
	assert_int_equal(xdivert_serve(h), -EALREADY);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
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
	assert_int_equal(xdivert_compartment_enter("nosuch"), -ENOTCONN);
	/* No bpffs. */
	opts.pin_dir = "/tmp/xdivert-nothing";
	assert_int_equal(xdivert_open(&x, &opts), -ENOTCONN);
	opts.create = true;
	assert_int_equal(xdivert_open(&x, &opts), -EPERM);
	assert_non_null(strstr(xdivert_error(), "bpf"));
	assert_int_not_equal(access(opts.pin_dir, F_OK), 0);
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

static void dispatch_inside(void *arg, struct xdivert_packet *p,
			    const struct xdv_completion *c)
{
	struct tally *t = arg;

	(void)c;
	t->thread = pthread_self();
	t->rc = xdivert_dispatch(t->h, 0);
	assert_int_equal(xdivert_injection_destroy(t->h, 0), -EDEADLK);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C01_handles),
		contract_test(test_C01_processes),
		contract_test(test_C01_only_whole_handles_serve),
		contract_test(test_C02_not_ready),
		contract_test(test_C03_destroy_waits),
		contract_test(test_C04_closing),
		contract_test(test_C23_context_of_the_completion),
	};

	return cmocka_run_group_tests_name("handles", tests, lab_open,
					   lab_close);
}
