// SPDX-License-Identifier: BSD-2-Clause
/*
 * Expressions translated to eBPF, run by the kernel over packets: the answer
 * is libpcap's own, for every pair.
 */
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <xdivert.h>

#include "filter.h"
#include "insn.h"
#include "traffic.h"
#include "unit.h"

#define PACKETS	  12000
#define GENERATED 400
#define BATCH	  32	 /* expressions that one program evaluates */
#define RESULT	  (-400) /* on its stack */
/* Of Debian's sip-tester; make deps installs it. */
#define CAPTURES  "/usr/share/sip-tester/*.pcap"

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
	"ip6 protochain 6",
	"ip6 protochain 17 and ip6[6] != 17",
	"ip protochain 17",
	"protochain 58 or protochain 6",
	"not ip6 protochain 51 and ip6",
	"net 10.0.0.0 mask 255.0.0.0",
	"ip6 and tcp port 80",
	"icmp6 and ip6[40] = 135",
	"tcp port 80 and (tcp[20] = 71 or tcp[32] = 71)",
};

static char generated[GENERATED][256];
static struct packet_data packets[PACKETS];
static int packet_count;

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

/* r0 is one filter's answer: bit number n of the result. */
static void keep_answer(struct insns *is, int n)
{
	insns_add(is, INSN_ALU64_IMM(BPF_LSH, BPF_REG_0, n));
	insns_add(is, INSN_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_10, RESULT));
	insns_add(is, INSN_ALU64_REG(BPF_OR, BPF_REG_1, BPF_REG_0));
	insns_add(is, INSN_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, RESULT));
}

static void point_at_packet(struct insns *is, bool xdp)
{
	insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_7, BPF_REG_6,
				   xdp ? offsetof(struct xdp_md, data)
				       : offsetof(struct __sk_buff, data)));
	insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_8, BPF_REG_6,
				   xdp ? offsetof(struct xdp_md, data_end)
				       : offsetof(struct __sk_buff, data_end)));
}

/* A program that evaluates n filters. */
static int load(const struct bpf_program *classic, int n, const struct way *way)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	struct insns is = {0};
	int fd, i;

	insns_add(&is, INSN_MOV64_REG(BPF_REG_6, BPF_REG_1));
	insns_add(&is, INSN_ST_MEM(BPF_DW, BPF_REG_10, RESULT, 0));
	if (way->view == FILTER_SKB_TAGGED)
		push_tag(&is);
	for (i = 0; i < n; i++) {
		point_at_packet(&is, way->view == FILTER_XDP);
		if (filter_translate(&classic[i], way->view, &is)) {
			insns_free(&is);
			return -1;
		}
		keep_answer(&is, i);
	}
	insns_add(&is, INSN_LDX_MEM(BPF_W, BPF_REG_0, BPF_REG_10, RESULT));
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

struct batch {
	const char *expression[BATCH];
	struct bpf_program classic[BATCH];
	size_t matches[BATCH];
	int n;
};

struct tally {
	size_t asked, matches, expressions;
};

static void compare_packet(struct batch *b, const struct way *way, int fd,
			   int number)
{
	struct packet_data p;
	struct pcap_pkthdr header;
	uint32_t got;
	int i, want;

	if (!fits(way, &packets[number], &p))
		return;
	header = (struct pcap_pkthdr){.caplen = p.len, .len = p.len};
	got = way->view == FILTER_SKB_TAGGED ? run_tagged(fd, &p)
					     : run(fd, p.data, p.len);
	for (i = 0; i < b->n; i++) {
		want = !!pcap_offline_filter(&b->classic[i], &header, p.data);
		if ((int)(got >> i & 1) != want)
			fail_msg("'%s': packet %d: pcap says %d",
				 b->expression[i], number, want);
		b->matches[i] += want;
	}
}

static void compare(struct batch *b, const struct way *way, struct tally *t)
{
	int fd = load(b->classic, b->n, way), i;
	size_t before = t->asked;
	struct packet_data p;

	if (fd < 0)
		fail_msg("refused: '%s' ... '%s'", b->expression[0],
			 b->expression[b->n - 1]);
	for (i = 0; i < packet_count; i++) {
		compare_packet(b, way, fd, i);
		t->asked += fits(way, &packets[i], &p) ? b->n : 0;
	}
	close(fd);
	for (i = 0; i < b->n; i++) {
		t->matches += b->matches[i];
		pcap_freecode(&b->classic[i]);
	}
	t->expressions += b->n;
	assert_true(t->asked > before);
	*b = (struct batch){.n = 0};
}

static void ask(struct batch *b, const struct way *way, const char *expression,
		struct tally *t)
{
	if (filter_compile(expression, way->link_type, &b->classic[b->n])) {
		/* There are no addresses and tags of no link. */
		assert_int_equal(way->link_type, DLT_RAW);
		return;
	}
	b->expression[b->n++] = expression;
	if (b->n == BATCH)
		compare(b, way, t);
}

static void check_way(const struct way *way)
{
	struct tally t = {.asked = 0};
	struct batch b = {.n = 0};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(expressions); i++)
		ask(&b, way, expressions[i], &t);
	for (i = 0; i < GENERATED; i++)
		ask(&b, way, generated[i], &t);
	if (b.n)
		compare(&b, way, &t);
	print_message("%s: %zu expressions, %zu answers, %zu are yes\n",
		      way->name, t.expressions, t.asked, t.matches);
	/* The packets are worth it only if both answers are frequent. */
	assert_true(t.matches > t.asked / 30);
	assert_true(t.matches < t.asked / 2);
	assert_true(t.expressions > 300);
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

/* It ends, whatever the packet, and matches nothing then. */
static void test_an_endless_loop(void **state)
{
	struct pcap_bpf_insn insns[] = {
		BPF_STMT(BPF_LD | BPF_IMM, 7),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 8, 1, 0),
		BPF_STMT(BPF_JMP | BPF_JA, -3),
		BPF_STMT(BPF_RET | BPF_K, 1),
	};
	struct bpf_program classic = {.bf_len = ARRAY_SIZE(insns),
				      .bf_insns = insns};
	uint8_t data[64] = {0};
	int way, fd;

	(void)state;
	for (way = 0; way < 2; way++) {
		fd = load(&classic, 1, &ways[way]);
		assert_true(fd >= 0);
		assert_int_equal(run(fd, data, sizeof(data)), 0);
		close(fd);
	}
}

static const char *any_of(unsigned int *seed, const char *const *list, int n)
{
	return list[rand_r(seed) % n];
}
#define ANY(...)                                                               \
	any_of(seed, (const char *const[]){__VA_ARGS__},                       \
	       sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* One question, its numbers from a small choice that packets have. */
static int put_term(char *text, size_t size, unsigned int *seed)
{
	switch (rand_r(seed) % 6) {
	case 0:
		return snprintf(text, size, "%s",
				ANY("ip", "ip6", "tcp", "udp", "icmp", "icmp6",
				    "arp", "sctp", "ether multicast",
				    "ip multicast", "ip proto 47", "ah"));
	case 1:
		return snprintf(text, size, "%s%s %s",
				ANY("", "src ", "dst ", "src or dst "),
				ANY("host", "net"),
				ANY("10.0.0.1", "10.0.0.2", "10.0.0.3",
				    "fd00::1", "224.0.0.2"));
	case 2:
		return snprintf(text, size, "%s%sport %s",
				ANY("", "tcp ", "udp "),
				ANY("", "src ", "dst "),
				ANY("53", "80", "443", "22", "1500", "6000"));
	case 3:
		return snprintf(text, size, "len %s %d",
				ANY("<", ">", "<=", "="),
				40 + (int)(rand_r(seed) % 80));
	case 4:
		return snprintf(text, size, "%s[%d:%s] %s 0x%x %s 0x%x",
				ANY("ether", "ip", "ip6", "tcp", "udp", "icmp"),
				(int)(rand_r(seed) % 20), ANY("1", "2", "4"),
				ANY("&", "+", "-", "*", "|", "^", "<<", ">>"),
				rand_r(seed) % 32, ANY("=", "!=", ">", "<="),
				rand_r(seed) % 256);
	}
	return snprintf(text, size, "%s[%s[%d] %s %d] %s %d",
			ANY("ether", "ip"), ANY("ether", "ip"),
			(int)(rand_r(seed) % 34), ANY("&", "%", "/"),
			1 + (int)(rand_r(seed) % 63), ANY("<", "=", ">="),
			(int)(rand_r(seed) % 128));
}

static void put_expression(char *text, size_t size, unsigned int *seed)
{
	int n = 0, terms = 1 + rand_r(seed) % 4;

	n += snprintf(text + n, size - n, "%s", ANY("", "", "", "vlan and "));
	while (terms--) {
		n += snprintf(text + n, size - n, "%s", ANY("", "", "not "));
		n += put_term(text + n, size - n, seed);
		if (terms)
			n += snprintf(text + n, size - n, " %s ",
				      ANY("and", "or", "and"));
	}
}

/* libpcap refuses what no packet can be. */
static bool contradicts_itself(const char *expression)
{
	struct bpf_program classic;

	if (filter_compile(expression, DLT_EN10MB, &classic))
		return true;
	pcap_freecode(&classic);
	return false;
}

static void read_capture(const char *path)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	const u_char *data;

	assert_non_null(pcap);
	assert_int_equal(pcap_datalink(pcap), DLT_EN10MB);
	while (packet_count < PACKETS &&
	       pcap_next_ex(pcap, &header, &data) == 1) {
		struct packet_data *p = &packets[packet_count++];

		p->len = header->caplen < PACKET_MAX ? header->caplen
						     : PACKET_MAX;
		memcpy(p->data, data, p->len);
	}
	pcap_close(pcap);
}

static int read_captures(void)
{
	glob_t found;
	size_t i;

	if (glob(CAPTURES, 0, NULL, &found))
		return -1;
	for (i = 0; i < found.gl_pathc; i++)
		read_capture(found.gl_pathv[i]);
	globfree(&found);
	return packet_count;
}

static int set_up(void **state)
{
	unsigned int seed = 5;
	int i, captured = read_captures();

	(void)state;
	if (captured <= 0) {
		print_error("no captures in " CAPTURES "; make deps\n");
		return -1;
	}
	traffic_make(packets + captured, PACKETS - captured, 7);
	packet_count = PACKETS;
	print_message("%d packets, %d of them captured\n", PACKETS, captured);
	for (i = 0; i < GENERATED; i++)
		do
			put_expression(generated[i], sizeof(generated[i]),
				       &seed);
		while (contradicts_itself(generated[i]));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differential),
		cmocka_unit_test(test_differential_tc),
		cmocka_unit_test(test_differential_tagged),
		cmocka_unit_test(test_differential_raw),
		cmocka_unit_test(test_an_endless_loop),
	};

	return cmocka_run_group_tests_name("filter", tests, set_up, NULL);
}
