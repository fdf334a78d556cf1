// SPDX-License-Identifier: BSD-2-Clause
/* Where packets come from and go: contract C08, C09, C17, C18, C25, C26. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tally.h"
#include "unit.h"

/* Into another namespace by its id: the packet leaves through an interface of
 * that one, and arrives here.
 */
static void test_C08_compartments(void **state)
{
	static const struct udp back = {.family = 4,
					.from_net = 1,
					.from = 2,
					.to_net = 1,
					.to = 1,
					.dport = 5001,
					.text = "compartment"};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(5001)};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd fd = {.fd = s, .events = POLLIN};
	struct xdivert_packet *p;
	struct tally t = {0};
	uint32_t far, gone;

	(void)state;
	assert_int_equal(bind(s, (void *)&address, sizeof(address)), 0);
	assert_int_equal(xdivert_compartment_find(lab.far, &far), 0);
	assert_int_equal(xdivert_compartment_find("no-such", &gone), -ENOTCONN);
	sh("nsenter --net=/run/netns/%s sh -c 'ip neigh replace 10.1.0.1 lladdr"
	   " %02x:%02x:%02x:%02x:%02x:%02x dev v1 nud permanent'",
	   lab.far, lab.mac_v0[0], lab.mac_v0[1], lab.mac_v0[2], lab.mac_v0[3],
	   lab.mac_v0[4], lab.mac_v0[5]);
	p = lab_packet(h, &back);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, far,
						      lab.v1, p, completed, &t),
			 0);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.compartment, far);
	assert_int_equal(poll(&fd, 1, 2000), 1);
	close(s);
	/* One that goes while the packet waits. */
	sh("ip netns add %s-x", lab.far);
	{
		char name[48];

		snprintf(name, sizeof(name), "%s-x", lab.far);
		assert_int_equal(xdivert_compartment_find(name, &gone), 0);
	}
	p = lab_packet(h, &back);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, gone, 1,
						      p, completed, &t),
			 0);
	sh("ip netns del %s-x", lab.far);
	assert_int_equal(xdivert_dispatch(h, 0), 1);
	assert_int_equal(t.last.status, -ENOTCONN);
	/* And the handle lives. */
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	xdivert_injection_destroy(h, -1);
	check_books();
}

/* Another one's interfaces, by its name and by its number. */
static void test_C08_interfaces_by_name(void **state)
{
	uint32_t far, compartment, ifindex;
	char name[64];

	(void)state;
	assert_int_equal(xdivert_compartment_find(lab.far, &far), 0);
	assert_int_equal(xdivert_interface_find("w0", &compartment, &ifindex),
			 0);
	assert_int_equal(compartment, 0);
	assert_int_equal(ifindex, lab.w0);
	snprintf(name, sizeof(name), "v1@%s", lab.far);
	assert_int_equal(xdivert_interface_find(name, &compartment, &ifindex),
			 0);
	assert_int_equal(compartment, far);
	assert_int_equal(ifindex, lab.v1);
	snprintf(name, sizeof(name), "v1@%u", far);
	ifindex = 0;
	assert_int_equal(xdivert_interface_find(name, &compartment, &ifindex),
			 0);
	assert_int_equal(compartment, far);
	assert_int_equal(ifindex, lab.v1);
	/* And this thread is where it was. */
	assert_int_equal(if_nametoindex("w0"), lab.w0);
	snprintf(name, sizeof(name), "w0@%s", lab.far);
	assert_int_equal(xdivert_interface_find(name, &compartment, &ifindex),
			 -ENODEV);
	assert_int_equal(
		xdivert_interface_find("w0@nosuch", &compartment, &ifindex),
		-ENOTCONN);
	assert_non_null(strstr(xdivert_error(), "nosuch"));
	assert_int_equal(
		xdivert_interface_find("nosuch", &compartment, &ifindex),
		-ENODEV);
	assert_int_equal(xdivert_interface_find("w0@", &compartment, &ifindex),
			 -ENOTCONN);
}

static void test_C09_interfaces(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	const struct xdivert_metadata *m;
	struct xdivert_packet *p;
	struct tally t = {0};
	uint8_t frame[2100];
	uint32_t id;

	(void)state;
	send_from_far(&through);
	receive_one(h, &p);
	m = xdivert_packet_metadata(p);
	assert_int_equal(m->iif, lab.v0);
	assert_int_equal(m->oif, lab.w0);
	assert_int_equal(m->layer, XDV_LAYER_FORWARD);
	assert_true(m->received > 0);
	assert_int_not_equal(m->compartment, 0);
	assert_int_equal(xdivert_compartment_find(lab.far, &id), 0);
	assert_int_not_equal(m->compartment, id);
	/* Where it was going, with the indices that came with it. */
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET,
						      m->compartment, m->oif, p,
						      completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	expect_on(lab.wire_w, "through");
	/* The routing table prefers w0; a route on v0 is there too. */
	sh("ip route add 10.2.0.0/24 via 10.1.0.2 dev v0 metric 999");
	assert_int_equal(inject(h, &plain, lab.v0, &t), 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	assert_true(lab_receive(lab.wire_v, "contract", frame, 2000) > 0);
	assert_memory_equal(frame, lab.mac_v1, 6);
	sh("ip route del 10.2.0.0/24 via 10.1.0.2 dev v0");
	end_serving(h);
}

static void test_C17_no_hook_on_the_way_out(void **state)
{
	struct xdivert_injection *h = serve("", XDV_LAYER_FORWARD);
	struct xdivert_stats before, after;
	struct xdivert_packet *p;
	struct tally t = {0};
	int i;

	(void)state;
	xdivert_stats_read(lab.x, &before, NULL, 0);
	assert_int_equal(inject(h, &plain, lab.v0, &t), 0);
	assert_int_equal(inject(h, &plain, lab.w0, &t), 0);
	wait_called(h, &t, 2);
	for (i = 0; i < 40; i++)
		assert_int_equal(inject(h, &plain, i % 2 ? lab.v0 : lab.w0, &t),
				 0);
	wait_called(h, &t, 42);
	for (i = 0; i < 2; i++) {
		p = lab_packet(h, &plain);
		xdivert_packet_set_flags(p, XDIVERT_PACKET_VIA_STACK);
		assert_int_equal(xdivert_inject_forward_async(
					 h, 0, 0, AF_INET, 0,
					 i ? lab.v0 : lab.w0, p, completed, &t),
				 0);
	}
	wait_called(h, &t, 44);
	assert_true(t.engine[XDV_ENGINE_PORT] && t.engine[XDV_ENGINE_LIVE] &&
		    t.engine[XDV_ENGINE_NEIGH]);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.matched, before.matched);
	end_serving(h);
}

/* In generic mode the hook sees what is injected into the receive path: it is
 * not asked about, wherever it goes.
 */
static void test_C17_generic_mode(void **state)
{
	struct xdivert_attach_opts opts = {.sz = sizeof(opts),
					   .mode = XDV_MODE_GENERIC};
	struct xdivert_stats before, after;
	struct xdivert_injection *h;
	struct tally t = {0};

	(void)state;
	assert_int_equal(xdivert_attach(lab.x, "w0", NULL), 0);
	assert_int_equal(xdivert_detach(lab.x, "v0"), 0);
	assert_int_equal(xdivert_attach(lab.x, "v0", &opts), 0);
	h = serve("udp", XDV_LAYER_FORWARD);
	drain_wire(lab.wire_w);
	xdivert_stats_read(lab.x, &before, NULL, 0);
	/* Not to us: the stack forwards it. */
	assert_int_equal(xdivert_inject_receive_async(
				 h, 0, 0, AF_INET, 0, lab.v0,
				 lab_packet(h, &through), completed, &t),
			 0);
	wait_called(h, &t, 1);
	assert_int_equal(t.last.status, 0);
	expect_on(lab.wire_w, through.text);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.matched, before.matched);
	end_serving(h);
	assert_int_equal(xdivert_detach(lab.x, "v0"), 0);
	assert_int_equal(xdivert_attach(lab.x, "v0", NULL), 0);
	assert_int_equal(xdivert_detach(lab.x, "w0"), 0);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* For ten seconds, however often it comes back meanwhile. */
static void test_C18_is_forgotten_in_time(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	enum xdivert_injection_state is;
	struct xdivert_packet *p;
	struct udp u = through;
	struct tally t = {0};
	uint8_t frame[2100];
	double start;
	int n;

	(void)state;
	u.ttl = 20;
	u.text = "not for ever";
	drain_wire(lab.wire_w);
	start = seconds();
	assert_int_equal(inject(h, &u, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	n = lab_receive(lab.wire_w, u.text, frame, 2000);
	assert_true(n > 0);
	do {
		lab_send(frame + 14, n - 14);
		receive_one(h, &p);
		is = xdivert_query_injection_state(h, p, NULL);
		xdivert_packet_free(p);
		expect_nothing_on(lab.wire_w, u.text);
	} while (is == XDIVERT_INJECTED_BY_SELF && seconds() < start + 30);
	assert_int_equal(is, XDIVERT_NOT_INJECTED);
	assert_true(seconds() > start + 9 && seconds() < start + 15);
	end_serving(h);
}

static void test_C18_injection_state(void **state)
{
	static const struct udp loop = {.family = 4,
					.from_net = 1,
					.from = 9,
					.to_net = 2,
					.to = 2,
					.ttl = 20,
					.text = "goes round"};
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct xdivert_injection *other = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p;
	struct tally t = {0};
	uint8_t frame[2100];
	uint64_t context;
	int n;

	(void)state;
	drain_wire(lab.wire_w);
	assert_int_equal(inject(h, &loop, lab.w0, &t), 0);
	xdivert_dispatch(h, 0);
	n = lab_receive(lab.wire_w, "goes round", frame, 2000);
	assert_true(n > 0);
	/* Somebody sends it back to us as it is. */
	lab_send(frame + 14, n - 14);
	receive_one(h, &p);
	context = 0;
	assert_int_equal(xdivert_query_injection_state(h, p, &context),
			 XDIVERT_INJECTED_BY_SELF);
	assert_int_equal(context, 77);
	assert_int_equal(xdivert_query_injection_state(other, p, &context),
			 XDIVERT_INJECTED_BY_OTHER);
	assert_int_equal(context, 0);
	xdivert_packet_free(p);
	/* One hop further on. */
	frame[14 + 8] = 19;
	lab_seal(frame + 14);
	lab_send(frame + 14, n - 14);
	receive_one(h, &p);
	assert_int_equal(xdivert_query_injection_state(h, p, NULL),
			 XDIVERT_INJECTED_BY_SELF);
	xdivert_packet_free(p);
	/* A repetition from its sender has the TTL that ours had before. */
	frame[14 + 8] = 21;
	lab_seal(frame + 14);
	lab_send(frame + 14, n - 14);
	receive_one(h, &p);
	assert_int_equal(xdivert_query_injection_state(h, p, NULL),
			 XDIVERT_NOT_INJECTED);
	xdivert_packet_free(p);
	/* One that was never injected. */
	send_from_far(&through);
	receive_one(h, &p);
	assert_int_equal(xdivert_query_injection_state(h, p, &context),
			 XDIVERT_NOT_INJECTED);
	assert_int_equal(context, 0);
	xdivert_packet_free(p);
	xdivert_injection_destroy(other, -1);
	end_serving(h);
}

/* What never left is not known when its like comes in. */
static void test_C18_failed_injection_is_forgotten(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct udp u = through;
	struct xdivert_packet *p;
	struct tally t = {0};

	(void)state;
	u.ttl = 20;
	u.text = "never left";
	assert_int_equal(inject(h, &u, 9999, &t), 0);
	while (!t.called)
		xdivert_dispatch(h, 1000);
	assert_int_equal(t.last.status, -ENODEV);
	u.ttl = 19;
	send_from_far(&u);
	receive_one(h, &p);
	assert_int_equal(xdivert_query_injection_state(h, p, NULL),
			 XDIVERT_NOT_INJECTED);
	xdivert_packet_free(p);
	end_serving(h);
}

/* A local server answers a request that was edited on its way in. */
static void test_C25_receive_injection(void **state)
{
	static const struct udp request = {.family = 4,
					   .from_net = 1,
					   .from = 2,
					   .to_net = 1,
					   .to = 1,
					   .sport = 7,
					   .dport = 5002,
					   .text = "what is cold"};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(5002)};
	struct xdivert_injection *h = serve("udp port 5002", XDV_LAYER_RECEIVE);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd fd = {.fd = s, .events = POLLIN};
	const struct xdivert_metadata *m;
	struct xdivert_packet *p;
	struct tally t = {0};
	char text[100] = "";
	socklen_t size = sizeof(address);

	(void)state;
	assert_int_equal(bind(s, (void *)&address, sizeof(address)), 0);
	send_from_far(&request);
	receive_one(h, &p);
	m = xdivert_packet_metadata(p);
	assert_int_equal(m->layer, XDV_LAYER_RECEIVE);
	assert_int_equal(poll(&fd, 1, 0), 0);
	memcpy(xdivert_packet_data(p) + 28 + 8, "warm", 4);
	xdivert_packet_finish(p);
	assert_int_equal(xdivert_inject_receive_async(h, 5, 0, AF_INET, 0,
						      m->iif, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.context, 5);
	assert_int_equal(poll(&fd, 1, 2000), 1);
	assert_int_equal(
		recvfrom(s, text, sizeof(text), 0, (void *)&address, &size),
		12);
	assert_string_equal(text, "what is warm");
	drain_wire(lab.wire_v);
	assert_int_equal(sendto(s, "so it is", 8, 0, (void *)&address, size),
			 8);
	expect_on(lab.wire_v, "so it is");
	close(s);
	/* No such interface; one that is down. */
	assert_int_equal(xdivert_inject_receive_async(h, 0, 0, AF_INET, 0, 9999,
						      lab_packet(h, &request),
						      completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -ENODEV);
	sh("ip link set w0 down");
	assert_int_equal(xdivert_inject_receive_async(
				 h, 0, 0, AF_INET, 0, lab.w0,
				 lab_packet(h, &request), completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -ENETDOWN);
	lab_neighbours();
	end_serving(h);
}

static void test_C26_order(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	static uint8_t frame[2100];
	struct tally t = {0};
	struct udp u = plain, other = plain;
	char text[24];
	int i, got, n;

	(void)state;
	drain_wire(lab.wire_w);
	u.text = text;
	other.to_net = 1;
	for (i = 0; i < 3000; i++) {
		snprintf(text, sizeof(text), "order-%06d", i);
		assert_int_equal(inject(h, &u, lab.w0, &t), 0);
		/* Other targets between, and batches of any size. */
		if (i % 7 == 0)
			assert_int_equal(inject(h, &other, lab.v0, &t), 0);
		if (i % 13 == 0 || i % 100 == 0)
			xdivert_dispatch(h, 0);
	}
	xdivert_dispatch(h, 0);
	assert_int_equal(t.ok, t.called);
	for (i = 0; i < 3000; i++) {
		do
			n = lab_receive(lab.wire_w, "", frame, 2000);
		while (n > 12 && memcmp(frame + n - 12, "order-", 6));
		assert_true(n > 0);
		frame[n] = 0;
		got = atoi((char *)frame + n - 6);
		assert_int_equal(got, i);
	}
	xdivert_injection_destroy(h, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C08_compartments),
		contract_test(test_C08_interfaces_by_name),
		contract_test(test_C09_interfaces),
		contract_test(test_C17_no_hook_on_the_way_out),
		contract_test(test_C17_generic_mode),
		contract_test(test_C18_injection_state),
		contract_test(test_C18_is_forgotten_in_time),
		contract_test(test_C18_failed_injection_is_forgotten),
		contract_test(test_C25_receive_injection),
		contract_test(test_C26_order),
	};

	return cmocka_run_group_tests_name("way", tests, lab_open, lab_close);
}
