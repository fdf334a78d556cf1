// SPDX-License-Identifier: BSD-2-Clause
/* Packets of any size, and how they are cut: contract C20, C25, C26, C29. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tally.h"
#include "unit.h"

#define DF 0x40

/* A UDP packet of len bytes in all, whose payload counts. */
static struct xdivert_packet *packet(struct xdivert_injection *h, int family,
				     uint32_t len, uint8_t df)
{
	struct udp u = plain;
	struct xdivert_packet *p = xdivert_packet_alloc(h, len);
	uint32_t header = family == 4 ? 20 : 40, i;
	uint8_t small[200], *d;

	u.family = family;
	u.text = "";
	lab_build(&u, small);
	assert_non_null(p);
	d = xdivert_packet_data(p);
	memcpy(d, small, header + 8);
	if (family == 4) {
		d[5] = 77; /* identification */
		d[6] = df;
	}
	d[header + 4] = (len - header) >> 8;
	d[header + 5] = len - header;
	for (i = header + 8; i < len; i++)
		d[i] = i * 31 >> 3;
	assert_int_equal(xdivert_packet_finish(p), 0);
	return p;
}

static int forward(struct xdivert_injection *h, struct xdivert_packet *p,
		   struct tally *t)
{
	int family = *xdivert_packet_data(p) >> 4 == 4 ? AF_INET : AF_INET6;
	int rc = xdivert_inject_forward_async(h, 5, 0, family, 0, lab.w0, p,
					      completed, t);

	assert_int_equal(rc, 0);
	return xdivert_dispatch(h, 0);
}

/* Receive IPv4 fragments in order until the last; how many, payload to out. */
static int collect(uint8_t *out, uint32_t *len, uint16_t *sizes)
{
	uint8_t frame[2100];
	uint32_t offset, n;
	int count = 0, got;

	*len = 0;
	do {
		got = lab_receive(lab.wire_w, "", frame, 2000);
		assert_true(got > 34);
		if (frame[12] != 8 || frame[13] || frame[23] != IPPROTO_UDP)
			continue;
		n = frame[16] << 8 | frame[17];
		offset = ((frame[20] & 0x1f) << 8 | frame[21]) * 8;
		assert_int_equal(offset, *len);
		assert_int_equal(frame[19], 77);
		assert_int_equal(xdivert_checksum(frame + 14, 20, 0), 0);
		memcpy(out + offset, frame + 34, n - 20);
		*len += n - 20;
		sizes[count++] = n;
	} while (!count || frame[20] & 0x20);
	return count;
}

static void check_cut(struct xdivert_injection *h, uint32_t len, int pieces)
{
	struct xdivert_packet *p = packet(h, 4, len, 0);
	static uint8_t whole[65535], out[65535];
	struct xdivert_stats before, after;
	uint16_t sizes[64];
	struct tally t = {0};
	uint32_t got;
	int i;

	memcpy(whole, xdivert_packet_data(p), len);
	drain_wire(lab.wire_w);
	xdivert_stats_read(lab.x, &before, NULL, 0);
	assert_int_equal(forward(h, p, &t), 1);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.len, len);
	assert_int_equal(t.last.context, 5);
	assert_int_equal(collect(out, &got, sizes), pieces);
	assert_int_equal(got, len - 20);
	assert_memory_equal(out, whole + 20, got);
	for (i = 0; i < pieces - 1; i++)
		assert_int_equal(sizes[i], 1500);
	/* However many frames: one injection. */
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.injected, before.injected + 1);
	assert_int_equal(after.completed, before.completed + 1);
	check_books();
}

static void test_C29_fragmented(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);

	(void)state;
	check_cut(h, 1500, 1);
	check_cut(h, 1501, 2);
	check_cut(h, 2980, 2);
	check_cut(h, 2981, 3);
	check_cut(h, 3328, 3);
	/* More than a frame holds. */
	check_cut(h, 3329, 3);
	check_cut(h, 9000, 7);
	check_cut(h, 60000, 41);
	check_cut(h, 65535, 45);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

static void expect_no_udp(void)
{
	uint8_t frame[2100];
	int n;

	while ((n = lab_receive(lab.wire_w, "", frame, 50)))
		assert_false(frame[12] == 8 ? frame[23] == IPPROTO_UDP
					    : frame[20] == IPPROTO_UDP ||
						      frame[20] == 44);
}

static void check_too_big(struct xdivert_injection *h, int family, uint32_t len,
			  uint8_t df, uint32_t flags)
{
	struct xdivert_packet *p = packet(h, family, len, df);
	struct tally t = {0};

	xdivert_packet_set_flags(p, flags);
	drain_wire(lab.wire_w);
	forward(h, p, &t);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.last.status, -EMSGSIZE);
	assert_int_equal(t.last.reason, XDV_REASON_FIB_FRAG_NEEDED);
	assert_int_equal(t.last.mtu, 1500);
	assert_int_equal(t.last.len, len);
	expect_no_udp();
	check_books();
}

/* Don't fragment, IPv6, and the packet's own flag. */
static void test_C29_too_big(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};

	(void)state;
	check_too_big(h, 4, 1501, DF, 0);
	check_too_big(h, 4, 60000, DF, 0);
	check_too_big(h, 6, 1501, 0, 0);
	check_too_big(h, 6, 60000, 0, 0);
	check_too_big(h, 4, 1501, 0, XDIVERT_PACKET_NO_FRAGMENT);
	forward(h, packet(h, 4, 1500, DF), &t);
	forward(h, packet(h, 6, 1500, 0), &t);
	assert_int_equal(t.ok, 2);
	assert_null(xdivert_packet_alloc(h, XDIVERT_PACKET_MAX + 1));
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

/* A route knows better than its interface. */
static void test_C29_mtu_of_the_route(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	static uint8_t out[65535];
	struct tally t = {0};
	uint16_t sizes[64];
	uint32_t got;

	(void)state;
	sh("ip route replace 10.2.0.2/32 dev w0 mtu lock 1000");
	forward(h, packet(h, 4, 1400, DF), &t);
	assert_int_equal(t.last.status, -EMSGSIZE);
	assert_int_equal(t.last.mtu, 1000);
	drain_wire(lab.wire_w);
	forward(h, packet(h, 4, 1400, 0), &t);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(collect(out, &got, sizes), 2);
	assert_int_equal(sizes[0], 996);
	drain_wire(lab.wire_w);
	forward(h, packet(h, 4, 5000, 0), &t);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(collect(out, &got, sizes), 6);
	assert_int_equal(t.called, 3);
	sh("ip route del 10.2.0.2/32 dev w0");
	check_books();
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

/* ---- C26: whatever the sizes ---- */

#define NARROW 1280 /* the least that IPv6 allows */

static uint32_t any_length(unsigned int *seed)
{
	switch (rand_r(seed) % 4) {
	case 0:
		return NARROW + 1 + rand_r(seed) % (1500 - NARROW);
	case 1:
		return 1501 + rand_r(seed) % 3000;
	default:
		return 60 + rand_r(seed) % (NARROW - 59);
	}
}

static void send_number(struct xdivert_injection *h, int family, uint32_t len,
			uint8_t df, uint32_t number, struct tally *t)
{
	struct xdivert_packet *p = packet(h, family, len, df);

	memcpy(xdivert_packet_data(p) + (family == 4 ? 28 : 48), &number, 4);
	assert_int_equal(xdivert_packet_finish(p), 0);
	assert_int_equal(xdivert_inject_forward_async(
				 h, 0, 0, family == 4 ? AF_INET : AF_INET6, 0,
				 lab.w0, p, completed, t),
			 0);
}

/* The next whole packet, or the first of its parts. */
static void expect_number(int family, uint32_t number)
{
	uint32_t header = family == 4 ? 34 : 54, got;
	uint8_t frame[2100];
	bool first;
	int n;

	do {
		n = lab_receive(lab.wire_w, "", frame, 2000);
		assert_true(n > 0);
		if (family == 4)
			first = frame[12] == 8 && !frame[13] &&
				frame[23] == IPPROTO_UDP &&
				!(frame[20] & 0x1f) && !frame[21];
		else
			first = frame[12] == 0x86 && frame[20] == IPPROTO_UDP;
	} while (!first);
	memcpy(&got, frame + header + 8, 4);
	assert_int_equal(got, number);
}

/* Batches in which any packet may be too long for its route, not to be cut
 * even, or too long for the interface.
 */
static void order_of_sizes(struct xdivert_injection *h, int family,
			   uint8_t df_of, unsigned int *seed, struct tally *t)
{
	int i, n = 1 + rand_r(seed) % 24, expected = 0, last = t->called;
	uint32_t numbers[24], len;
	uint8_t df;

	for (i = 0; i < n; i++) {
		len = any_length(seed);
		df = rand_r(seed) % 4 ? 0 : df_of;
		send_number(h, family, len, df, last + i, t);
		if (len <= NARROW || (family == 4 && !df))
			numbers[expected++] = last + i;
	}
	wait_called(h, t, last + n);
	assert_int_equal(t->failed, last + n - t->ok);
	for (i = 0; i < expected; i++)
		expect_number(family, numbers[i]);
	drain_wire(lab.wire_w);
}

static void test_C26_order_of_what_is_cut(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t = {0};
	unsigned int seed = 26;
	int i;

	(void)state;
	sh("ip route replace 10.2.0.2/32 dev w0 mtu lock %d", NARROW);
	sh("ip -6 route replace fd02::2/128 dev w0 mtu lock %d", NARROW);
	for (i = 0; i < 200; i++) {
		order_of_sizes(h, 4, 0, &seed, &t);
		order_of_sizes(h, 4, DF, &seed, &t);
		order_of_sizes(h, 6, 0, &seed, &t);
	}
	assert_int_equal(t.engine[XDV_ENGINE_NEIGH], 0);
	assert_true(t.engine[XDV_ENGINE_PORT] > 100);
	assert_true(t.engine[XDV_ENGINE_LIVE] > 100);
	sh("ip route del 10.2.0.2/32 dev w0");
	sh("ip -6 route del fd02::2/128 dev w0");
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Its sender is told, unless the packet says otherwise. */
static void told_or_not(struct xdivert_injection *h, uint32_t flag)
{
	struct udp u = through;
	struct xdivert_packet *p;
	struct tally t = {0};
	uint8_t data[2000], frame[2100];
	uint32_t len;
	int n, icmp = 0;

	u.text = "a packet that is somewhat longer than the route's MTU of "
		 "one hundred bytes, and that may not be cut";
	len = lab_build(&u, data);
	data[6] = DF;
	lab_seal(data);
	drain_wire(lab.wire_v);
	lab_send(data, len);
	receive_one(h, &p);
	xdivert_packet_set_flags(p, xdivert_packet_flags(p) | flag);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, p, completed, &t),
			 0);
	wait_called(h, &t, 1);
	assert_int_equal(t.last.status, -EMSGSIZE);
	while ((n = lab_receive(lab.wire_v, "", frame, icmp ? 0 : 200)))
		icmp += frame[12] == 8 && !frame[13] &&
			frame[23] == IPPROTO_ICMP && frame[34] == 3;
	assert_int_equal(icmp, flag ? 0 : 1);
}

static void test_C29_no_icmp(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);

	(void)state;
	sh("ip route replace 10.2.0.2/32 dev w0 mtu lock 100");
	told_or_not(h, 0);
	told_or_not(h, XDIVERT_PACKET_NO_ICMP);
	sh("ip route del 10.2.0.2/32 dev w0");
	end_serving(h);
}

/* ... even below what an interface may have. */
static void test_C29_mtu_of_a_narrow_route(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	static uint8_t out[65535];
	struct xdivert_stats before, after;
	struct tally t = {0};
	uint16_t sizes[64];
	uint32_t got;

	(void)state;
	sh("ip route replace 10.2.0.2/32 dev w0 mtu lock 60");
	xdivert_stats_read(lab.x, &before, NULL, 0);
	drain_wire(lab.wire_w);
	forward(h, packet(h, 4, 66, DF), &t);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.last.status, -EMSGSIZE);
	assert_int_equal(t.last.mtu, 60);
	forward(h, packet(h, 4, 66, 0), &t);
	assert_int_equal(t.called, 2);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(collect(out, &got, sizes), 2);
	assert_int_equal(got, 46);
	assert_int_equal(xdivert_dispatch(h, 0), 0);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.injected, before.injected + 2);
	sh("ip route del 10.2.0.2/32 dev w0");
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* One completion for all parts: of the first that failed. */
static void test_C29_parts_that_fail(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = packet(h, 4, 9000, 0);
	struct tally t = {0};

	(void)state;
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0, 9999,
						      p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.last.status, -ENODEV);
	sh("ip link set w0 down");
	forward(h, packet(h, 4, 9000, 0), &t);
	assert_int_equal(t.called, 2);
	assert_int_equal(t.last.status, -ENETDOWN);
	lab_neighbours();
	/* Destroyed before it could leave. */
	p = packet(h, 4, 9000, 0);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      lab.w0, p, completed, &t),
			 0);
	assert_int_equal(xdivert_injection_destroy(h, 0), 0);
	assert_int_equal(t.called, 3);
	assert_int_equal(t.last.status, -ECANCELED);
	check_books();
}

/* The interface of another namespace has an MTU of its own. */
static void test_C29_other_compartment(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = packet(h, 4, 3000, 0);
	uint8_t *d = xdivert_packet_data(p);
	struct tally t = {0};
	uint32_t far;

	(void)state;
	assert_int_equal(xdivert_compartment_find(lab.far, &far), 0);
	sh("nsenter --net=/run/netns/%s sh -c 'ip link set v1 mtu 1400;"
	   " ip neigh replace 10.1.0.1 lladdr 02:00:00:00:00:01 dev v1"
	   " nud permanent'",
	   lab.far);
	memcpy(d + 12, (uint8_t[]){10, 1, 0, 2}, 4);
	memcpy(d + 16, (uint8_t[]){10, 1, 0, 1}, 4);
	xdivert_packet_finish(p);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, far,
						      lab.v1, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.compartment, far);
	p = packet(h, 4, 1401, DF);
	d = xdivert_packet_data(p);
	memcpy(d + 16, (uint8_t[]){10, 1, 0, 1}, 4);
	xdivert_packet_finish(p);
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, far,
						      lab.v1, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.last.status, -EMSGSIZE);
	assert_int_equal(t.last.mtu, 1400);
	assert_int_equal(t.called, 2);
	sh("nsenter --net=/run/netns/%s ip link set v1 mtu 1500", lab.far);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* No frame is left to cut into: it says so. */
static void test_C29_no_frames(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *all[9000], *p = packet(h, 4, 9000, 0);
	struct tally t = {0};
	int n = 0;

	(void)state;
	while (n < 9000 && (all[n] = xdivert_packet_alloc(h, 40)))
		n++;
	forward(h, p, &t);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.last.status, -ENOBUFS);
	/* Three frames at a time are enough. */
	xdivert_packet_free(all[--n]);
	xdivert_packet_free(all[--n]);
	xdivert_packet_free(all[--n]);
	forward(h, packet(h, 4, 60000, 0), &t);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), n);
	drain_wire(lab.wire_w);
	check_books();
}

static void test_C20_big_packets(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdivert_packet *p = packet(h, 4, 60000, 0), *copy;
	uint32_t n = 0;

	(void)state;
	copy = xdivert_packet_clone(p);
	assert_non_null(copy);
	assert_int_equal(xdivert_packet_len(copy), 60000);
	assert_memory_equal(xdivert_packet_data(copy), xdivert_packet_data(p),
			    60000);
	xdivert_packet_data(copy)[59999] ^= 1;
	assert_int_not_equal(xdivert_packet_data(copy)[59999],
			     xdivert_packet_data(p)[59999]);
	assert_int_equal(xdivert_packet_put(copy, 100), 0);
	assert_int_equal(xdivert_packet_push(copy, 20), 0);
	assert_int_equal(xdivert_packet_pull(copy, 59000), 0);
	assert_int_equal(xdivert_packet_trim(copy, 1000), 0);
	assert_int_equal(xdivert_packet_len(copy), 120);
	assert_int_equal(xdivert_packet_put(copy, 70000), -ENOSPC);
	xdivert_packet_free(copy);
	xdivert_packet_free(p);
	/* They are bounded too. */
	while (n < 10000 && xdivert_packet_alloc(h, 60000))
		n++;
	assert_true(n > 1000 && n < 10000);
	assert_int_equal(xdivert_injection_destroy(h, -1), n);
}

/* Into the stack: it puts the parts together. */
static void test_C25_big_packet_into_the_stack(void **state)
{
	static const int families[] = {4, 6};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	static char text[65536];
	struct sockaddr_in6 address = {.sin6_family = AF_INET6,
				       .sin6_port = htons(9)};
	int s = socket(AF_INET6, SOCK_DGRAM, 0), size = 1 << 20;
	struct xdivert_packet *p;
	struct tally t = {0};
	size_t i;

	(void)state;
	setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	assert_int_equal(bind(s, (void *)&address, sizeof(address)), 0);
	for (i = 0; i < 2; i++) {
		uint32_t header = families[i] == 4 ? 28 : 48;
		uint8_t *d;

		p = packet(h, families[i], 40000, 0);
		d = xdivert_packet_data(p);
		/* From the neighbour, to us. */
		if (families[i] == 4) {
			memcpy(d + 12, (uint8_t[]){10, 1, 0, 2}, 4);
			memcpy(d + 16, (uint8_t[]){10, 1, 0, 1}, 4);
		} else {
			memset(d + 8, 0, 32);
			d[8] = d[24] = 0xfd;
			d[9] = d[25] = 1;
			d[23] = 2;
			d[39] = 1;
		}
		xdivert_packet_finish(p);
		assert_int_equal(xdivert_inject_receive_async(
					 h, 0, 0,
					 families[i] == 4 ? AF_INET : AF_INET6,
					 0, lab.v0, p, completed, &t),
				 0);
		xdivert_dispatch(h, 0);
		assert_int_equal(t.last.status, 0);
		assert_int_equal(recv(s, text, sizeof(text), MSG_DONTWAIT),
				 40000 - header);
	}
	close(s);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C29_fragmented),
		contract_test(test_C29_too_big),
		contract_test(test_C29_mtu_of_the_route),
		contract_test(test_C26_order_of_what_is_cut),
		contract_test(test_C29_mtu_of_a_narrow_route),
		contract_test(test_C29_no_icmp),
		contract_test(test_C29_parts_that_fail),
		contract_test(test_C29_other_compartment),
		contract_test(test_C29_no_frames),
		contract_test(test_C20_big_packets),
		contract_test(test_C25_big_packet_into_the_stack),
	};

	return cmocka_run_group_tests_name("sizes", tests, lab_open, lab_close);
}
