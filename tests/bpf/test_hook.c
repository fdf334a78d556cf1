// SPDX-License-Identifier: BSD-2-Clause
/*
 * The hook over BPF_PROG_TEST_RUN: each header shape, packets cut anywhere,
 * every verdict. It is attached for real, to a veth in a network namespace of
 * this process; packets are handed to it by the kernel's test runner.
 *
 *     in0 10.0.1.1/24, out0 10.0.2.1/24; a route to each and no default
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

#include "checksum.h"
#include "inject.h"
#include "netdev.h"
#include "queue.h"
#include "state.h"
#include "unit.h"

#define FRAME_MAX 4000

static struct {
	char pins[64];
	struct xdivert *x;
	struct xdivert_injection *h;
	int prog;
	uint32_t in, out;
	uint8_t mac[6]; /* of in0 */
} lab;

struct frame {
	uint32_t len;
	uint8_t data[FRAME_MAX];
};

static void sh(const char *command)
{
	if (system(command))
		fail_msg("failed: %s", command);
}

static void attach(unsigned int fail)
{
	struct xdivert_attach_opts opts = {
		.sz = sizeof(opts), .mode = XDV_MODE_NATIVE, .fail = fail};
	__u32 id;

	if (xdivert_attach(lab.x, "in0", &opts))
		fail_msg("%s", xdivert_error());
	/* xdv_xdp_ingress, or the dispatcher that calls it. */
	assert_int_equal(bpf_xdp_query_id(lab.in, XDP_FLAGS_DRV_MODE, &id), 0);
	lab.prog = bpf_prog_get_fd_by_id(id);
	assert_true(lab.prog >= 0);
}

static void detach(void)
{
	assert_int_equal(xdivert_detach(lab.x, "in0"), 0);
	close(lab.prog);
}

static int set_up(void **state)
{
	struct xdivert_open_opts opts = {
		.sz = sizeof(opts), .pin_dir = lab.pins, .create = true};

	(void)state;
	if (unshare(CLONE_NEWNET))
		return -1;
	sh("ip link set lo up && "
	   "ip link add in0 type veth peer name in1 && "
	   "ip link add out0 type veth peer name out1 && "
	   "ip link set in0 up && ip link set in1 up && "
	   "ip link set out0 up && ip link set out1 up && "
	   "ip addr add 10.0.1.1/24 dev in0 && "
	   "ip addr add 10.0.2.1/24 dev out0 && "
	   "ip addr add fd00:1::1/64 dev in0 nodad && "
	   "ip addr add fd00:2::1/64 dev out0 nodad && "
	   "ip route add blackhole 10.0.3.0/24 && "
	   "ip route add unreachable 10.0.4.0/24 && "
	   "ip route add prohibit 10.0.5.0/24 && "
	   "ip neigh add 10.0.2.2 lladdr 02:00:00:00:00:22 dev out0 && "
	   "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	snprintf(lab.pins, sizeof(lab.pins), "/sys/fs/bpf/xdivert-test-%d",
		 getpid());
	lab.in = if_nametoindex("in0");
	lab.out = if_nametoindex("out0");
	if (netdev_mac(lab.in, lab.mac))
		return -1;
	if (xdivert_open(&lab.x, &opts) ||
	    xdivert_injection_create(&lab.h, lab.x, AF_UNSPEC,
				     XDIVERT_KIND_FORWARD) ||
	    xdivert_serve(lab.h)) {
		print_error("%s\n", xdivert_error());
		return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	xdivert_injection_destroy(lab.h, -1);
	xdivert_detach_all(lab.x);
	xdivert_close(lab.x);
	return access(lab.pins, F_OK) ? 0 : -1;
}

/* Run the hook over a frame; what it left in front of it goes to meta. */
static uint32_t run(const struct frame *f, struct xdv_meta *meta)
{
	static uint8_t out[FRAME_MAX + 256];
	struct xdp_md in = {.data_end = f->len, .ingress_ifindex = lab.in};
	struct xdp_md after = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data,
		    .data_size_in = f->len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &in,
		    .ctx_size_in = sizeof(in), .ctx_out = &after,
		    .ctx_size_out = sizeof(after));
	int rc = bpf_prog_test_run_opts(lab.prog, &opts);

	if (rc)
		fail_msg("BPF_PROG_TEST_RUN: %s", strerror(-rc));
	if (meta && after.data == sizeof(*meta)) {
		memcpy(meta, out, sizeof(*meta));
		assert_memory_equal(out + sizeof(*meta), f->data, f->len);
	} else {
		assert_int_equal(after.data, meta ? 0 : after.data);
	}
	return opts.retval;
}

static struct xdivert_stats stats(void)
{
	struct xdivert_stats total;

	assert_true(xdivert_stats_read(lab.x, &total, NULL, 0) >= 0);
	assert_int_equal(total.seen, total.unmatched + total.matched);
	return total;
}

static void add_rule(const char *name, const char *filter, const char *oif)
{
	struct xdv_rule rule = {.priority = 1};

	snprintf(rule.name, sizeof(rule.name), "%s", name);
	snprintf(rule.filter, sizeof(rule.filter), "%s", filter);
	snprintf(rule.oif, sizeof(rule.oif), "%s", oif);
	if (xdivert_rule_add(lab.x, &rule))
		fail_msg("%s", xdivert_error());
}

static void flush_rules(void)
{
	assert_int_equal(xdivert_rule_flush(lab.x), 0);
}

/* IPv4's header checksum, where the frame is long enough to have one. */
static void set_sum(struct frame *f)
{
	uint8_t *ip = f->data + 14;
	uint32_t size = (ip[0] & 0xf) * 4;

	if (f->data[12] == 8 && f->data[13] == 0 && size >= 20 &&
	    f->len >= 14 + size)
		csum_ipv4(ip);
}

/* hex is the frame from its EtherType on; it is addressed to in0. */
static void from_hex(struct frame *f, const char *hex, uint32_t pad_to)
{
	char byte[3] = {0};

	memset(f, 0, sizeof(*f));
	memcpy(f->data, lab.mac, 6);
	f->data[6] = 2;
	f->len = 12;
	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		memcpy(byte, hex++, 2);
		f->data[f->len++] = strtoul(byte, NULL, 16);
	}
	if (f->len < pad_to)
		f->len = pad_to;
	set_sum(f);
}

#define IP4(len, ttl, dst)                                                     \
	"0800 4500 " len " 0000 0000 " ttl "11 0000 0a000102 " dst
#define UDP " 0fa01388 000c0000 61626364"
#define IP6(len, hlim, dst)                                                    \
	"86dd 60000000 " len " 11 " hlim                                       \
	" fd000001000000000000000000000002 " dst
#define SERVER4 "0a000202"
#define SERVER6 "fd000002000000000000000000000002"

/* Every one of them is matched by the rule's expression (which is empty): what
 * decides is whether the kernel would forward it.
 */
static const struct {
	const char *name;
	const char *hex;
	uint32_t pad_to;
	uint32_t verdict;
} shapes[] = {
	{"IPv4", IP4("0020", "40", SERVER4) UDP, 0, XDP_REDIRECT},
	{"IPv4, padded to 60 bytes", IP4("0020", "40", SERVER4) UDP, 60,
	 XDP_REDIRECT},
	{"IPv4, no neighbour yet", IP4("0020", "40", "0a000263") UDP, 0,
	 XDP_REDIRECT},
	{"IPv4, options",
	 "0800 4600 0024 0000 0000 4011 0000 0a000102 0a000202 01010101" UDP, 0,
	 XDP_REDIRECT},
	{"IPv4, first fragment",
	 "0800 4500 0020 0000 2000 4011 0000 0a000102 0a000202" UDP, 0,
	 XDP_REDIRECT},
	{"IPv4, later fragment",
	 "0800 4500 0020 0000 0004 4011 0000 0a000102 0a000202" UDP, 0,
	 XDP_REDIRECT},
	{"IPv4, header alone", IP4("0014", "40", SERVER4), 0, XDP_REDIRECT},
	{"IPv4, TTL 2", IP4("0020", "02", SERVER4) UDP, 0, XDP_REDIRECT},
	{"IPv4, TTL 1", IP4("0020", "01", SERVER4) UDP, 0, XDP_PASS},
	{"IPv4, TTL 0", IP4("0020", "00", SERVER4) UDP, 0, XDP_PASS},
	{"IPv4, to this host", IP4("0020", "40", "0a000101") UDP, 0, XDP_PASS},
	{"IPv4, to this host's other side", IP4("0020", "40", "0a000201") UDP,
	 0, XDP_PASS},
	{"IPv4, subnet broadcast", IP4("0020", "40", "0a0002ff") UDP, 0,
	 XDP_PASS},
	{"IPv4, broadcast", IP4("0020", "40", "ffffffff") UDP, 0, XDP_PASS},
	{"IPv4, multicast", IP4("0020", "40", "e0000001") UDP, 0, XDP_PASS},
	{"IPv4, loopback", IP4("0020", "40", "7f000001") UDP, 0, XDP_PASS},
	{"IPv4, no route", IP4("0020", "40", "c0000201") UDP, 0, XDP_PASS},
	{"IPv4, blackhole", IP4("0020", "40", "0a000301") UDP, 0, XDP_PASS},
	{"IPv4, unreachable", IP4("0020", "40", "0a000401") UDP, 0, XDP_PASS},
	{"IPv4, prohibited", IP4("0020", "40", "0a000501") UDP, 0, XDP_PASS},
	{"IPv4, header length 16",
	 "0800 4400 0020 0000 0000 4011 0000 0a000102 0a000202" UDP, 0,
	 XDP_PASS},
	{"IPv4, total length below the header's",
	 IP4("0013", "40", SERVER4) UDP, 0, XDP_PASS},
	{"IPv4, total length past the frame", IP4("0021", "40", SERVER4) UDP, 0,
	 XDP_PASS},
	{"IPv4's EtherType, version 6",
	 "0800 6500 0020 0000 0000 4011 0000 0a000102 0a000202" UDP, 0,
	 XDP_PASS},
	{"IPv6's EtherType, version 4",
	 "86dd 4500 0020 0000 0000 4011 0000 0a000102 0a000202" UDP, 60,
	 XDP_PASS},
	{"IPv6", IP6("000c", "40", SERVER6) UDP, 0, XDP_REDIRECT},
	{"IPv6, header alone",
	 "86dd 60000000 0000 3b 40 fd000001000000000000000000000002 " SERVER6,
	 0, XDP_REDIRECT},
	{"IPv6, hop-by-hop",
	 "86dd 60000000 0014 00 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 0104 00000000" UDP,
	 0, XDP_REDIRECT},
	{"IPv6, fragment",
	 "86dd 60000000 0014 2c 40 fd000001000000000000000000000002 " SERVER6
	 " 11 00 0001 00000000" UDP,
	 0, XDP_REDIRECT},
	{"IPv6, hop limit 2", IP6("000c", "02", SERVER6) UDP, 0, XDP_REDIRECT},
	{"IPv6, hop limit 1", IP6("000c", "01", SERVER6) UDP, 0, XDP_PASS},
	{"IPv6, to this host",
	 IP6("000c", "40", "fd000001000000000000000000000001") UDP, 0,
	 XDP_PASS},
	{"IPv6, no route",
	 IP6("000c", "40", "20010db8000000000000000000000001") UDP, 0,
	 XDP_PASS},
	{"IPv6, link-local",
	 IP6("000c", "40", "fe800000000000000000000000000001") UDP, 0,
	 XDP_PASS},
	{"IPv6, multicast",
	 IP6("000c", "40", "ff020000000000000000000000000001") UDP, 0,
	 XDP_PASS},
	{"IPv6, payload length past the frame", IP6("000d", "40", SERVER6) UDP,
	 0, XDP_PASS},
	{"ARP", "0806 0001 0800 0604 0001 020000000002 0a000102", 60, XDP_PASS},
	{"VLAN", "8100 0005 " IP4("0020", "40", SERVER4) UDP, 0, XDP_PASS},
	{"LLDP", "88cc 0207 0400", 60, XDP_PASS},
	{"length instead of a type", "0020 4242 03", 60, XDP_PASS},
	{"Ethernet header alone", "0800", 0, XDP_PASS},
};

static void test_shapes(void **state)
{
	struct xdivert_stats before, after;
	struct xdv_meta meta;
	struct frame f;
	uint32_t verdict;
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
		assert_int_equal(after.seen, before.seen + 1);
		assert_int_equal(after.matched - before.matched,
				 verdict == XDP_REDIRECT);
		if (verdict != XDP_REDIRECT)
			continue;
		assert_int_equal(meta.iif, lab.in);
		assert_int_equal(meta.oif, lab.out);
		assert_int_equal(meta.l3_offset, 14);
		assert_true(meta.timestamp > 0);
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
	assert_int_equal(run(&f, NULL), XDP_REDIRECT);
	f.data[5] ^= 1;
	assert_int_equal(run(&f, NULL), XDP_PASS);
	f.data[5] ^= 1;
	f.data[0] |= 1;
	assert_int_equal(run(&f, NULL), XDP_PASS);
	memset(f.data, 0xff, 6);
	assert_int_equal(run(&f, NULL), XDP_PASS);
	flush_rules();
}

/* The kernel drops these; so it shall. */
static void test_bad_ipv4(void **state)
{
	static const uint8_t sources[] = {0, 127, 224, 240, 255};
	struct frame f;
	size_t i;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	f.data[24] ^= 0x40;
	assert_int_equal(run(&f, NULL), XDP_PASS);
	for (i = 0; i < ARRAY_SIZE(sources); i++) {
		from_hex(&f, shapes[0].hex, 0);
		f.data[26] = sources[i];
		set_sum(&f);
		assert_int_equal(run(&f, NULL), XDP_PASS);
	}
	/* With options too. */
	from_hex(&f, shapes[3].hex, 0);
	assert_int_equal(run(&f, NULL), XDP_REDIRECT);
	f.data[34] ^= 1;
	assert_int_equal(run(&f, NULL), XDP_PASS);
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
		if (shapes[i].verdict != XDP_REDIRECT || shapes[i].pad_to)
			continue;
		from_hex(&f, shapes[i].hex, 0);
		full = f.len;
		for (f.len = 14; f.len < full; f.len++)
			assert_int_equal(run(&f, NULL), XDP_PASS);
		assert_int_equal(run(&f, NULL), XDP_REDIRECT);
	}
	flush_rules();
}

static void test_rules(void **state)
{
	struct xdv_meta meta;
	struct frame f;

	(void)state;
	from_hex(&f, shapes[0].hex, 0);
	assert_int_equal(run(&f, NULL), XDP_PASS);
	add_rule("tcp", "tcp", "");
	assert_int_equal(run(&f, NULL), XDP_PASS);
	add_rule("other-way", "udp", "in0");
	assert_int_equal(run(&f, NULL), XDP_PASS);
	add_rule("this-way", "udp", "out0");
	add_rule("too-late", "udp", "");
	assert_int_equal(run(&f, &meta), XDP_REDIRECT);
	assert_int_equal(meta.rule, lab.x->shared->next_rule - 1);
	flush_rules();
	assert_int_equal(run(&f, NULL), XDP_PASS);
}

/* Nobody serves the queue: the interface's --fail decides. */
static void check_unserved(unsigned int fail, uint32_t verdict)
{
	struct xdivert_stats before, after;
	struct xdv_meta meta;
	struct frame f;

	detach();
	assert_int_equal(queues_update(lab.h->q), 0);
	attach(fail);
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	before = stats();
	assert_int_equal(run(&f, &meta), verdict);
	after = stats();
	assert_int_equal(after.matched, before.matched + 1);
	assert_int_equal(after.unserved, before.unserved + 1);
	/* What no rule asks for passes all the same. */
	from_hex(&f, "0806", 60);
	assert_int_equal(run(&f, &meta), XDP_PASS);
	flush_rules();
	from_hex(&f, shapes[0].hex, 0);
	assert_int_equal(run(&f, &meta), XDP_PASS);
}

/* The kernel frees the old socket's queue a little after it was closed. */
static void serve_again(void)
{
	int tries = 0;

	while (queues_update(lab.h->q)) {
		assert_true(tries++ < 2000);
		usleep(1000);
	}
}

static void test_unserved(void **state)
{
	(void)state;
	check_unserved(XDV_FAIL_OPEN, XDP_PASS);
	check_unserved(XDV_FAIL_CLOSED, XDP_DROP);
	detach();
	attach(XDV_FAIL_OPEN);
	serve_again();
}

/* The test runner redirects nothing, so the queue seems to fill up. */
static void test_full_queue(void **state)
{
	struct xdv_queue *queue = &lab.x->occupancy[0];
	struct frame f;
	uint64_t n;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, shapes[0].hex, 0);
	assert_true(queue->limit > 0 && queue->limit < 10000);
	for (n = queue->produced; n < queue->limit; n++)
		assert_int_equal(run(&f, NULL), XDP_REDIRECT);
	assert_int_equal(run(&f, NULL), XDP_PASS);
	queue->consumed++;
	assert_int_equal(run(&f, NULL), XDP_REDIRECT);
	assert_int_equal(run(&f, NULL), XDP_PASS);
	queue->consumed = queue->produced;
	flush_rules();
}

static void make_big(struct frame *f, uint32_t len)
{
	from_hex(f, shapes[0].hex, 14 + len);
	f->data[16] = len >> 8;
	f->data[17] = len;
	set_sum(f);
}

static void test_sizes(void **state)
{
	struct xdivert_stats before, after;
	struct frame f;

	(void)state;
	add_rule("all", "", "");
	make_big(&f, 1500);
	assert_int_equal(run(&f, NULL), XDP_REDIRECT);
	/* The kernel fragments it or answers: it cannot be served. */
	make_big(&f, 1501);
	before = stats();
	assert_int_equal(run(&f, NULL), XDP_PASS);
	after = stats();
	assert_int_equal(after.unserved, before.unserved + 1);
	sh("ip link set out0 mtu 9000");
	make_big(&f, XDV_PACKET_MAX);
	assert_int_equal(run(&f, NULL), XDP_REDIRECT);
	/* More than a live frame holds. */
	make_big(&f, XDV_PACKET_MAX + 1);
	before = stats();
	assert_int_equal(run(&f, NULL), XDP_PASS);
	after = stats();
	assert_int_equal(after.unserved, before.unserved + 1);
	flush_rules();
}

static int attach_served(void **state)
{
	if (set_up(state))
		return -1;
	attach(XDV_FAIL_OPEN);
	return queues_update(lab.h->q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_bad_ipv4),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_unserved),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests_name("hook", tests, attach_served,
					   tear_down);
}
