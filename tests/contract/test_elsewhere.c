// SPDX-License-Identifier: BSD-2-Clause
/* Numbers and threads that mean another namespace than they did. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* Everything is about the handle's namespace, wherever the thread is; and there
 * it stays.
 */
static void test_C08_a_thread_that_is_elsewhere(void **state)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), i;
	struct xdivert_injection *h;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_C08_a_number_that_is_used_again),
		cmocka_unit_test(test_C08_a_thread_that_is_elsewhere),
	};

	return cmocka_run_group_tests(tests, lab_open, lab_close);
}
