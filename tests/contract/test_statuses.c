// SPDX-License-Identifier: BSD-2-Clause
/* Every status that a completion can have, from the real thing: contract C15.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <linux/if_tun.h>

#include "inject.h"
#include "inject.skel.h"
#include "tally.h"
#include "unit.h"

static const struct udp nowhere = {.family = 4,
				   .from_net = 1,
				   .from = 1,
				   .to_net = 9,
				   .to = 2,
				   .text = "nowhere"};

/* Which the packets go through: all of this is true of either. */
static enum xdv_engine engine;

static struct xdivert_injection *create_for_engine(void)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);

	/* The device stays, and with it the program in the dispatcher. */
	if (engine == XDV_ENGINE_LIVE)
		h->port.tap = -1;
	return h;
}

/* The completion of one injection, however long it takes. */
static int status_through(struct xdivert_injection *h, const struct udp *u,
			  uint32_t ifindex, enum xdv_engine expected)
{
	struct tally t = {0};

	assert_int_equal(inject(h, u, ifindex, &t), 0);
	while (!t.called)
		assert_true(xdivert_dispatch(h, 10000) > 0);
	assert_int_equal(t.last.engine, expected);
	return t.last.status;
}

static int status_of(struct xdivert_injection *h, const struct udp *u,
		     uint32_t ifindex)
{
	return status_through(h, u, ifindex, engine);
}

static struct xdivert_injection *handle;

static int one_handle(void **state)
{
	if (lab_open(state))
		return -1;
	handle = create_for_engine();
	return 0;
}

static int no_handle(void **state)
{
	check_books();
	return xdivert_injection_destroy(handle, -1) ? -1 : lab_close(state);
}

static void test_C15_taken(void **state)
{
	(void)state;
	assert_int_equal(status_of(handle, &plain, lab.w0), 0);
}

static void test_C15_no_such_interface(void **state)
{
	(void)state;
	assert_int_equal(status_of(handle, &plain, 9999), -ENODEV);
}

static void test_C15_interface_down(void **state)
{
	(void)state;
	sh("ip link set w0 down");
	assert_int_equal(status_of(handle, &plain, lab.w0), -ENETDOWN);
	lab_neighbours();
}

static void test_C15_routes(void **state)
{
	(void)state;
	assert_int_equal(status_of(handle, &nowhere, lab.w0), -ENETUNREACH);
	sh("ip route add blackhole 10.9.0.0/24");
	assert_int_equal(status_of(handle, &nowhere, lab.w0), -ENETUNREACH);
	sh("ip route del blackhole 10.9.0.0/24");
	sh("ip route add prohibit 10.9.0.0/24");
	assert_int_equal(status_of(handle, &nowhere, lab.w0), -EACCES);
	sh("ip route del prohibit 10.9.0.0/24");
	sh("ip route add unreachable 10.9.0.0/24");
	assert_int_equal(status_of(handle, &nowhere, lab.w0), -ENETUNREACH);
	sh("ip route del unreachable 10.9.0.0/24");
}

/* What the FIB said of one packet is not true of all that run with it. */
static void test_C15_each_of_a_run(void **state)
{
	static const int expected[] = {0, -EMSGSIZE, 0, -ENETUNREACH, 0};
	struct udp of[] = {plain, plain, plain, nowhere, plain};
	struct xdivert_packet *p;
	struct tally t[5] = {0};
	char text[1474];
	int i;

	(void)state;
	memset(text, 'x', 1473);
	text[1473] = 0;
	of[1].text = text;
	for (i = 0; i < 5; i++) {
		p = lab_packet(handle, &of[i]);
		xdivert_packet_data(p)[6] = 0x40; /* do not fragment */
		assert_int_equal(xdivert_inject_forward_async(
					 handle, 0, 0, AF_INET, 0, lab.w0, p,
					 completed, &t[i]),
				 0);
	}
	for (i = 0; i < 5; i++) {
		wait_called(handle, &t[i], 1);
		assert_int_equal(t[i].last.status, expected[i]);
	}
}

/* Nor is it true any longer when the neighbour has changed. */
static void test_C09_next_hop_of_each_run(void **state)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 9};
	struct udp u = plain;
	uint8_t frame[2100];

	(void)state;
	drain_wire(lab.wire_w);
	u.text = "before";
	assert_int_equal(status_of(handle, &u, lab.w0), 0);
	sh("ip neigh replace 10.2.0.2 lladdr 02:00:00:00:00:09 dev w0"
	   " nud permanent");
	u.text = "after";
	assert_int_equal(status_of(handle, &u, lab.w0), 0);
	assert_true(lab_receive(lab.wire_w, "before", frame, 2000) > 0);
	assert_memory_not_equal(frame, other, 6);
	assert_true(lab_receive(lab.wire_w, "after", frame, 2000) > 0);
	assert_memory_equal(frame, other, 6);
	lab_neighbours();
}

/* A veth whose peer is down: its stack is asked as well. */
static void test_C15_peer_down(void **state)
{
	int status;

	(void)state;
	sh("nsenter --net=/run/netns/%s ip link set w1 down", lab.far);
	status = status_through(handle, &plain, lab.w0, XDV_ENGINE_NEIGH);
	sh("nsenter --net=/run/netns/%s ip link set w1 up", lab.far);
	lab_neighbours();
	assert_true(status == -ENXIO || status == -ENETDOWN);
}

/* A tap that nobody reads holds what its queue holds. */
static void test_C15_queue_full(void **state)
{
	static const struct udp tapped = {.family = 4,
					  .from_net = 8,
					  .from = 1,
					  .to_net = 8,
					  .to = 2,
					  .text = "tapped"};
	struct ifreq ifr = {.ifr_name = "tap0",
			    .ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), i, full = 0;
	uint32_t ifindex;

	(void)state;
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	/* Or the kernel's own packets might fill it first. */
	sh("sysctl -qw net.ipv6.conf.tap0.disable_ipv6=1;"
	   "ip link set tap0 txqueuelen 4 up; ip addr add 10.8.0.1/24 dev tap0;"
	   "ip neigh replace 10.8.0.2 lladdr 02:00:00:00:00:08 dev tap0"
	   " nud permanent");
	ifindex = if_nametoindex("tap0");
	for (i = 0; i < 20; i++)
		full += status_of(handle, &tapped, ifindex) == -ENOBUFS;
	close(fd);
	assert_true(full > 0 && full < 20);
}

/* What is in the frame when it is sent counts, not what was checked. */
static void test_C15_spoilt_after_initiation(void **state)
{
	struct xdivert_packet *p = lab_packet(handle, &plain);
	struct tally t = {0};

	(void)state;
	assert_int_equal(xdivert_inject_forward_async(handle, 0, 0, AF_INET, 0,
						      lab.w0, p, completed, &t),
			 0);
	memset(xdivert_packet_data(p), 0xff, 20);
	while (!t.called)
		assert_true(xdivert_dispatch(handle, 10000) > 0);
	assert_int_equal(t.last.status, -EINVAL);
	assert_int_equal(t.last.reason, XDV_REASON_BAD_PACKET);
}

/* A kernel whose tracepoints stay silent: not known is not sent. */
static void test_C27_fate_unknown(void **state)
{
	struct xdivert_injection *deaf = create_for_engine();

	(void)state;
	bpf_link__destroy(deaf->skel->links.xdv_devmap_xmit);
	deaf->skel->links.xdv_devmap_xmit = NULL;
	assert_int_equal(status_of(deaf, &plain, lab.w0), -ETIMEDOUT);
	assert_int_equal(xdivert_injection_destroy(deaf, -1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C15_taken),
		contract_test(test_C15_no_such_interface),
		contract_test(test_C15_interface_down),
		contract_test(test_C15_routes),
		contract_test(test_C15_each_of_a_run),
		contract_test(test_C09_next_hop_of_each_run),
		contract_test(test_C15_peer_down),
		contract_test(test_C15_queue_full),
		contract_test(test_C15_spoilt_after_initiation),
		contract_test(test_C27_fate_unknown),
	};

	int failed;

	engine = XDV_ENGINE_PORT;
	failed = cmocka_run_group_tests_name("statuses, port", tests,
					     one_handle, no_handle);
	engine = XDV_ENGINE_LIVE;
	return failed + cmocka_run_group_tests_name("statuses, live frames",
						    tests, one_handle,
						    no_handle);
}
