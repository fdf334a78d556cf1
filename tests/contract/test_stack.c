// SPDX-License-Identifier: BSD-2-Clause
/* Through the stack: completions that come later, or not at all. C03, C08, C12,
 * C16, C26, C27.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "tally.h"
#include "unit.h"

/* A byte a second, once a frame of 1500 bytes has emptied the bucket. */
#define STUCK                                                                  \
	"tc qdisc replace dev w0 root tbf rate 8bit burst 1500 limit 99999"
#define LOOSE "tc qdisc del dev w0 root"

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void inject_text(struct xdivert_injection *h, const char *text,
			uint32_t flags, struct tally *t)
{
	struct xdivert_packet *p;
	struct udp u = plain;

	u.text = text;
	p = lab_packet(h, &u);
	xdivert_packet_set_flags(p, flags);
	assert_int_equal(xdivert_inject_forward_async(h, 5, 0, AF_INET, 0,
						      lab.w0, p, completed, t),
			 0);
}

/* The qdisc keeps what follows. Something of the kernel's (multicast listeners)
 * may have emptied the bucket before us: then it is filled anew.
 */
static void empty_bucket(struct xdivert_injection *h, struct tally *t)
{
	static char text[1500 - 14 - 28 + 1];

	memset(text, 'x', sizeof(text) - 1);
	do {
		*t = (struct tally){0};
		sh(STUCK);
		inject_text(h, text, XDIVERT_PACKET_VIA_STACK, t);
		while (xdivert_dispatch(h, 100) > 0)
			;
		if (t->ok)
			return;
		sh(LOOSE);
		wait_called(h, t, 1);
	} while (t->last.status == -EIO || t->last.status == -ENOBUFS);
	fail_msg("status %d", t->last.status);
}

static void test_C12_via_stack(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};

	(void)state;
	inject_text(h, "by-the-stack", XDIVERT_PACKET_VIA_STACK, &t);
	wait_called(h, &t, 1);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.context, 5);
	assert_int_equal(t.last.engine, XDV_ENGINE_NEIGH);
	expect_on(lab.wire_w, "by-the-stack");
	inject_text(h, "directly", 0, &t);
	wait_called(h, &t, 2);
	assert_int_not_equal(t.last.engine, XDV_ENGINE_NEIGH);
	expect_on(lab.wire_w, "directly");
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* The file descriptor wakes for it, and only then. */
static void test_C16_completion_later(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct pollfd fd = {.fd = xdivert_fd(h), .events = POLLIN};
	struct tally t = {0};

	(void)state;
	empty_bucket(h, &t);
	inject_text(h, "it-waits", XDIVERT_PACKET_VIA_STACK, &t);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 1);
	/* What was sent has been told; nothing else is to do. */
	while (xdivert_dispatch(h, 0))
		;
	assert_int_equal(poll(&fd, 1, 0), 0);
	assert_true(xdivert_timeout(h) > 0 &&
		    xdivert_timeout(h) <= XDIVERT_BOUND_MS);
	sh(LOOSE);
	assert_int_equal(poll(&fd, 1, 2000), 1);
	wait_called(h, &t, 2);
	assert_true(t.last.status < 0);
	assert_int_equal(t.last.engine, XDV_ENGINE_NEIGH);
	expect_nothing_on(lab.wire_w, "it-waits");
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	drain_wire(lab.wire_w);
	check_books();
}

/* What never leaves the qdisc is told after the bound, once. */
static void test_C27_bound(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int64_t begin;

	(void)state;
	empty_bucket(h, &t);
	begin = now_ms();
	inject_text(h, "stuck", XDIVERT_PACKET_VIA_STACK, &t);
	wait_called(h, &t, 2);
	assert_true(now_ms() - begin >= XDIVERT_BOUND_MS - 10);
	assert_true(now_ms() - begin < XDIVERT_BOUND_MS + 3000);
	assert_int_equal(t.last.status, -ETIMEDOUT);
	assert_string_equal(xdivert_reason_name(t.last.reason), "UNKNOWN");
	sh(LOOSE);
	while (xdivert_dispatch(h, 50))
		;
	assert_int_equal(t.called, 2);
	/* Its descriptor and its frame serve again. */
	inject_text(h, "after-that", 0, &t);
	wait_called(h, &t, 3);
	assert_int_equal(t.last.status, 0);
	expect_on(lab.wire_w, "after-that");
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Destroying waits that long for what is in the stack, then cancels it. */
static void test_C03_destroy_cancels(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	int64_t begin;
	int i;

	(void)state;
	empty_bucket(h, &t);
	for (i = 0; i < 20; i++)
		inject_text(h, "stuck", XDIVERT_PACKET_VIA_STACK, &t);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 1);
	begin = now_ms();
	assert_int_equal(xdivert_injection_destroy(h, 200), 0);
	assert_true(now_ms() - begin >= 190);
	assert_int_equal(t.called, 21);
	assert_int_equal(t.failed, 20);
	assert_int_equal(t.last.status, -ECANCELED);
	sh(LOOSE);
	drain_wire(lab.wire_w);
	check_books();
}

/* ... and returns as soon as that is through. */
static void test_C03_destroy_waits(void **state)
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
	assert_int_equal(inject(h, &silent, lab.w0, &t), 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	assert_int_equal(t.called, 2);
	assert_int_equal(t.last.status, -EHOSTUNREACH);
	check_books();
}

/* The neighbour of another namespace is resolved there. */
static void test_C08_neighbour_elsewhere(void **state)
{
	static const struct udp back = {.family = 4,
					.from_net = 1,
					.from = 2,
					.to_net = 1,
					.to = 1,
					.text = "from-elsewhere"};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	uint8_t frame[2100];
	uint32_t far;
	int wire;

	(void)state;
	wire = lab_wire("v0");
	assert_int_equal(xdivert_compartment_find(lab.far, &far), 0);
	sh("ip -n %s neigh flush dev v1 nud all", lab.far);
	assert_int_equal(xdivert_inject_forward_async(
				 h, 0, 0, AF_INET, far, lab.v1,
				 lab_packet(h, &back), completed, &t),
			 0);
	wait_called(h, &t, 1);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.engine, XDV_ENGINE_NEIGH);
	assert_true(lab_receive(wire, "from-elsewhere", frame, 2000) > 0);
	close(wire);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	/* Nothing of ours stays there. */
	sh("! ip -n %s -br link | grep xdv", lab.far);
	check_books();
}

/* A namespace with a way into its stack is not kept alive by that. */
static void test_C08_compartment_goes(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	static const struct udp dead = {.family = 4,
					.from_net = 7,
					.from = 1,
					.to_net = 7,
					.to = 2,
					.text = "x"};
	struct tally t = {0};
	char name[48];
	uint32_t id;

	(void)state;
	snprintf(name, sizeof(name), "%s-z", lab.far);
	sh("ip netns add %s; ip link add z0 type veth peer name z1 netns %s;"
	   "ip link set z0 up; ip -n %s addr add 10.7.0.1/24 dev z1;"
	   "ip -n %s link set z1 up;"
	   "nsenter --net=/run/netns/%s sysctl -qw net.ipv4.ip_forward=1",
	   name, name, name, name, name);
	assert_int_equal(xdivert_compartment_find(name, &id), 0);
	/* ifindexes of a new namespace: lo, z1 */
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, id, 2,
						      lab_packet(h, &dead),
						      completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 0);
	sh("ip netns del %s", name);
	/* The peer goes with the namespace. */
	sh("for i in $(seq 500); do ip link show z0 >/dev/null 2>&1 || exit 0;"
	   " sleep 0.01; done; exit 1");
	wait_called(h, &t, 1);
	assert_true(t.last.status < 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* A shell that does something again and again. */
static pid_t start_vandal(const char *what)
{
	char script[300];
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(script, sizeof(script), "g=on; while :; do %s; done", what);
	execl("/bin/sh", "sh", "-c", script, NULL);
	_exit(1);
}

static void stop_vandal(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/*
 * Who is behind a tap: it answers for 10.8.0.2 and looks at the numbers of what
 * arrives. Unlike a veth a tap has one queue for XDP frames and sk_buffs, so
 * what we send in order arrives so.
 */
struct listener {
	int fd;
	pthread_t thread;
	int last, arrived, overtaken;
	bool stop;
};

static void answer_arp(int fd, uint8_t *frame)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 8};
	uint8_t target[4];

	memcpy(target, frame + 38, 4);
	memcpy(frame + 32, frame + 22, 10);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, mac, 6);
	frame[21] = 2;
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, target, 4);
	assert_int_equal(write(fd, frame, 42), 42);
}

static void take(struct listener *l, uint8_t *frame, int size)
{
	int number;

	frame[size] = 0;
	if (size == 42 && frame[13] == 6 && frame[21] == 1)
		answer_arp(l->fd, frame);
	if (size != 14 + 28 + 12 ||
	    sscanf((char *)frame + 42, "order-%6d", &number) != 1)
		return;
	l->overtaken += number <= l->last;
	l->last = number;
	__atomic_fetch_add(&l->arrived, 1, __ATOMIC_RELAXED);
}

static void *listen_to_it(void *arg)
{
	struct listener *l = arg;
	struct pollfd fd = {.fd = l->fd, .events = POLLIN};
	uint8_t frame[2100];
	ssize_t size;

	/* Asked to stop, it still takes what is there. */
	while (poll(&fd, 1, 50) ||
	       !__atomic_load_n(&l->stop, __ATOMIC_RELAXED)) {
		size = read(l->fd, frame, sizeof(frame) - 1);
		if (size > 0)
			take(l, frame, size);
	}
	return NULL;
}

static uint32_t start_listening(struct listener *l)
{
	struct ifreq ifr = {.ifr_name = "tap0",
			    .ifr_flags = IFF_TAP | IFF_NO_PI};

	*l = (struct listener){.last = -1};
	l->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_return_code(ioctl(l->fd, TUNSETIFF, &ifr), errno);
	sh("ip addr add 10.8.0.1/24 dev tap0; ip link set tap0 up");
	assert_int_equal(pthread_create(&l->thread, NULL, listen_to_it, l), 0);
	return if_nametoindex("tap0");
}

static void stop_listening(struct listener *l)
{
	__atomic_store_n(&l->stop, true, __ATOMIC_RELAXED);
	pthread_join(l->thread, NULL);
	close(l->fd);
}

/* This is about order, not about what a tap's queue holds. */
static void keep_pace(const struct tally *t, const struct listener *l)
{
	while (l &&
	       t->ok - __atomic_load_n(&l->arrived, __ATOMIC_RELAXED) > 200)
		sched_yield();
}

/* Batches of every size, some packets by force through the stack. */
static void send_numbers(struct xdivert_injection *h, uint32_t ifindex, int net,
			 int packets, struct tally *t, const struct listener *l)
{
	struct udp u = {.family = 4,
			.from_net = net,
			.from = 1,
			.to_net = net,
			.to = 2};
	unsigned int seed = 26;
	struct xdivert_packet *p;
	int sent = 0, n;
	char text[32];

	u.text = text;
	while (sent < packets) {
		for (n = 1 + rand_r(&seed) % 24; n; n--) {
			snprintf(text, sizeof(text), "order-%06d", sent++);
			p = lab_packet(h, &u);
			if (rand_r(&seed) % 64 == 0)
				xdivert_packet_set_flags(
					p, XDIVERT_PACKET_VIA_STACK);
			assert_int_equal(xdivert_inject_forward_async(
						 h, 5, 0, AF_INET, 0, ifindex,
						 p, completed, t),
					 0);
		}
		xdivert_dispatch(h, 0);
		if (sent % 500 < 24)
			wait_called(h, t, sent);
		keep_pace(t, l);
	}
	wait_called(h, t, sent);
}

static void expect_engines(const struct tally *t)
{
	/* How many is the scheduler's business. */
	assert_true(t->engine[XDV_ENGINE_NEIGH] > 10);
	assert_true(t->engine[XDV_ENGINE_PORT] + t->engine[XDV_ENGINE_LIVE] >
		    10);
}

/*
 * While somebody deletes the neighbour again and again, frames wait, are held,
 * and take one engine or another: they arrive in order, and what arrives is
 * what was said to be sent.
 */
static void test_C26_order_without_neighbours(void **state)
{
	enum { PACKETS = 30000 };
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct listener listener;
	struct tally t = {0};
	uint32_t tap = start_listening(&listener);
	pid_t vandal;

	(void)state;
	vandal = start_vandal("ip neigh del 10.8.0.2 dev tap0 2>/dev/null");
	send_numbers(h, tap, 8, PACKETS, &t, &listener);
	stop_vandal(vandal);
	stop_listening(&listener);
	assert_int_equal(listener.overtaken, 0);
	assert_int_equal(listener.arrived, t.ok);
	assert_true(t.ok > PACKETS / 2);
	expect_engines(&t);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/*
 * While the peer of a veth takes XDP frames and does not: what it had when it
 * stopped is lost there, which nobody here can know. All else is told once.
 */
static void test_C27_when_the_engine_changes(void **state)
{
	enum { PACKETS = 30000 };
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	char what[200];
	pid_t vandal;

	(void)state;
	snprintf(what, sizeof(what),
		 "nsenter --net=/run/netns/%s ethtool -K w1 gro $g;"
		 "ip link set w0 alias now-$g; test $g = on && g=off || g=on",
		 lab.far);
	vandal = start_vandal(what);
	send_numbers(h, lab.w0, 2, PACKETS, &t, NULL);
	stop_vandal(vandal);
	sh("nsenter --net=/run/netns/%s ethtool -K w1 gro on", lab.far);
	drain_wire(lab.wire_w);
	assert_int_equal(t.failed, 0);
	expect_engines(&t);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C12_via_stack),
		contract_test(test_C16_completion_later),
		contract_test(test_C27_bound),
		contract_test(test_C03_destroy_cancels),
		contract_test(test_C03_destroy_waits),
		contract_test(test_C08_neighbour_elsewhere),
		contract_test(test_C08_compartment_goes),
		contract_test(test_C26_order_without_neighbours),
		contract_test(test_C27_when_the_engine_changes),
	};

	return cmocka_run_group_tests_name("stack", tests, lab_open, lab_close);
}
