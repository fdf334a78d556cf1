// SPDX-License-Identifier: BSD-2-Clause
/* Numbers and threads that mean another namespace than they did. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "tally.h"
#include "unit.h"

/* Whatever would leave through w0 leaves here as well. */
static void imitate(const char *name)
{
	sh("nsenter --net=/run/netns/%s sh -c '"
	   "sysctl -qw net.ipv4.ip_forward=1;"
	   "ip link add index %u name same type veth peer name samep;"
	   "ip addr add 10.2.0.1/24 dev same;"
	   "ip link set same up; ip link set samep up;"
	   "ethtool -K samep gro on;"
	   "ip neigh add 10.2.0.2 lladdr 02:00:00:00:00:09 dev same nud "
	   "permanent'",
	   name, lab.w0);
}

static uint32_t find(const char *name)
{
	uint32_t id;

	assert_int_equal(xdivert_compartment_find(name, &id), 0);
	return id;
}

/* A namespace whose number is that of one that was deleted; how many were made
 * in vain.
 */
static int make_again(uint32_t id, char *name, size_t size)
{
	int i;

	for (i = 0; i < 500; i++) {
		snprintf(name, size, "%s-n%d", lab.far, i);
		sh("ip netns add %s", name);
		if (find(name) == id)
			break;
	}
	return i;
}

/* What was meant for one that has gone does not go into its successor. */
static void test_C08_a_number_that_is_used_again(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	char name[48];
	uint32_t id;
	int i;

	(void)state;
	snprintf(name, sizeof(name), "%s-a", lab.far);
	sh("ip netns add %s", name);
	id = find(name);
	assert_int_equal(xdivert_inject_forward_async(
				 h, 0, 0, AF_INET, id, lab.w0,
				 lab_packet(h, &plain), completed, &t),
			 0);
	sh("ip netns del %s", name);
	i = make_again(id, name, sizeof(name));
	if (i < 500) {
		imitate(name);
		assert_int_equal(xdivert_dispatch(h, 0), 1);
		assert_int_equal(t.last.status, -ENOTCONN);
		/* Asked for by its new owner, it is that. */
		assert_int_equal(xdivert_inject_forward_async(
					 h, 0, 0, AF_INET, id, lab.w0,
					 lab_packet(h, &plain), completed, &t),
				 0);
		assert_int_equal(xdivert_dispatch(h, 0), 1);
		assert_int_equal(t.last.status, 0);
	} else {
		print_message("the kernel does not use numbers again\n");
		xdivert_dispatch(h, 0);
	}
	for (i = i < 500 ? i : 499; i >= 0; i--)
		sh("ip netns del %s-n%d", lab.far, i);
	xdivert_injection_destroy(h, -1);
	check_books();
}

static int to_compartment(struct xdivert_injection *h, uint32_t id,
			  uint32_t ifindex, struct tally *t)
{
	return xdivert_inject_forward_async(h, 0, 0, AF_INET, id, ifindex,
					    lab_packet(h, &plain), completed,
					    t);
}

/* Nor does what was held, for its next hop was not known yet. */
static void test_C08_held_for_one_that_has_gone(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally old = {0}, new = {0};
	char name[48];
	uint32_t id;
	int i, n;

	(void)state;
	snprintf(name, sizeof(name), "%s-a", lab.far);
	sh("ip netns add %s", name);
	imitate(name);
	sh("ip -n %s neigh del 10.2.0.2 dev same", name);
	id = find(name);
	for (i = 0; i < 5; i++)
		assert_int_equal(to_compartment(h, id, lab.w0, &old), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(old.called, 0);
	sh("ip netns del %s", name);
	n = make_again(id, name, sizeof(name));
	if (n < 500) {
		imitate(name);
		assert_int_equal(to_compartment(h, id, lab.w0, &new), 0);
	}
	while (old.called < 5 || (n < 500 && !new.called))
		xdivert_dispatch(h, 1000);
	for (i = n < 500 ? n : 499; i >= 0; i--)
		sh("ip netns del %s-n%d", lab.far, i);
	assert_int_equal(old.ok, 0);
	if (n < 500)
		assert_int_equal(new.ok, 1);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Everything is about the handle's namespace, wherever the thread is; and there
 * it stays.
 */
static void test_C08_a_thread_that_is_elsewhere(void **state)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), i;
	struct xdivert_interface iface;
	struct xdivert_injection *h, *other;
	struct tally t = {0};
	char name[48];

	(void)state;
	snprintf(name, sizeof(name), "%s-o", lab.far);
	sh("ip netns add %s", name);
	imitate(name);
	h = serve("udp", XDV_LAYER_FORWARD);
	drain_wire(lab.wire_w);
	assert_int_equal(xdivert_compartment_enter(name), 0);
	/* More than go through the port. */
	for (i = 0; i < 30; i++)
		assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	/* And what the daemon does when interfaces change. */
	sh("nsenter --net=/proc/%d/fd/%d ip link add el0 type veth peer name "
	   "el1",
	   getpid(), home);
	xdivert_dispatch(h, 0);
	wait_called(h, &t, 30);
	assert_int_equal(t.ok, 30);
	assert_int_equal(xdivert_attach(lab.x, "w0", NULL), -EXDEV);
	assert_true(*xdivert_error());
	assert_int_equal(
		xdivert_injection_create(&other, lab.x, AF_UNSPEC, BOTH),
		-EXDEV);
	assert_int_equal(xdivert_interfaces(lab.x, &iface, 1), 1);
	assert_string_equal(iface.iface.name, "v0");
	assert_true(if_nametoindex("same"));
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	close(home);
	for (i = 0; i < 30; i++)
		expect_on(lab.wire_w, plain.text);
	assert_int_equal(xdivert_interfaces(lab.x, NULL, 0), 1);
	end_serving(h);
	sh("ip link del el0; ip netns del %s", name);
	check_books();
}

/* CAP_SYS_ADMIN is this thread's to lose. */
static void may_not_move(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[0].effective &= ~(1u << CAP_SYS_ADMIN);
	data[0].permitted &= ~(1u << CAP_SYS_ADMIN);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

struct stranger {
	struct xdivert_injection *h, *joins;
	const char *name;
	struct tally t;
	int joined;
};

static void *dispatch_elsewhere(void *arg)
{
	struct stranger *s = arg;
	int i;

	assert_int_equal(xdivert_compartment_enter(s->name), 0);
	s->joined = xdivert_serve_share(s->joins, 1, 2);
	may_not_move();
	/* More than go through the port, which needs no namespace. */
	for (i = 0; i < 30; i++)
		assert_int_equal(inject(s->h, &plain, lab.w0, &s->t), 0);
	wait_called(s->h, &s->t, 30);
	return NULL;
}

/* One that may not go where the packets are to be sent sends them nowhere. */
static void test_C08_a_thread_that_may_not_move(void **state)
{
	struct stranger s = {.h = create(AF_UNSPEC, BOTH),
			     .joins = create(AF_UNSPEC, BOTH)};
	pthread_t thread;
	char name[48];

	(void)state;
	snprintf(name, sizeof(name), "%s-p", lab.far);
	s.name = name;
	sh("ip netns add %s", name);
	imitate(name);
	drain_wire(lab.wire_w);
	assert_int_equal(xdivert_serve_share(s.h, 0, 2), 0);
	pthread_create(&thread, NULL, dispatch_elsewhere, &s);
	pthread_join(thread, NULL);
	assert_int_equal(s.joined, -EXDEV);
	assert_int_equal(s.t.failed, 30);
	assert_int_equal(s.t.last.status, -ENOTCONN);
	expect_nothing_on(lab.wire_w, plain.text);
	/* Back at home it goes on. */
	assert_int_equal(inject(s.h, &plain, lab.w0, &s.t), 0);
	wait_called(s.h, &s.t, 31);
	assert_int_equal(s.t.ok, 1);
	assert_int_equal(xdivert_injection_destroy(s.joins, -1), 0);
	assert_int_equal(xdivert_injection_destroy(s.h, -1), 0);
	sh("ip netns del %s", name);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C08_a_number_that_is_used_again),
		contract_test(test_C08_held_for_one_that_has_gone),
		contract_test(test_C08_a_thread_that_is_elsewhere),
		contract_test(test_C08_a_thread_that_may_not_move),
	};

	return cmocka_run_group_tests_name("elsewhere", tests, lab_open,
					   lab_close);
}
