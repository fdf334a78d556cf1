// SPDX-License-Identifier: BSD-2-Clause
/* What becomes of others' sk_buffs is not told of ours. C12, C24. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "inject.h"
#include "inject.skel.h"
#include "tally.h"
#include "unit.h"

/* Neighbours that never answer; the kernel gives up after some ms. */
#define SILENT 100
#define IMPATIENT                                                              \
	"sysctl -qw net.ipv4.neigh.w0.mcast_solicit=1"                         \
	" net.ipv4.neigh.w0.retrans_time_ms=10"
#define PATIENT                                                                \
	"sysctl -qw net.ipv4.neigh.w0.mcast_solicit=3"                         \
	" net.ipv4.neigh.w0.retrans_time_ms=1000"

static atomic_bool stop;

/* What nobody has read when a socket closes is dropped. */
static void *drop_others(void *arg)
{
	int fd[2];

	(void)arg;
	while (!stop &&
	       !socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fd)) {
		while (send(fd[0], "x", 1, 0) > 0)
			;
		close(fd[0]);
		close(fd[1]);
	}
	return NULL;
}

/* Through the same interface, to somebody who is there. */
static void *send_others(void *arg)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)arg;
	inet_pton(AF_INET, "10.2.0.2", &to.sin_addr);
	while (!stop)
		sendto(fd, "x", 1, 0, (void *)&to, sizeof(to));
	close(fd);
	return NULL;
}

/* Timers run where they were set, addresses are used again where they were. */
static pthread_t start_beside_us(void *(*what)(void *))
{
	pthread_t thread;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, what, NULL), 0);
	return thread;
}

static void end_beside_us(pthread_t thread)
{
	stop = true;
	pthread_join(thread, NULL);
}

struct fates {
	struct tally t;
	int unknown;
	int behind; /* held, for another has the same place in xdv_hops */
};

static void judge(void *arg, struct xdivert_packet *p,
		  const struct xdv_completion *c)
{
	struct fates *f = arg;

	f->unknown += c->status == -ETIMEDOUT;
	f->behind += c->status == -ENOBUFS;
	completed(&f->t, p, c);
}

static void send_to_silent_ones(struct xdivert_injection *h, struct fates *f)
{
	struct udp u = plain;
	int i;

	for (i = 0; i < SILENT; i++) {
		u.to = 100 + i;
		assert_int_equal(xdivert_inject_forward_async(
					 h, 0, 0, AF_INET, 0, lab.w0,
					 lab_packet(h, &u), judge, f),
				 0);
	}
}

static void ask_silent_ones(struct xdivert_injection *h, struct fates *f)
{
	send_to_silent_ones(h, f);
	wait_called(h, &f->t, f->t.called + SILENT);
}

/* How often the kernel did not run it, being in the midst of it. */
static uint64_t skipped(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);

	assert_int_equal(
		bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &size), 0);
	return info.recursion_misses;
}

static uint64_t all_skipped(const struct xdivert_injection *h)
{
	return skipped(h->skel->progs.xdv_kfree_skb) +
	       skipped(h->skel->progs.xdv_kfree_skb2);
}

/*
 * A timer drops our frames in the midst of another's being dropped. The kernel
 * may keep quiet about some for reasons of its own, but not because of that.
 */
static void test_C12_dropped_amid_others(void **state)
{
	enum { ROUNDS = 200, ENOUGH = 5 };
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	pthread_t others = start_beside_us(drop_others);
	int round, told = 0, not_told = 0;
	struct fates f = {0};
	uint64_t before;

	(void)state;
	sh(IMPATIENT);
	ask_silent_ones(h, &f);
	for (round = 0; round < ROUNDS && told < ENOUGH; round++) {
		before = all_skipped(h);
		f.unknown = 0;
		ask_silent_ones(h, &f);
		if (all_skipped(h) == before)
			continue;
		told += !f.unknown;
		not_told += f.unknown > 0;
	}
	end_beside_us(others);
	assert_int_equal(f.t.ok, 0);
	assert_true(told > not_told || !not_told);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	sh(PATIENT);
	check_books();
}

/* Nobody sees them dropped, and then others are sent from their addresses. */
static void test_C12_dropped_unseen(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	pthread_t others = start_beside_us(send_others);
	struct fates f = {0};

	(void)state;
	sh(IMPATIENT);
	ask_silent_ones(h, &f);
	bpf_link__destroy(h->skel->links.xdv_kfree_skb);
	bpf_link__destroy(h->skel->links.xdv_kfree_skb2);
	h->skel->links.xdv_kfree_skb = h->skel->links.xdv_kfree_skb2 = NULL;
	f = (struct fates){0};
	send_to_silent_ones(h, &f);
	while (f.unknown < SILENT / 4)
		assert_true(xdivert_dispatch(h, 2 * XDIVERT_BOUND_MS) > 0);
	end_beside_us(others);
	assert_int_equal(f.t.called, f.unknown + f.behind);
	/* The rest is canceled. */
	assert_int_equal(xdivert_injection_destroy(h, 0), 0);
	assert_int_equal(f.t.called, SILENT);
	assert_int_equal(f.t.ok, 0);
	sh(PATIENT);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C12_dropped_amid_others),
		contract_test(test_C12_dropped_unseen),
	};

	return cmocka_run_group_tests_name("others", tests, lab_open,
					   lab_close);
}
