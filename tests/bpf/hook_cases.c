// SPDX-License-Identifier: BSD-2-Clause
/* What must hold of both hooks: each header shape, packets cut anywhere, every
 * verdict.
 */
#include <string.h>

#include <bpf/bpf.h>

#include "hook_lab.h"
#include "multibuf.h"
#include "queue.h"

/* Every one of them is matched by the rule's expression (which is empty): what
 * decides is whether the kernel would forward it.
 */
static const struct {
	const char *name;
	const char *hex;
	uint32_t pad_to;
	enum verdict verdict;
} shapes[] = {
	{"IPv4", IP4("0020", "40", SERVER4) UDP, 0, DIVERTED},
	{"IPv4, padded to 60 bytes", IP4("0020", "40", SERVER4) UDP, 60,
	 DIVERTED},
	{"IPv4, no neighbour yet", IP4("0020", "40", "0a000263") UDP, 0,
	 DIVERTED},
	{"IPv4, options",
	 "0800 4600 0024 0000 0000 4011 0000 0a000102 0a000202 01010101" UDP, 0,
	 DIVERTED},
	{"IPv4, first fragment",
	 "0800 4500 001c 0000 2000 4011 0000 0a000102 0a000202"
	 " 0fa01388 000c0000",
	 0, DIVERTED},
	{"IPv4, first fragment, no multiple of 8",
	 "0800 4500 0020 0000 2000 4011 0000 0a000102 0a000202" UDP, 0, PASSED},
	{"IPv4, later fragment past 65,535",
	 "0800 4500 0020 0000 1fff 4011 0000 0a000102 0a000202" UDP, 0, PASSED},
	{"IPv4, fragment of nothing",
	 "0800 4500 0014 0000 0004 4011 0000 0a000102 0a000202", 0, PASSED},
	{"IPv4, later fragment",
	 "0800 4500 0020 0000 0004 4011 0000 0a000102 0a000202" UDP, 0,
	 DIVERTED},
	{"IPv4, header alone", IP4("0014", "40", SERVER4), 0, DIVERTED},
	{"IPv4, TTL 2", IP4("0020", "02", SERVER4) UDP, 0, DIVERTED},
	{"IPv4, TTL 1", IP4("0020", "01", SERVER4) UDP, 0, PASSED},
	{"IPv4, TTL 0", IP4("0020", "00", SERVER4) UDP, 0, PASSED},
	{"IPv4, to this host", IP4("0020", "40", "0a000101") UDP, 0, PASSED},
	{"IPv4, to this host's other side", IP4("0020", "40", "0a000201") UDP,
	 0, PASSED},
	{"IPv4, subnet broadcast", IP4("0020", "40", "0a0002ff") UDP, 0,
	 PASSED},
	{"IPv4, broadcast", IP4("0020", "40", "ffffffff") UDP, 0, PASSED},
	{"IPv4, multicast", IP4("0020", "40", "e0000001") UDP, 0, PASSED},
	{"IPv4, loopback", IP4("0020", "40", "7f000001") UDP, 0, PASSED},
	{"IPv4, no route", IP4("0020", "40", "c0000201") UDP, 0, PASSED},
	{"IPv4, blackhole", IP4("0020", "40", "0a000301") UDP, 0, PASSED},
	{"IPv4, unreachable", IP4("0020", "40", "0a000401") UDP, 0, PASSED},
	{"IPv4, prohibited", IP4("0020", "40", "0a000501") UDP, 0, PASSED},
	{"IPv4, header length 16",
	 "0800 4400 0020 0000 0000 4011 0000 0a000102 0a000202" UDP, 0, PASSED},
	{"IPv4, total length below the header's",
	 IP4("0013", "40", SERVER4) UDP, 0, PASSED},
	{"IPv4, total length past the frame", IP4("0021", "40", SERVER4) UDP, 0,
	 PASSED},
	{"IPv4's EtherType, version 6",
	 "0800 6500 0020 0000 0000 4011 0000 0a000102 0a000202" UDP, 0, PASSED},
	{"IPv6's EtherType, version 4",
	 "86dd 4500 0020 0000 0000 4011 0000 0a000102 0a000202" UDP, 60,
	 PASSED},
	{"IPv6", IP6("000c", "40", SERVER6) UDP, 0, DIVERTED},
	{"IPv6, header alone",
	 "86dd 60000000 0000 3b 40 fd000001000000000000000000000002 " SERVER6,
	 0, DIVERTED},
	{"IPv6, hop-by-hop",
	 "86dd 60000000 0014 00 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 0104 00000000" UDP,
	 0, DIVERTED},
	{"IPv6, fragment",
	 "86dd 60000000 0010 2c 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 0001 00000000 0fa01388 000c0000",
	 0, DIVERTED},
	{"IPv6, fragment behind hop-by-hop",
	 "86dd 60000000 0018 00 40 fd000001000000000000000000000002 " SERVER6
	 " 2c 00 0104 00000000 11 00 0001 00000000 0fa01388 000c0000",
	 0, DIVERTED},
	{"IPv6, atomic fragment",
	 "86dd 60000000 0014 2c 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 0000 00000000" UDP,
	 0, DIVERTED},
	{"IPv6, fragment, no multiple of 8",
	 "86dd 60000000 0014 2c 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 0001 00000000" UDP,
	 0, PASSED},
	{"IPv6, fragment of nothing",
	 "86dd 60000000 0008 2c 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 0008 00000000",
	 0, PASSED},
	{"IPv6, last fragment past 65,535",
	 "86dd 60000000 0014 2c 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 fff8 00000000" UDP,
	 0, PASSED},
	{"IPv6, hop limit 2", IP6("000c", "02", SERVER6) UDP, 0, DIVERTED},
	{"IPv6, hop limit 1", IP6("000c", "01", SERVER6) UDP, 0, PASSED},
	{"IPv6, to this host",
	 IP6("000c", "40", "fd000001000000000000000000000001") UDP, 0, PASSED},
	{"IPv6, no route",
	 IP6("000c", "40", "20010db8000000000000000000000001") UDP, 0, PASSED},
	{"IPv6, link-local",
	 IP6("000c", "40", "fe800000000000000000000000000001") UDP, 0, PASSED},
	{"IPv6, multicast",
	 IP6("000c", "40", "ff020000000000000000000000000001") UDP, 0, PASSED},
	{"IPv6, payload length past the frame", IP6("000d", "40", SERVER6) UDP,
	 0, PASSED},
	{"ARP", "0806 0001 0800 0604 0001 020000000002 0a000102", 60, PASSED},
	{"VLAN", "8100 0005 " IP4("0020", "40", SERVER4) UDP, 0, PASSED},
	{"LLDP", "88cc 0207 0400", 60, PASSED},
	{"length instead of a type", "0020 4242 03", 60, PASSED},
	{"Ethernet header alone", "0800", 0, PASSED},
};

static void test_shapes(void **state)
{
	struct xdivert_stats before, after;
	struct xdv_meta meta;
	struct frame f;
	enum verdict verdict;
	size_t i;

	(void)state;
	add_rule("all", "", "");
	for (i = 0; i < ARRAY_SIZE(shapes); i++) {
		print_message("%s\n", shapes[i].name);
		from_hex(&f, shapes[i].hex, shapes[i].pad_to);
		before = stats();
		verdict = run(&f, &meta);
		after = stats();
		assert_int_equal(verdict, shapes[i].verdict);
		assert_int_equal(after.seen, before.seen + !lab.refused);
		assert_int_equal(after.matched - before.matched,
				 verdict == DIVERTED);
		if (verdict != DIVERTED)
			continue;
		assert_int_equal(meta.iif, lab.in);
		assert_int_equal(meta.oif, lab.out);
		assert_int_equal(meta.l3_offset, 14);
		assert_true(meta.timestamp > 0);
	}
	flush_rules();
}

/* What the FIB said of one flow is not said of another, in whatever order they
 * come: of each source some packets to the server, some to nowhere, some to us.
 */
static void test_flows_have_their_own_routes(void **state)
{
	static const struct {
		uint8_t destination[4];
		enum verdict verdict;
	} ways[] = {
		{{10, 0, 2, 2}, DIVERTED},
		{{10, 0, 3, 1}, PASSED}, /* blackhole */
		{{10, 0, 1, 1}, PASSED}, /* this host */
		{{10, 0, 2, 99}, DIVERTED},
	};
	struct xdv_meta meta;
	struct frame f;
	int source, i, n;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, IP4("0020", "40", SERVER4) UDP, 0);
	for (source = 2; source < 250; source++) {
		for (n = 0; n < 2 * (int)ARRAY_SIZE(ways); n++) {
			i = n % ARRAY_SIZE(ways);
			f.data[14 + 15] = source;
			memcpy(f.data + 14 + 16, ways[i].destination, 4);
			set_sum(&f);
			assert_int_equal(run(&f, &meta), ways[i].verdict);
			if (ways[i].verdict == DIVERTED)
				assert_int_equal(meta.oif, lab.out);
		}
	}
	flush_rules();
}

/* A route that came or went counts for the next packet. */
static void test_routes_come_and_go(void **state)
{
	struct frame f;
	int i;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, IP4("0020", "40", SERVER4) UDP, 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(run(&f, NULL), DIVERTED);
		sh("ip route add blackhole 10.0.2.2/32");
		assert_int_equal(run(&f, NULL), PASSED);
		sh("ip route del blackhole 10.0.2.2/32");
	}
	flush_rules();
}

/* What is not sent to the interface's own address is not ours. */
static void test_addresses(void **state)
{
	struct frame f;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	assert_int_equal(run(&f, NULL), DIVERTED);
	f.data[5] ^= 1;
	assert_int_equal(run(&f, NULL), PASSED);
	f.data[5] ^= 1;
	f.data[0] |= 1;
	assert_int_equal(run(&f, NULL), PASSED);
	memset(f.data, 0xff, 6);
	assert_int_equal(run(&f, NULL), PASSED);
	flush_rules();
}

/* The kernel drops these; so it shall. */
static void test_bad_ipv4(void **state)
{
	static const struct {
		uint8_t source[4];
		enum verdict verdict;
	} sources[] = {
		{{0, 0, 0, 0}, PASSED},
		{{127, 0, 0, 1}, PASSED},
		{{224, 0, 0, 1}, PASSED},
		{{239, 255, 255, 255}, PASSED},
		{{255, 255, 255, 255}, PASSED},
		/* Linux forwards these, since 5.3. */
		{{0, 0, 0, 1}, DIVERTED},
		{{240, 0, 0, 1}, DIVERTED},
	};
	struct frame f;
	size_t i;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	f.data[24] ^= 0x40;
	assert_int_equal(run(&f, NULL), PASSED);
	for (i = 0; i < ARRAY_SIZE(sources); i++) {
		from_hex(&f, shapes[0].hex, 0);
		memcpy(f.data + 26, sources[i].source, 4);
		set_sum(&f);
		assert_int_equal(run(&f, NULL), sources[i].verdict);
	}
	/* With options too. */
	from_hex(&f, shapes[3].hex, 0);
	assert_int_equal(run(&f, NULL), DIVERTED);
	f.data[34] ^= 1;
	assert_int_equal(run(&f, NULL), PASSED);
	flush_rules();
}

/* A frame cut short is never diverted: its IP length says that it is. */
static void test_truncated(void **state)
{
	struct frame f;
	uint32_t full;
	size_t i;

	(void)state;
	add_rule("all", "", "");
	for (i = 0; i < ARRAY_SIZE(shapes); i++) {
		if (shapes[i].verdict != DIVERTED || shapes[i].pad_to)
			continue;
		from_hex(&f, shapes[i].hex, 0);
		full = f.len;
		for (f.len = 14; f.len < full; f.len++)
			assert_int_equal(run(&f, NULL), PASSED);
		assert_int_equal(run(&f, NULL), DIVERTED);
	}
	flush_rules();
}

static void test_rules(void **state)
{
	struct xdv_meta meta;
	struct frame f;

	(void)state;
	from_hex(&f, shapes[0].hex, 0);
	assert_int_equal(run(&f, NULL), PASSED);
	add_rule("tcp", "tcp", "");
	assert_int_equal(run(&f, NULL), PASSED);
	add_rule("other-way", "udp", "in0");
	assert_int_equal(run(&f, NULL), PASSED);
	add_rule("this-way", "udp", "out0");
	add_rule("too-late", "udp", "");
	assert_int_equal(run(&f, &meta), DIVERTED);
	assert_int_equal(meta.rule, lab.x->shared->next_rule - 1);
	flush_rules();
	assert_int_equal(run(&f, NULL), PASSED);
}

/* What we put into the receive path is not taken out again, whatever rule it
 * matches and wherever it is going.
 */
static void test_injected(void **state)
{
	struct frame f;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	memcpy(f.data + 6, lab.x->shared->mac, 6);
	assert_int_equal(run(&f, NULL), PASSED);
	f.data[11] ^= 1;
	assert_int_equal(run(&f, NULL), DIVERTED);
	flush_rules();
}

/* Nobody serves the queue: the interface's --fail decides. */
static void check_unserved(unsigned int fail, enum verdict verdict)
{
	struct xdivert_stats before, after;
	struct xdv_meta meta;
	struct frame f;

	lab_detach();
	assert_int_equal(queues_update(lab.h->q), 0);
	lab_attach(fail);
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	before = stats();
	assert_int_equal(run(&f, &meta), verdict);
	after = stats();
	assert_int_equal(after.matched, before.matched + 1);
	assert_int_equal(after.unserved, before.unserved + 1);
	/* What no rule asks for passes all the same. */
	from_hex(&f, "0806", 60);
	assert_int_equal(run(&f, &meta), PASSED);
	flush_rules();
	from_hex(&f, shapes[0].hex, 0);
	assert_int_equal(run(&f, &meta), PASSED);
}

static void test_unserved(void **state)
{
	(void)state;
	check_unserved(XDV_FAIL_OPEN, PASSED);
	check_unserved(XDV_FAIL_CLOSED, DROPPED);
	lab_detach();
	lab_attach(XDV_FAIL_OPEN);
	lab_serve_again();
}

/* The test runner redirects nothing, so the queue seems to fill up. */
static void test_full_queue(void **state)
{
	struct xdv_queue *queue = lab_queue();
	struct frame f;
	uint64_t n;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	assert_true(queue->limit > 0 && queue->limit < 10000);
	for (n = queue->produced; n < queue->limit; n++)
		assert_int_equal(run(&f, NULL), DIVERTED);
	assert_int_equal(run(&f, NULL), PASSED);
	queue->consumed++;
	assert_int_equal(run(&f, NULL), DIVERTED);
	assert_int_equal(run(&f, NULL), PASSED);
	queue->consumed = queue->produced;
	flush_rules();
}

/* Where a rule may want it, a fragment is diverted whatever it holds; rules
 * that want none leave it alone; and what nobody serves is asked as it is.
 */
static void test_fragments(void **state)
{
	struct xdv_rule rule = {.priority = 1, .name = "r"};
	struct xdv_queue *queue = lab_queue();
	struct xdv_meta meta;
	struct frame f;
	uint64_t limit;
	size_t i;

	(void)state;
	for (i = 0; strcmp(shapes[i].name, "IPv4, later fragment"); i++)
		;
	from_hex(&f, shapes[i].hex, 0);
	strcpy(rule.filter, "tcp port 7");
	assert_int_equal(run(&f, NULL), PASSED);
	assert_int_equal(xdivert_rule_add(lab.x, &rule), 0);
	assert_int_equal(run(&f, &meta), DIVERTED);
	assert_int_equal(meta.rule, 0);
	assert_int_equal(meta.oif, lab.out);
	assert_int_equal(meta.layer, XDV_LAYER_FORWARD);
	/* Not served: it matches no rule as it is. */
	limit = queue->limit;
	queue->limit = 0;
	assert_int_equal(run(&f, NULL), PASSED);
	queue->limit = limit;
	/* Nobody asks about packets to this host. */
	memcpy(f.data + 30, (uint8_t[]){10, 0, 1, 1}, 4);
	set_sum(&f);
	assert_int_equal(run(&f, NULL), PASSED);
	flush_rules();
	from_hex(&f, shapes[i].hex, 0);
	rule.fragment = XDV_FRAGMENT_NONE;
	assert_int_equal(xdivert_rule_add(lab.x, &rule), 0);
	assert_int_equal(run(&f, NULL), PASSED);
	flush_rules();
}

/* Before kernel 6.6 a long packet needs pages of the tap beside its frame. */
static void pages_for_the_rest(const struct frame *f)
{
	struct xdv_queue *queue = lab_queue(), was = *queue;
	uint32_t longest = lab.x->shared->tap_longest;

	lab.x->shared->tap_longest = XDV_PACKET_MAX;
	queue->rests = 0;
	assert_int_equal(run(f, NULL), PASSED);
	queue->rests = 2;
	assert_int_equal(run(f, NULL), DIVERTED);
	queue->rest_taken = queue->rest_done + 1;
	assert_int_equal(run(f, NULL), DIVERTED);
	queue->rest_taken = queue->rest_done + 2;
	assert_int_equal(run(f, NULL), PASSED);
	queue->rest_done += 2;
	assert_int_equal(run(f, NULL), DIVERTED);
	queue->rests = was.rests;
	lab.x->shared->tap_longest = longest;
}

static void test_sizes(void **state)
{
	struct xdivert_stats before, after;
	struct frame f;

	(void)state;
	add_rule("all", "", "");
	make_big(&f, 1500);
	assert_int_equal(run(&f, NULL), DIVERTED);
	/* It is fragmented on injection, or its sender is told. */
	make_big(&f, 1501);
	assert_int_equal(run(&f, NULL), DIVERTED);
	make_big(&f, 1600);
	assert_int_equal(run(&f, NULL), DIVERTED);
	sh("ip link set out0 mtu 9000");
	make_big(&f, XDV_PACKET_MAX);
	assert_int_equal(run(&f, NULL), DIVERTED);
	/* More than a live frame holds, and more than the MTU of in0. */
	make_big(&f, XDV_PACKET_MAX + 1);
	before = stats();
	if (lab.hook == XDV_HOOK_TC && multibuf_works()) {
		assert_int_equal(run(&f, NULL), DIVERTED);
	} else {
		assert_int_equal(run(&f, NULL), PASSED);
		after = stats();
		assert_int_equal(after.unserved, before.unserved + 1);
	}
	if (lab.hook == XDV_HOOK_TC)
		pages_for_the_rest(&f);
	flush_rules();
}

int run_hook_cases(const char *name, unsigned int hook)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_flows_have_their_own_routes),
		cmocka_unit_test(test_routes_come_and_go),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_bad_ipv4),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_injected),
		cmocka_unit_test(test_unserved),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_flow_errors),
	};

	lab.hook = hook;
	return cmocka_run_group_tests_name(name, tests, lab_set_up,
					   lab_tear_down);
}
