// SPDX-License-Identifier: BSD-2-Clause
/*
 * Whole rule sets, installed as for the hooks and run by the kernel over
 * packets: the rule that wins is the one that libpcap, asked rule by rule,
 * finds first.
 */
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "filter.h"
#include "insn.h"
#include "multibuf.h"
#include "ruleset.h"
#include "state.h"
#include "traffic.h"
#include "unit.h"

#define PACKETS 1500
#define NONE	-1
#define FOUND	1000 /* a verdict above this is a position */

static struct packet_data packets[PACKETS];
static struct xdivert lab;
static struct xdv_control control;
static const char *const links[] = {"", "", "", "lo", "r0", "r1"};

/* What the hook knows of a packet when it asks the rules. */
struct asked {
	uint32_t iif, oif, layer;
	bool settled;
};

/* ---- the hook around the rules ---- */

/* Stands for the divert stage: which rule was found? */
static int load_stub(enum bpf_prog_type type)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	struct insns is = {0};
	int fd;

	insns_add(&is, INSN_ST_MEM(BPF_W, BPF_REG_10, -4, 0));
	insn_ld_map_fd(&is, BPF_REG_1, lab.scratch);
	insns_add(&is, INSN_MOV64_REG(BPF_REG_2, BPF_REG_10));
	insns_add(&is, INSN_ALU64_IMM(BPF_ADD, BPF_REG_2, -4));
	insns_add(&is, INSN_CALL(BPF_FUNC_map_lookup_elem));
	insns_add(&is, INSN_JMP_IMM(BPF_JNE, BPF_REG_0, 0, 2));
	insns_add(&is, INSN_MOV64_IMM(BPF_REG_0, 0));
	insns_add(&is, INSN_EXIT());
	insns_add(&is, INSN_LDX_MEM(BPF_W, BPF_REG_0, BPF_REG_0,
				    offsetof(struct xdv_scratch, position)));
	insns_add(&is, INSN_ALU64_IMM(BPF_ADD, BPF_REG_0, FOUND));
	insns_add(&is, INSN_EXIT());
	if (type == BPF_PROG_TYPE_XDP)
		opts.prog_flags = multibuf_flags();
	fd = bpf_prog_load(type, "stub", "GPL", is.insn, is.count, &opts);
	assert_true(fd >= 0);
	insns_free(&is);
	return fd;
}

static int make_stages(enum bpf_prog_type type)
{
	int map = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "stages", 4, 4,
				 XDV_STAGES, NULL);
	__u32 stage = XDV_STAGE_DIVERT;
	int stub = load_stub(type);

	assert_true(map >= 0);
	assert_int_equal(bpf_map_update_elem(map, &stage, &stub, BPF_ANY), 0);
	close(stub);
	return map;
}

static int set_up(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) ||
	    system("ip link add r0 type veth peer name r1"))
		return -1;
	traffic_make(packets, PACKETS, 11);
	lab.shared = &control;
	lab.scratch = bpf_map_create(BPF_MAP_TYPE_ARRAY, "scratch", 4,
				     sizeof(struct xdv_scratch), 1, NULL);
	lab.stages = make_stages(BPF_PROG_TYPE_XDP);
	lab.tc_stages = make_stages(BPF_PROG_TYPE_SCHED_CLS);
	return 0;
}

static int root_program(int stages, __u32 stage)
{
	__u32 id;

	if (bpf_map_lookup_elem(stages, &stage, &id))
		return -1;
	return bpf_prog_get_fd_by_id(id);
}

static int ask_hook(int prog, const struct packet_data *p,
		    const struct asked *a)
{
	struct xdv_scratch s = {
		.iif = a->iif,
		.oif = a->oif,
		.layer = a->layer,
		.fib_done = a->settled,
		.rule = 4711, /* of another packet */
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p->data,
		    .data_size_in = p->len);
	__u32 zero = 0;

	assert_int_equal(bpf_map_update_elem(lab.scratch, &zero, &s, 0), 0);
	assert_int_equal(bpf_prog_test_run_opts(prog, &opts), 0);
	if ((int)opts.retval < FOUND)
		return NONE;
	return opts.retval - FOUND;
}

/* ---- the reference ---- */

struct reference {
	const struct xdv_rule *rules;
	struct bpf_program *classic;
	uint32_t *iif, *oif;
	int n;
};

static void make_reference(struct reference *r, const struct xdv_rule *rules,
			   int n)
{
	int i;

	*r = (struct reference){
		.rules = rules,
		.classic = calloc(n + 1, sizeof(*r->classic)),
		.iif = calloc(n + 1, sizeof(*r->iif)),
		.oif = calloc(n + 1, sizeof(*r->oif)),
		.n = n,
	};
	for (i = 0; i < n; i++) {
		if (filter_compile(rules[i].filter, DLT_EN10MB, &r->classic[i]))
			fail_msg("%s", xdivert_error());
		r->iif[i] = if_nametoindex(rules[i].iif);
		r->oif[i] = if_nametoindex(rules[i].oif);
	}
}

static void free_reference(struct reference *r)
{
	int i;

	for (i = 0; i < r->n; i++)
		pcap_freecode(&r->classic[i]);
	free(r->classic);
	free(r->iif);
	free(r->oif);
}

static int ask_reference(const struct reference *r, const struct packet_data *p,
			 const struct asked *a)
{
	struct pcap_pkthdr header = {.caplen = p->len, .len = p->len};
	int i;

	for (i = 0; i < r->n; i++) {
		if (r->iif[i] && r->iif[i] != a->iif)
			continue;
		if (a->settled && r->rules[i].layer != a->layer)
			continue;
		if (a->settled && r->oif[i] && r->oif[i] != a->oif)
			continue;
		if (pcap_offline_filter(&r->classic[i], &header, p->data))
			return i;
	}
	return NONE;
}

/* ---- rule sets ---- */

static const char *any_of(unsigned int *seed, const char *const *list, int n)
{
	return list[rand_r(seed) % n];
}
#define ANY(...)                                                               \
	any_of(seed, (const char *const[]){__VA_ARGS__},                       \
	       sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* What people write most, over addresses and ports that packets have. */
static void put_tuple(char *text, size_t size, unsigned int *seed)
{
	snprintf(text, size, "%s%s%s %s %s 10.0.0.%u and %s%s %s",
		 ANY("", "ip and ", ""), ANY("tcp", "udp", "udp"), " and",
		 ANY("src", "dst", "src or dst", ""), "host",
		 rand_r(seed) % 5 + 1, ANY("", "src ", "dst "), "port",
		 ANY("53", "80", "443", "22", "1500", "6000", "99"));
}

static void put_odd(char *text, size_t size, unsigned int *seed)
{
	snprintf(text, size, "%s%s%s",
		 ANY("", "", "not ", "len > 60 and ", "vlan 5 and ",
		     "tcp[13] & 2 != 0 and ", "ip[0] & 0xf > 5 or "),
		 ANY("tcp", "udp", "icmp", "ip6", "arp", "ip proto 47",
		     "port 53", "portrange 50-500", "net 10.0.0.0/8",
		     "dst net fd00::/16", "dst host fd00::1", "host 10.0.0.2",
		     "ip multicast", "ether host 02:00:00:00:00:01",
		     "ip[6:2] & 0x1fff != 0", "ip[8] = 64", "tcp[13] = 2",
		     "udp[8:4] = 0x61626364", "icmp[0] = 8", "ip6[6] = 44",
		     "ip[1] & 4 = 4", "ether[0] & 1 = 1"),
		 ANY("", "", " and len < 90", " and not port 80",
		     " and src net 10.0.0.0/30", " or icmp6"));
}

/* libpcap refuses what no packet can be. */
static bool contradicts_itself(const char *filter)
{
	struct bpf_program classic;

	if (filter_compile(filter, DLT_EN10MB, &classic))
		return true;
	pcap_freecode(&classic);
	return false;
}

static void make_rule(struct xdv_rule *rule, int i, unsigned int *seed, int odd)
{
	*rule = (struct xdv_rule){.id = i + 1, .slot = i % XDV_HITS};
	snprintf(rule->name, sizeof(rule->name), "r%d", i);
	snprintf(rule->iif, sizeof(rule->iif), "%s",
		 links[rand_r(seed) % ARRAY_SIZE(links)]);
	snprintf(rule->oif, sizeof(rule->oif), "%s",
		 links[rand_r(seed) % ARRAY_SIZE(links)]);
	rule->layer = rand_r(seed) % 4 ? XDV_LAYER_FORWARD : XDV_LAYER_RECEIVE;
	do {
		if ((int)(rand_r(seed) % 100) < odd)
			put_odd(rule->filter, sizeof(rule->filter), seed);
		else
			put_tuple(rule->filter, sizeof(rule->filter), seed);
	} while (contradicts_itself(rule->filter));
}

static struct xdv_rule *make_set(int n, unsigned int *seed, int odd)
{
	struct xdv_rule *rules = calloc(n, sizeof(*rules));
	int i;

	assert_non_null(rules);
	for (i = 0; i < n; i++)
		make_rule(&rules[i], i, seed, odd);
	return rules;
}

/* ---- comparing ---- */

static int compare(const struct reference *r, int prog, bool skb,
		   const struct packet_data *p, const struct asked *a)
{
	int want, got;

	if (skb && !makes_skb(p->data, p->len))
		return 0;
	want = ask_reference(r, p, a);
	got = ask_hook(prog, p, a);
	if (got != want)
		fail_msg("%s, packet %zd, iif %u%s: rule %d '%s', not %d '%s'",
			 skb ? "TC" : "XDP", p - packets, a->iif,
			 a->settled ? ", settled" : "", got,
			 got == NONE ? "" : r->rules[got].filter, want,
			 want == NONE ? "" : r->rules[want].filter);
	return want != NONE;
}

static int compare_all(const struct xdv_rule *rules, int n, int step,
		       unsigned int *seed)
{
	int xdp = root_program(lab.stages, XDV_STAGE_RULES);
	int tc = root_program(lab.tc_stages, XDV_STAGE_RULES);
	struct reference r;
	int i, hits = 0;

	assert_true(xdp >= 0 && tc >= 0);
	make_reference(&r, rules, n);
	for (i = 0; i < PACKETS; i += step) {
		struct asked a = {
			.iif = 1 + rand_r(seed) % 3,
			.oif = 1 + rand_r(seed) % 3,
			.layer = 1 + rand_r(seed) % 2,
			.settled = rand_r(seed) % 2,
		};

		hits += compare(&r, xdp, false, &packets[i], &a);
		compare(&r, tc, true, &packets[i], &a);
	}
	free_reference(&r);
	close(xdp);
	close(tc);
	return hits;
}

static void check_set(int n, int odd, int step, unsigned int seed)
{
	struct xdv_rule *rules = make_set(n, &seed, odd);
	int hits;

	if (ruleset_install(&lab, rules, n, false))
		fail_msg("%d rules: %s", n, xdivert_error());
	hits = compare_all(rules, n, step, &seed);
	print_message("%3d rules, %3d%% odd: %d of %d packets match\n", n, odd,
		      hits, PACKETS / step);
	free(rules);
}

static void test_random_sets(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 60; i++)
		check_set(1 + i * i % 40, i % 3 * 50, 3, i);
}

static void test_big_sets(void **state)
{
	(void)state;
	check_set(512, 0, 5, 101);
	check_set(512, 10, 5, 102);
	check_set(512, 100, 5, 103);
}

/*
 * Long rules that cannot be looked up. (They could be longer, but the verifier
 * would take minutes to read five hundred of them for each way of a packet.)
 */
static void put_worst(char *text, size_t size, int i)
{
	static const struct {
		const char *term;
		size_t len;
		size_t tail; /* of the last term, behind what counts */
	} kinds[] = {
		{"portrange %d-%d or ", 100, 4},
		{"host fd00::%x or host 10.1.%d.9 or ", 100, 4},
		{"not port %d and not net fd00:%x::/33 and ", 100, 5},
		{"tcp[tcp[%d]] != tcp[%d] or ", 300, 4},
		{"ip6[ip6[%d]:2] = %d or ", 300, 4},
	};
	size_t n = 0, last = 0, room = kinds[i % 5].len;
	int j;

	for (j = i; n < room; j++) {
		last = n;
		n += snprintf(text + n, size - n, kinds[i % 5].term,
			      1 + j % 200, 1 + j % 250);
	}
	text[last - kinds[i % 5].tail] = 0;
}

static void test_worst_sets(void **state)
{
	struct xdv_rule *rules = calloc(XDV_MAX_RULES, sizeof(*rules));
	unsigned int seed = 3;
	int i;

	(void)state;
	for (i = 0; i < XDV_MAX_RULES; i++) {
		make_rule(&rules[i], i, &seed, 0);
		put_worst(rules[i].filter, sizeof(rules[i].filter), i);
	}
	if (ruleset_install(&lab, rules, XDV_MAX_RULES, false))
		fail_msg("%s", xdivert_error());
	print_message("%d of %d match\n",
		      compare_all(rules, XDV_MAX_RULES, PACKETS / 20, &seed),
		      20);
	free(rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_sets),
		cmocka_unit_test(test_big_sets),
		cmocka_unit_test(test_worst_sets),
	};

	return cmocka_run_group_tests_name("ruleset", tests, set_up, NULL);
}
