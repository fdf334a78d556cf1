// SPDX-License-Identifier: BSD-2-Clause
/*
 * What happens in the one moment in which it matters. The calls into the kernel
 * that the library makes there go through this file, which then makes the real
 * ones: C25 to C27.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "clock.h"
#include "inject.h"
#include "inject.skel.h"
#include "tally.h"
#include "unit.h"

/* ---- the moments ---- */

static struct xdv_ring *batch; /* seems to be under way during sendmsg() */
static uint32_t memory;	       /* frames that the kernel has memory for */
static const char *before_run, *before_send; /* commands */

static void now_or_never(const char **command)
{
	const char *once = *command;

	*command = NULL;
	if (once)
		sh("%s", once);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t rc;

	now_or_never(&before_send);
	if (batch)
		batch->cpu = sched_getcpu();
	rc = syscall(SYS_sendmsg, fd, message, flags);
	if (batch)
		batch->cpu = UINT32_MAX;
	return rc;
}

int bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *opts)
{
	int (*real)(int, struct bpf_test_run_opts *) =
		dlsym(RTLD_NEXT, "bpf_prog_test_run_opts");
	int rc;

	now_or_never(&before_run);
	if (!memory || opts->repeat <= (int)memory)
		return real(fd, opts);
	opts->repeat = memory;
	rc = real(fd, opts);
	return rc ? rc : -ENOMEM;
}

/* ---- what happens in them ---- */

static int home; /* our namespace */

/* 10.2.0.99 does not answer, until this says where it is. */
static char resolve[200];

static void prepare_answer(void)
{
	snprintf(resolve, sizeof(resolve),
		 "nsenter --net=/proc/%d/fd/%d ip neigh replace 10.2.0.99 "
		 "dev w0 nud permanent lladdr 02:00:00:00:00:99",
		 getpid(), home);
}

static void resolve_silent(void)
{
	sh("%s", resolve);
}

static void forget_silent(void)
{
	sh("ip neigh del 10.2.0.99 dev w0");
}

static void set_mtu(unsigned int mtu)
{
	sh("ip link set w0 mtu %u; ip -n %s link set w1 mtu %u", mtu, lab.far,
	   mtu);
}

/* Of what is injected. */
static uint32_t through_stack;
static uint8_t tos;

static struct xdivert_packet *numbered(struct xdivert_injection *h, int to,
				       uint32_t len, uint8_t number)
{
	struct xdivert_packet *p = xdivert_packet_alloc(h, len);
	struct udp u = plain;
	uint8_t small[100], *d;

	u.text = "";
	u.to = to;
	assert_non_null(p);
	d = xdivert_packet_data(p);
	memset(d, 0, len);
	memcpy(d, small, lab_build(&u, small));
	d[1] = tos;
	d[2] = len >> 8;
	d[3] = len;
	d[5] = number;
	d[24] = (len - 20) >> 8;
	d[25] = len - 20;
	assert_int_equal(xdivert_packet_finish(p), 0);
	return p;
}

static void inject_numbered(struct xdivert_injection *h, int to, uint32_t len,
			    uint8_t number, struct tally *t)
{
	struct xdivert_packet *p = numbered(h, to, len, number);

	xdivert_packet_set_flags(p, through_stack);
	assert_int_equal(xdivert_inject_forward_async(h, number, 0, AF_INET, 0,
						      lab.w0, p, completed, t),
			 0);
}

/* The softirq runs where sendmsg() does. */
static void pin_here(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	assert_int_equal(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
}

/* A softirq hands what is too long for a live frame to the stack in the midst
 * of another batch.
 */
static void test_C27_handed_over_during_a_batch(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	(void)state;
	pin_here();
	set_mtu(9000);
	batch = &h->skel->bss->xdv_ring;
	for (i = 0; i < 10; i++) {
		inject_numbered(h, 2, 5000, i, &t);
		inject_numbered(h, 2, 500, i, &t);
	}
	wait_called(h, &t, 20);
	assert_int_equal(t.ok, 20);
	batch = NULL;
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	set_mtu(1500);
	drain_wire(lab.wire_w);
	check_books();
}

/* Of the next packet, or of its first fragment. */
static int next_number(void)
{
	static uint8_t frame[9100];
	int n;

	while ((n = lab_receive(lab.wire_w, "", frame, 2000)))
		if (frame[12] == 8 && frame[23] == IPPROTO_UDP &&
		    !(frame[20] & 0x1f) && !frame[21])
			return frame[14 + 5];
	return -1;
}

static void until_idle(struct xdivert_injection *h)
{
	while (xdivert_dispatch(h, 0) > 0)
		;
}

static void all_wait(struct xdivert_injection *h, const struct tally *t)
{
	until_idle(h);
	assert_int_equal(t->called, 0);
}

/* All are sent, and arrive in their order. */
static void end_in_order(struct xdivert_injection *h, const struct tally *t,
			 int n)
{
	int i;

	assert_int_equal(t->ok, t->called);
	for (i = 0; i < n; i++)
		assert_int_equal(next_number(), i);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	forget_silent();
	check_books();
}

/* Long ones and short ones that have waited for the same neighbour. */
static void sizes_that_waited(uint32_t flags)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	through_stack = flags;
	set_mtu(9000);
	drain_wire(lab.wire_w);
	for (i = 0; i < 40; i++)
		inject_numbered(h, 99, i % 3 == 1 ? 5000 : 200, i, &t);
	all_wait(h, &t);
	resolve_silent();
	wait_called(h, &t, 40);
	end_in_order(h, &t, 40);
	set_mtu(1500);
	through_stack = 0;
}

static void test_C26_sizes_that_waited(void **state)
{
	(void)state;
	sizes_that_waited(0);
	sizes_that_waited(XDIVERT_PACKET_VIA_STACK);
}

/* ... of which the route takes the long ones only in parts. */
static void test_C26_parts_that_waited(void **state)
{
	(void)state;
	sh("ip route replace 10.2.0.99/32 dev w0 mtu lock 1000");
	sizes_that_waited(0);
	sizes_that_waited(XDIVERT_PACKET_VIA_STACK);
	sh("ip route del 10.2.0.99/32 dev w0");
}

/* A few packets take the port; what must not wait for the neighbour is told so
 * in the same dispatch that releases the others.
 */
static void few_that_waited(const uint32_t *lens, int n)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	drain_wire(lab.wire_w);
	for (i = 0; i < n; i++)
		inject_numbered(h, 99, lens[i], i, &t);
	until_idle(h);
	resolve_silent();
	wait_called(h, &t, n);
	end_in_order(h, &t, n);
}

static void test_C26_few_that_waited(void **state)
{
	static const uint32_t last[] = {200, 200, 1400};
	uint32_t lens[10];
	int i, j, n;

	(void)state;
	sh("ip route replace 10.2.0.99/32 dev w0 mtu lock 1000");
	few_that_waited(last, 3);
	for (i = 0; i < 30; i++) {
		n = 2 + i % 9;
		for (j = 0; j < n; j++)
			lens[j] = rand() % 3 ? 200 : 1400;
		few_that_waited(lens, n);
	}
	sh("ip route del 10.2.0.99/32 dev w0");
}

static void then_resolve(void *arg, struct xdivert_packet *p,
			 const struct xdv_completion *c)
{
	completed(arg, p, c);
	resolve_silent();
}

static void inject_elsewhere(struct xdivert_injection *h,
			     xdivert_completion_fn fn, struct tally *t)
{
	static const struct udp back = {.family = 4,
					.from_net = 1,
					.from = 2,
					.to_net = 1,
					.to = 1,
					.text = "elsewhere"};
	uint32_t far;

	assert_int_equal(xdivert_compartment_find(lab.far, &far), 0);
	assert_int_equal(
		xdivert_inject_forward_async(h, 0, 0, AF_INET, far, lab.v1,
					     lab_packet(h, &back), fn, t),
		0);
}

/* The answer comes while a packet is sent elsewhere, just before the next. */
static void test_C26_answer_between_compartments(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0}, other = {0};

	(void)state;
	drain_wire(lab.wire_w);
	inject_numbered(h, 99, 200, 0, &t);
	inject_numbered(h, 99, 200, 1, &t);
	all_wait(h, &t);
	inject_elsewhere(h, then_resolve, &other);
	inject_numbered(h, 99, 200, 2, &t);
	wait_called(h, &t, 3);
	assert_int_equal(other.ok, 1);
	end_in_order(h, &t, 3);
}

/* The route narrows while one waits, whose turn comes with younger ones that
 * were refused already.
 */
static void test_C26_route_that_narrows(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	(void)state;
	drain_wire(lab.wire_w);
	inject_numbered(h, 99, 200, 0, &t);
	inject_numbered(h, 99, 200, 1, &t);
	until_idle(h);
	assert_int_equal(h->held_count, 1);
	sh("ip route replace 10.2.0.99/32 dev w0 mtu lock 100");
	for (i = 2; i < 20; i++)
		inject_numbered(h, 99, i % 2 ? 1400 : 80, i, &t);
	before_run = resolve;
	wait_called(h, &t, 20);
	end_in_order(h, &t, 20);
	sh("ip route del 10.2.0.99/32 dev w0");
}

/* ... or while its parts do, of which none is short enough then. */
static void test_C26_route_that_narrows_for_parts(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	(void)state;
	drain_wire(lab.wire_w);
	sh("ip route replace 10.2.0.99/32 dev w0 mtu lock 1000");
	for (i = 0; i < 4; i++)
		inject_numbered(h, 99, i < 2 ? 200 : 1400, i, &t);
	all_wait(h, &t);
	sh("ip route replace 10.2.0.99/32 dev w0 mtu lock 400");
	resolve_silent();
	wait_called(h, &t, 4);
	end_in_order(h, &t, 4);
	sh("ip route del 10.2.0.99/32 dev w0");
}

/* Parts that wait may not pass what waits before them, though a later packet of
 * the flow is refused in the same flush.
 */
static void test_C26_parts_behind_what_waited(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0}, other = {0};

	(void)state;
	sh("ip route replace 10.2.0.99/32 dev w0 mtu lock 1000");
	drain_wire(lab.wire_w);
	inject_numbered(h, 99, 200, 0, &t);
	inject_numbered(h, 99, 200, 1, &t);
	inject_numbered(h, 99, 1400, 2, &t);
	all_wait(h, &t);
	inject_elsewhere(h, then_resolve, &other);
	inject_numbered(h, 99, 1400, 3, &t);
	wait_called(h, &t, 4);
	end_in_order(h, &t, 4);
	sh("ip route del 10.2.0.99/32 dev w0");
}

/* The route to 10.2.0.77 moves from a next hop that has not answered yet. */
static void test_C26_route_that_moves(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};

	(void)state;
	drain_wire(lab.wire_w);
	sh("ip route replace 10.2.0.77/32 via 10.2.0.99 dev w0");
	inject_numbered(h, 77, 200, 0, &t);
	inject_numbered(h, 77, 200, 1, &t);
	until_idle(h);
	sh("ip route replace 10.2.0.77/32 via 10.2.0.2 dev w0");
	inject_numbered(h, 77, 200, 2, &t);
	inject_numbered(h, 2, 200, 3, &t); /* of another flow */
	wait_called(h, &t, 1);
	assert_int_equal(next_number(), 3);
	assert_int_equal(t.ok, 1);
	resolve_silent();
	wait_called(h, &t, 4);
	end_in_order(h, &t, 3);
	sh("ip route del 10.2.0.77/32 dev w0");
}

/* Packets of one flow by two next hops, of which one has not answered yet. */
static void by_two_next_hops(uint32_t flags, int n)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	through_stack = flags;
	drain_wire(lab.wire_w);
	for (i = 0; i < n; i++) {
		tos = i % 3 ? 0 : 0x10;
		inject_numbered(h, 77, 200, i, &t);
	}
	tos = 0;
	all_wait(h, &t);
	resolve_silent();
	wait_called(h, &t, n);
	end_in_order(h, &t, n);
	through_stack = 0;
}

static void test_C26_two_next_hops(void **state)
{
	(void)state;
	sh("ip route replace 10.2.0.77/32 via 10.2.0.2 dev w0;"
	   "ip route replace table 100 10.2.0.77/32 via 10.2.0.99 dev w0;"
	   "ip rule add tos 0x10 lookup 100");
	by_two_next_hops(0, 4);
	by_two_next_hops(0, 40);
	by_two_next_hops(XDIVERT_PACKET_VIA_STACK, 4);
	by_two_next_hops(XDIVERT_PACKET_VIA_STACK, 40);
	sh("ip rule del tos 0x10 lookup 100;"
	   "ip route del table 100 10.2.0.77/32;"
	   "ip route del 10.2.0.77/32 dev w0");
}

/* Two seconds pass before this lets go of the second packet. */
static void slow_qdisc(struct xdivert_injection *h, struct tally *t)
{
	sh("tc qdisc replace dev w0 root tbf rate 1kbit burst 1514 limit 9000");
	through_stack = XDIVERT_PACKET_VIA_STACK;
	inject_numbered(h, 2, 1500, 77, t);
	wait_called(h, t, 1);
	through_stack = 0;
}

/* What is held goes on when the one before it is in the qdisc, and need not
 * leave that, whatever was sent meanwhile.
 */
static void past_the_neighbour(bool during_a_batch)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct pollfd fd = {.fd = xdivert_fd(h), .events = POLLIN};
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	struct tally t = {0}, other = {0};

	slow_qdisc(h, &t);
	inject_numbered(h, 99, 200, 0, &t);
	inject_numbered(h, 99, 200, 1, &t);
	until_idle(h);
	inject_elsewhere(h, completed, &other);
	wait_called(h, &other, 1);
	assert_int_equal(poll(&fd, 1, 0), 0);
	if (during_a_batch)
		ring->cpu = sched_getcpu();
	resolve_silent();
	ring->cpu = UINT32_MAX;
	assert_int_equal(poll(&fd, 1, 1000), 1);
	until_idle(h);
	assert_int_equal(t.called, 1);
	assert_int_equal(h->held_count, 0);
	sh("tc qdisc del dev w0 root");
	wait_called(h, &t, 3);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	forget_silent();
	drain_wire(lab.wire_w);
	check_books();
}

/* Not every batch ends with a look at what is held. */
static void test_C26_past_the_neighbour(void **state)
{
	(void)state;
	pin_here();
	past_the_neighbour(false);
	past_the_neighbour(true);
}

/* The answer comes during a batch of another compartment, which reads the news
 * and does not look at what is held here.
 */
static void answer_during_a_batch(struct xdivert_injection *h, struct tally *t)
{
	struct tally other = {0};
	int i;

	drain_wire(lab.wire_w);
	inject_numbered(h, 99, 200, 0, t);
	inject_numbered(h, 99, 200, 1, t);
	until_idle(h);
	for (i = 0; i < 12; i++)
		inject_elsewhere(h, completed, &other);
	before_run = resolve;
	assert_true(xdivert_dispatch(h, 0) > 0);
	assert_null(before_run);
	assert_int_equal(other.ok, 12);
	assert_int_equal(t->called, 1);
}

static void test_C26_answer_during_a_batch(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct pollfd fd = {.fd = xdivert_fd(h), .events = POLLIN};
	struct tally t = {0};
	uint64_t from;

	(void)state;
	answer_during_a_batch(h, &t);
	assert_int_equal(poll(&fd, 1, 0), 1);
	wait_called(h, &t, 2);
	end_in_order(h, &t, 2);
	/* ... and nobody waits for it when there is the end of all. */
	h = create(AF_UNSPEC, BOTH);
	memset(&t, 0, sizeof(t));
	answer_during_a_batch(h, &t);
	from = now();
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_true(now() - from < 5000000000);
	assert_int_equal(t.ok, 2);
	forget_silent();
	check_books();
}

static int turns[3], turn;

static void note_turn(void *arg, struct xdivert_packet *p,
		      const struct xdv_completion *c)
{
	turns[turn++ % 3] = c->context;
	completed(arg, p, c);
}

/* What the flush refuses, because nobody is at the other end, is tried by the
 * stack before a long one that follows it, though that was on its way there.
 */
static void test_C26_refused_before_a_long_one(void **state)
{
	static char comes_back[200];
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	(void)state;
	set_mtu(9000);
	for (i = 0; i < 3; i++)
		assert_int_equal(xdivert_inject_forward_async(
					 h, i, 0, AF_INET, 0, lab.w0,
					 numbered(h, 99, i < 2 ? 200 : 5000, i),
					 note_turn, &t),
				 0);
	all_wait(h, &t);
	sh("ip -n %s link set w1 down", lab.far);
	resolve_silent();
	snprintf(comes_back, sizeof(comes_back), "ip -n %s link set w1 up",
		 lab.far);
	before_send = comes_back;
	wait_called(h, &t, 3);
	assert_null(before_send);
	for (i = 0; i < 3; i++)
		assert_int_equal(turns[i], i);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	forget_silent();
	set_mtu(1500);
	check_books();
}

static int overdue[2];

static void note_status(void *arg, struct xdivert_packet *p,
			const struct xdv_completion *c)
{
	overdue[c->context] = c->status;
	completed(arg, p, c);
}

/* What the stack has may still leave, what never was its turn does not. */
static void test_C12_overdue(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int i;

	(void)state;
	for (i = 0; i < 2; i++)
		assert_int_equal(xdivert_inject_forward_async(
					 h, i, 0, AF_INET, 0, lab.w0,
					 numbered(h, 99, 200, i), note_status,
					 &t),
				 0);
	all_wait(h, &t);
	memset(h->sent, 0, sizeof(h->sent));
	h->look = 0;
	wait_called(h, &t, 2);
	assert_int_equal(overdue[0], -ETIMEDOUT);
	assert_int_equal(overdue[1], -ENOBUFS);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	forget_silent();
	check_books();
}

/* What is to be steered to other CPUs by default (kernel 6.3) is not when it
 * comes from a device of ours: it would be dropped, or overtaken.
 */
static void test_C27_steered_by_default(void **state)
{
	struct xdivert_injection *h;
	struct tally t = {0};
	int i, n = 0;

	(void)state;
	sh("sysctl -qw net.core.rps_default_mask=3 2>/dev/null || true");
	h = create(AF_UNSPEC, BOTH);
	through_stack = XDIVERT_PACKET_VIA_STACK;
	for (i = 0; i < 400; i++) {
		inject_numbered(h, i % 4 ? 2 : 99, 200, i, &t);
		inject_numbered(h, 2, 200, i, &t);
		n += 2;
		xdivert_dispatch(h, 0);
		if (i % 100 == 50)
			resolve_silent();
		else if (i % 100 == 99)
			forget_silent();
	}
	resolve_silent();
	wait_called(h, &t, n);
	assert_int_equal(t.ok, n);
	through_stack = 0;
	sh("sysctl -qw net.core.rps_default_mask=0 2>/dev/null || true");
	forget_silent();
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	drain_wire(lab.wire_w);
}

static int unknown;

static void fate(void *arg, struct xdivert_packet *p,
		 const struct xdv_completion *c)
{
	unknown += c->status == -ETIMEDOUT;
	assert_true(c->status == -ETIMEDOUT || c->status == -ENOMEM);
	completed(arg, p, c);
}

static void receive_some(struct xdivert_injection *h, int n, struct tally *t)
{
	static const struct udp here = {.family = 4,
					.from_net = 1,
					.from = 2,
					.to_net = 1,
					.to = 1,
					.text = "some"};
	int i;

	for (i = 0; i < n; i++)
		assert_int_equal(xdivert_inject_receive_async(
					 h, 0, 0, AF_INET, 0, lab.v0,
					 lab_packet(h, &here), fate, t),
				 0);
}

static unsigned long received(void)
{
	unsigned long n = 0;
	FILE *f =
		popen("nstat -asz IpInReceives | awk '/^Ip/ {print $2}'", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &n), 1);
	pclose(f);
	return n;
}

/* Memory for some frames and not for all: those it had may have arrived. */
static void test_C25_memory_for_some(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_stats before, after;
	struct tally t = {0};
	unsigned long n;

	(void)state;
	xdivert_stats_read(lab.x, &before, NULL, 0);
	n = received();
	memory = 3;
	receive_some(h, 8, &t);
	xdivert_dispatch(h, 0);
	memory = 0;
	assert_int_equal(t.called, 8);
	assert_int_equal(t.failed, 8);
	assert_int_equal(unknown, 3);
	assert_int_equal(received(), n + 3);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.failed, before.failed + 8);
	assert_int_equal(after.completed, before.completed);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* The interface goes in the last moment; no other may have them instead. */
static void test_C25_interface_goes_at_once(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	uint32_t ifindex;
	unsigned long n;

	(void)state;
	sh("ip link add gone0 type veth peer name gone1;"
	   "ip link set gone0 up; ip link set gone1 up");
	ifindex = if_nametoindex("gone0");
	h->skel->bss->xdv_ring.stack = ifindex;
	n = received();
	assert_int_equal(xdivert_inject_receive_async(
				 h, 0, 0, AF_INET, 0, ifindex,
				 lab_packet(h, &through), completed, &t),
			 0);
	before_run = "ip link del gone0";
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.failed, 1);
	assert_int_equal(received(), n);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

static int open_home(void **state)
{
	int rc = lab_open(state);

	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	prepare_answer();
	/* Nobody gives up on it before we say where it is. */
	sh("sysctl -qw net.ipv4.neigh.w0.mcast_solicit=20");
	return home < 0 ? -1 : rc;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C27_handed_over_during_a_batch),
		contract_test(test_C26_sizes_that_waited),
		contract_test(test_C26_parts_that_waited),
		contract_test(test_C26_few_that_waited),
		contract_test(test_C26_answer_between_compartments),
		contract_test(test_C26_route_that_narrows),
		contract_test(test_C26_route_that_narrows_for_parts),
		contract_test(test_C26_parts_behind_what_waited),
		contract_test(test_C26_route_that_moves),
		contract_test(test_C26_two_next_hops),
		contract_test(test_C26_past_the_neighbour),
		contract_test(test_C26_answer_during_a_batch),
		contract_test(test_C26_refused_before_a_long_one),
		contract_test(test_C12_overdue),
		contract_test(test_C27_steered_by_default),
		contract_test(test_C25_memory_for_some),
		contract_test(test_C25_interface_goes_at_once),
	};

	return cmocka_run_group_tests_name("moments", tests, open_home,
					   lab_close);
}
