// SPDX-License-Identifier: BSD-2-Clause
/*
 * Expressions translated to eBPF, run by the kernel over packets: the answer
 * is libpcap's own, for every pair.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <xdivert.h>

#include "filter.h"
#include "insn.h"
#include "traffic.h"
#include "unit.h"

#define PACKETS 400

static const char *const expressions[] = {
	"",
	"ip",
	"ip6",
	"arp",
	"tcp",
	"udp",
	"icmp",
	"icmp6",
	"ip proto 47",
	"ip6 proto 6",
	"host 10.0.0.1",
	"src host 10.0.0.1",
	"dst host fd00::1",
	"net 10.0.0.0/8",
	"dst net fd00::/16",
	"port 53",
	"src port 80",
	"dst port 443",
	"portrange 1000-2000",
	"tcp port 80 and host 10.0.0.1",
	"udp port 53 or tcp port 53",
	"not tcp",
	"tcp[tcpflags] & tcp-syn != 0",
	"tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
	"tcp[13] = 2",
	"ip[6:2] & 0x1fff != 0",
	"ip[6:2] & 0x2000 != 0 or ip[6:2] & 0x1fff != 0",
	"ip[0] & 0xf > 5",
	"ip[8] < 64",
	"ip6[7] < 64",
	"udp[8:4] = 0x61626364",
	"tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
	"len > 100",
	"len <= 60",
	"greater 80",
	"less 80",
	"ether host 02:00:00:00:00:01",
	"ether multicast",
	"ether broadcast",
	"ip multicast",
	"ether proto 0x88cc",
	"vlan",
	"vlan 5",
	"vlan 5 and ip",
	"vlan and vlan 7 and udp",
	"mpls",
	"pppoes and ip",
	"ip[2:2] - 20 > 40",
	"ip[2:2] * 2 = 168",
	"ip[2:2] / 2 > 30",
	"ip[2:2] % 3 = 0",
	"ip[12] | 1 = 11",
	"ip[12] ^ 3 = 9",
	"ip[9] << 2 > 20",
	"ip[9] >> 1 = 3",
	"ip[9] >> (ip[8] & 63) = 0",
	"ip[9] << (ip[8] & 63) = 0",
	"ip[2:2] / (ip[1] & 3) > 10",
	"-ip[8] < 0",
	"ether[1000] = 1",
	"ether[65534:1] = 0",
	"ether[0xfffffff0:4] = 0",
	"ether[ether[0]:2] = 0",
	"ip[ip[8]:4] > 0x80000000",
	"icmp[icmptype] = icmp-echo",
	"ip and (host 10.0.0.1 or host 10.0.0.2) and not port 22 and len > 50",
	"sctp",
	"esp or ah",
	"net 10.0.0.0 mask 255.0.0.0",
	"ip6 and tcp port 80",
	"icmp6 and ip6[40] = 135",
	"tcp port 80 and (tcp[20] = 71 or tcp[32] = 71)",
};

static struct packet_data packets[PACKETS];

/* A way in which a program sees packets, and its packets. */
struct way {
	const char *name;
	enum bpf_prog_type type;
	int link_type;
	enum filter_view view;
};

static const struct way ways[] = {
	{"XDP", BPF_PROG_TYPE_XDP, DLT_EN10MB, FILTER_XDP},
	{"TC", BPF_PROG_TYPE_SCHED_CLS, DLT_EN10MB, FILTER_SKB},
	{"TC, VLAN tag in the metadata", BPF_PROG_TYPE_SCHED_CLS, DLT_EN10MB,
	 FILTER_SKB_TAGGED},
	{"TC, no link header", BPF_PROG_TYPE_SCHED_CLS, DLT_RAW, FILTER_SKB},
};

static int scratch = -1; /* an array: struct xdv_scratch, of one packet */

/* Move the tag of the packet under test where a device's offload puts it. */
static void push_tag(struct insns *is)
{
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_10, -4, 0));
	insn_ld_map_fd(is, BPF_REG_1, scratch);
	insns_add(is, INSN_MOV64_REG(BPF_REG_2, BPF_REG_10));
	insns_add(is, INSN_ALU64_IMM(BPF_ADD, BPF_REG_2, -4));
	insns_add(is, INSN_CALL(BPF_FUNC_map_lookup_elem));
	insns_add(is, INSN_JMP_IMM(BPF_JNE, BPF_REG_0, 0, 1));
	insns_add(is, INSN_EXIT());
	insns_add(is, INSN_MOV64_REG(BPF_REG_9, BPF_REG_0));
	insns_add(is, INSN_MOV64_REG(BPF_REG_1, BPF_REG_6));
	insns_add(is, INSN_LDX_MEM(BPF_H, BPF_REG_2, BPF_REG_9,
				   offsetof(struct xdv_scratch, head) + 12));
	insns_add(is, INSN_LDX_MEM(BPF_H, BPF_REG_3, BPF_REG_9,
				   offsetof(struct xdv_scratch, head) + 14));
	insns_add(is, INSN_TO_BE(BPF_REG_3, 16));
	insns_add(is, INSN_CALL(BPF_FUNC_skb_vlan_push));
}

static int load(const struct bpf_program *classic, const struct way *way)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	bool xdp = way->view == FILTER_XDP;
	struct insns is = {0};
	int fd;

	insns_add(&is, INSN_MOV64_REG(BPF_REG_6, BPF_REG_1));
	if (way->view == FILTER_SKB_TAGGED)
		push_tag(&is);
	insns_add(&is, INSN_LDX_MEM(BPF_W, BPF_REG_7, BPF_REG_6,
				    xdp ? offsetof(struct xdp_md, data)
					: offsetof(struct __sk_buff, data)));
	insns_add(&is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_8, BPF_REG_6,
			       xdp ? offsetof(struct xdp_md, data_end)
				   : offsetof(struct __sk_buff, data_end)));
	if (filter_translate(classic, way->view, &is)) {
		insns_free(&is);
		return -1;
	}
	insns_add(&is, INSN_EXIT());
	assert_int_equal(is.error, 0);
	fd = bpf_prog_load(way->type, "filter", "GPL", is.insn, is.count,
			   &opts);
	insns_free(&is);
	return fd;
}

static uint32_t run(int fd, const uint8_t *data, uint32_t len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data,
		    .data_size_in = len);
	int rc = bpf_prog_test_run_opts(fd, &opts);

	if (rc)
		fail_msg("BPF_PROG_TEST_RUN: %s", strerror(-rc));
	return opts.retval;
}

static uint32_t run_tagged(int fd, const struct packet_data *p)
{
	struct xdv_scratch s = {0};
	uint8_t data[PACKET_MAX];
	__u32 zero = 0;

	memcpy(s.head, p->data, sizeof(s.head));
	assert_int_equal(bpf_map_update_elem(scratch, &zero, &s, 0), 0);
	memcpy(data, p->data, 12);
	memcpy(data + 12, p->data + 16, p->len - 16);
	return run(fd, data, p->len - 4);
}

/* The packet without what the way does not show; false: it cannot be. */
static bool fits(const struct way *way, const struct packet_data *p,
		 struct packet_data *seen)
{
	uint32_t skip = way->link_type == DLT_RAW ? 14 : 0;

	*seen = *p;
	if (way->view == FILTER_SKB_TAGGED)
		return p->len >= 18 && p->data[12] == 0x81 && !p->data[13] &&
		       makes_skb(p->data + 4, p->len - 4);
	if (p->len <= skip)
		return false;
	memmove(seen->data, seen->data + skip, p->len - skip);
	seen->len = p->len - skip;
	return way->view == FILTER_XDP || makes_skb(seen->data, seen->len);
}

static size_t compare(const struct way *way, const char *expression,
		      const struct bpf_program *classic, size_t *asked)
{
	int fd = load(classic, way), want, got;
	struct pcap_pkthdr header;
	struct packet_data p;
	size_t i, matches = 0;

	if (fd < 0)
		fail_msg("'%s' is refused", expression);
	for (i = 0; i < PACKETS; i++) {
		if (!fits(way, &packets[i], &p))
			continue;
		header = (struct pcap_pkthdr){.caplen = p.len, .len = p.len};
		want = !!pcap_offline_filter(classic, &header, p.data);
		got = way->view == FILTER_SKB_TAGGED ? run_tagged(fd, &p)
						     : run(fd, p.data, p.len);
		if (got != want)
			fail_msg("'%s': packet %zu: pcap says %d", expression,
				 i, want);
		matches += want;
		*asked += 1;
	}
	close(fd);
	return matches;
}

static void check_way(const struct way *way)
{
	size_t i, matches, all = 0, asked = 0;
	struct bpf_program classic;

	print_message("%s\n", way->name);
	for (i = 0; i < ARRAY_SIZE(expressions); i++) {
		if (filter_compile(expressions[i], way->link_type, &classic)) {
			/* There are no addresses and tags of no link. */
			assert_int_equal(way->link_type, DLT_RAW);
			continue;
		}
		matches = compare(way, expressions[i], &classic, &asked);
		print_message("%3zu: %s\n", matches, expressions[i]);
		all += matches;
		pcap_freecode(&classic);
	}
	/* The packets are worth it only if both answers are frequent. */
	assert_true(asked > PACKETS * ARRAY_SIZE(expressions) / 10);
	assert_true(all > asked / 30);
	assert_true(all < asked / 2);
}

static void test_differential(void **state)
{
	(void)state;
	check_way(&ways[0]);
}

static void test_differential_tc(void **state)
{
	(void)state;
	check_way(&ways[1]);
}

static void test_differential_tagged(void **state)
{
	(void)state;
	scratch = bpf_map_create(BPF_MAP_TYPE_ARRAY, "scratch", sizeof(__u32),
				 sizeof(struct xdv_scratch), 1, NULL);
	assert_true(scratch >= 0);
	check_way(&ways[2]);
	close(scratch);
}

static void test_differential_raw(void **state)
{
	(void)state;
	check_way(&ways[3]);
}

/* Never a wrong match: what cannot be translated is refused. */
static void test_loops_are_refused(void **state)
{
	struct bpf_program classic;
	struct insns is = {0};

	(void)state;
	assert_int_equal(
		filter_compile("ip6 protochain 6", DLT_EN10MB, &classic), 0);
	assert_int_equal(filter_translate(&classic, FILTER_XDP, &is), -ENOTSUP);
	insns_free(&is);
	pcap_freecode(&classic);
}

static int make_packets(void **state)
{
	(void)state;
	traffic_make(packets, PACKETS, 7);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differential),
		cmocka_unit_test(test_differential_tc),
		cmocka_unit_test(test_differential_tagged),
		cmocka_unit_test(test_differential_raw),
		cmocka_unit_test(test_loops_are_refused),
	};

	return cmocka_run_group_tests_name("filter", tests, make_packets, NULL);
}
