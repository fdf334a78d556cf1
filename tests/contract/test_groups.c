// SPDX-License-Identifier: BSD-2-Clause
/* Groups of fragments, put together and cut again: contract C19. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "fragment.h"
#include "tally.h"
#include "unit.h"

/* Cut a packet and put the fragments on the wire, the last one first. */
static int send_fragments(const uint8_t *data, uint32_t len, uint32_t mtu)
{
	static uint8_t out[64][1500];
	uint32_t size[64];
	struct split s;
	int n = 0, i;

	assert_int_equal(split_begin(&s, data, len, mtu, NULL), 0);
	s.id = 99;
	while ((size[n] = split_next(&s, out[n])))
		n++;
	for (i = n - 1; i >= 0; i--)
		lab_send(out[i], size[i]);
	return n;
}

static uint32_t build(uint8_t *data, int family, uint32_t text)
{
	static char body[60000];
	struct udp u = through;
	uint32_t len;

	memset(body, 'a', text);
	body[text] = 0;
	u.family = family;
	u.text = body;
	len = lab_build(&u, data);
	lab_seal(data);
	return len;
}

static void check_group(struct xdivert_injection *h, int family, uint32_t text)
{
	static uint8_t data[65535];
	uint32_t len = build(data, family, text), front, mtu = 1000;
	struct xdivert_fragment list[64];
	struct xdivert_packet *p, *copy;
	struct xdivert_stats before, after;
	uint8_t frame[2100];
	struct tally t = {0};
	int sent, n, i;

	front = family == 4 ? 20 : 40;
	drain_wire(lab.wire_w);
	xdivert_stats_read(lab.x, &before, NULL, 0);
	sent = send_fragments(data, len, mtu);
	receive_one(h, &p);
	assert_int_equal(xdivert_packet_len(p), len);
	assert_memory_equal(xdivert_packet_data(p) + front, data + front,
			    len - front);
	assert_int_equal(xdivert_packet_metadata(p)->flags,
			 XDIVERT_META_REASSEMBLED);
	assert_int_equal(xdivert_packet_metadata(p)->iif, lab.v0);
	assert_int_equal(xdivert_packet_metadata(p)->oif, lab.w0);
	assert_int_not_equal(xdivert_packet_metadata(p)->rule, 0);
	/* How it was cut. */
	assert_int_equal(xdivert_packet_fragments(p, list, 64), sent);
	assert_int_equal(list[0].offset, 0);
	for (i = 1; i < sent; i++)
		assert_int_equal(list[i].offset, list[i - 1].offset +
							 list[0].len - front -
							 (family == 4 ? 0 : 8));
	/* A clone is a packet of its own, and knows it too. */
	copy = xdivert_packet_clone(p);
	assert_int_equal(xdivert_packet_fragments(copy, NULL, 0), sent);
	xdivert_packet_free(copy);
	/* One injection; it leaves as it came, in order. */
	assert_int_equal(xdivert_inject_forward_async(
				 h, 3, 0, family == 4 ? AF_INET : AF_INET6, 0,
				 lab.w0, p, completed, &t),
			 0);
	xdivert_dispatch(h, 0);
	assert_int_equal(t.called, 1);
	assert_int_equal(t.last.status, 0);
	assert_int_equal(t.last.len, len);
	for (i = 0; i < sent; i++) {
		do
			n = lab_receive(lab.wire_w, "", frame, 2000);
		while (n && frame[12] == 8 ? frame[23] != IPPROTO_UDP
					   : n && frame[20] != 44);
		assert_int_equal(n, list[i].len + 14);
	}
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.reassembled, before.reassembled + 1);
	/* It counts for all its fragments. */
	assert_int_equal(after.diverted, before.diverted + sent);
	assert_int_equal(after.completed, before.completed + sent);
	check_books();
}

static void test_C19_group_of_fragments(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);

	(void)state;
	check_group(h, 4, 1400);
	check_group(h, 4, 3000);
	check_group(h, 4, 50000);
	check_group(h, 6, 1400);
	check_group(h, 6, 3000);
	check_group(h, 6, 50000);
	end_serving(h);
}

/* Dropped, cloned and held, it counts for all its fragments too. */
static void test_C19_group_that_is_dropped(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct xdivert_stats before, after;
	static uint8_t data[65535];
	struct xdivert_packet *p;
	int sent;

	(void)state;
	xdivert_stats_read(lab.x, &before, NULL, 0);
	sent = send_fragments(data, build(data, 4, 3000), 1000);
	receive_one(h, &p);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.held, sent);
	xdivert_packet_free(p);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.dropped, before.dropped + sent);
	assert_int_equal(after.held, 0);
	/* One that is held when the handle goes. */
	send_fragments(data, build(data, 6, 3000), 1000);
	receive_one(h, &p);
	assert_int_equal(xdivert_injection_destroy(h, -1), 1);
	assert_int_equal(xdivert_rule_flush(lab.x), 0);
	check_books();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C19_group_of_fragments),
		contract_test(test_C19_group_that_is_dropped),
	};

	return cmocka_run_group_tests_name("groups", tests, lab_open,
					   lab_close);
}
