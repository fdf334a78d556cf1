// SPDX-License-Identifier: BSD-2-Clause
/* What a packet is and how it leaves: contract C10, C16, C19, C20, C28. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tally.h"
#include "unit.h"

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

/* push and put take what there is, and not a byte more. */
static void test_C10_room(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, &plain);
	uint32_t len = xdivert_packet_len(p), head, tail;

	(void)state;
	head = xdivert_packet_headroom(p);
	tail = xdivert_packet_tailroom(p);
	assert_true(head >= 40 && tail >= 1000);
	assert_int_equal(xdivert_packet_push(p, head + 1), -ENOSPC);
	assert_int_equal(xdivert_packet_put(p, tail + 1), -ENOSPC);
	assert_int_equal(xdivert_packet_len(p), len);
	assert_int_equal(xdivert_packet_push(p, 40), 0);
	assert_int_equal(xdivert_packet_put(p, 1000), 0);
	assert_int_equal(xdivert_packet_len(p), len + 1040);
	assert_int_equal(xdivert_packet_headroom(p), head - 40);
	/* The longest packet there is bounds them both. */
	assert_int_equal(xdivert_packet_tailroom(p), tail - 1040);
	memset(xdivert_packet_data(p), 1, 40);
	memset(xdivert_packet_data(p) + 40 + len, 1, 1000);
	assert_int_equal(xdivert_packet_pull(p, 40), 0);
	assert_int_equal(xdivert_packet_headroom(p), head);
	xdivert_packet_free(p);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
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

/* Who holds all that a handle has room for gets no more; the rest is counted.
 */
static void test_C16_holding_is_bounded(void **state)
{
	enum { SENT = XDV_FRAMES + 500 };
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	static struct xdivert_packet *held[SENT];
	struct xdivert_stats before, s;
	int n = 0, got, i;

	(void)state;
	xdivert_stats_read(lab.x, &before, NULL, 0);
	for (i = 0; i < SENT; i++) {
		send_from_far(&through);
		got = xdivert_receive(h, held + n, SENT - n);
		assert_true(got >= 0);
		n += got;
	}
	do {
		n += xdivert_receive(h, held + n, SENT - n);
		xdivert_stats_read(lab.x, &s, NULL, 0);
	} while (s.matched - before.matched < SENT ||
		 (uint64_t)n < s.diverted - before.diverted);
	assert_true(n > XDV_FRAMES / 2 && n <= XDV_FRAMES);
	assert_int_equal(s.held, n);
	assert_int_equal(s.queue_dropped + s.unserved - before.queue_dropped -
				 before.unserved,
			 SENT - n);
	/* What is let go makes room. */
	while (n)
		xdivert_packet_free(held[--n]);
	assert_int_equal(xdivert_receive(h, held, 1), 0);
	send_from_far(&through);
	receive_one(h, held);
	xdivert_packet_free(held[0]);
	drain_wire(lab.wire_w);
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

/* In another process, for builds with XDIVERT_DEBUG abort it. */
static void test_C20_double_free(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = lab_packet(h, &plain);
	pid_t child = fork();
	int status;

	(void)state;
	if (!child) {
		xdivert_packet_free(p);
		xdivert_packet_free(p);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
#ifdef XDIVERT_DEBUG
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#else
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
#endif
	xdivert_packet_free(p);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
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
	/* The same of IPv6. */
	u.family = 6;
	u.ttl = 33;
	u.text = "diverted6";
	send_from_far(&u);
	receive_one(h, &p);
	assert_int_equal(xdivert_packet_data(p)[7], 33);
	assert_int_equal(xdivert_inject_onward(h, p), 0);
	xdivert_dispatch(h, 0);
	assert_true(lab_receive(lab.wire_w, "diverted6", frame, 2000) > 0);
	assert_int_equal(frame[21], 32);
	u.ttl = 1;
	u.text = "made here6";
	assert_int_equal(inject(h, &u, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_true(lab_receive(lab.wire_w, "made here6", frame, 2000) > 0);
	assert_int_equal(frame[21], 1);
	end_serving(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C10_clone_and_fresh),
		contract_test(test_C10_room),
		contract_test(test_C16_held_and_injected_by_another_thread),
		contract_test(test_C16_holding_is_bounded),
		contract_test(test_C19_lone_fragment),
		contract_test(test_C20_clones_are_independent),
		contract_test(test_C20_double_free),
		contract_test(test_C28_ttl),
	};

	return cmocka_run_group_tests_name("packets", tests, lab_open,
					   lab_close);
}
