// SPDX-License-Identifier: BSD-2-Clause
/* The TC hook: what it shares with the other one, then what it alone sees. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_ether.h>

#include "hook_lab.h"
#include "insn.h"

#define TCP_HEADERS (20 + 32) /* with timestamps */

/* A TCP packet as its sender leaves it to segmentation offload. */
static void make_gso(struct frame *f, uint32_t payload)
{
	uint32_t len = TCP_HEADERS + payload;

	from_hex(f,
		 "0800 4500 0000 0000 0000 4006 0000 0a000102 " SERVER4
		 " 0fa01388 00000000 00000000 8010ffff",
		 14 + len);
	f->data[16] = len >> 8;
	f->data[17] = len;
	set_sum(f);
}

static enum verdict run_gso(uint32_t payload, uint32_t size, uint64_t *pieces)
{
	struct __sk_buff in = {.ifindex = lab.in, .gso_size = size};
	struct xdv_queue *queue = lab_queue();
	uint64_t before = queue->entered;
	enum verdict verdict;
	struct frame f;

	make_gso(&f, payload);
	verdict = run_skb(lab.prog, &f, &in, NULL);
	*pieces = queue->entered - before;
	/* No tap is behind the runner: only one piece came out. */
	queue->left = queue->entered;
	return verdict;
}

/* Counted in the segments that the kernel will make. */
static void test_gso(void **state)
{
	uint64_t pieces;

	(void)state;
	add_rule("all", "", "");
	assert_int_equal(run_gso(2000, 1000, &pieces), DIVERTED);
	assert_int_equal(pieces, 2);
	assert_int_equal(run_gso(2001, 1000, &pieces), DIVERTED);
	assert_int_equal(pieces, 3);
	assert_int_equal(run_gso(3000, 1, &pieces), PASSED); /* no room */
	assert_int_equal(pieces, 0);
	/* Whether the way out carries the segment is injection's business. */
	assert_int_equal(run_gso(3000, 1500 - TCP_HEADERS, &pieces), DIVERTED);
	assert_int_equal(run_gso(3000, 1501 - TCP_HEADERS, &pieces), DIVERTED);
	flush_rules();
}

/* A program that moves a tag into the metadata, as devices do, and then runs
 * the hook.
 */
static int tagging(uint16_t tci, int array)
{
	struct insns is = {0};
	int fd;

	insns_add(&is, INSN_MOV64_REG(BPF_REG_6, BPF_REG_1));
	insns_add(&is, INSN_MOV64_IMM(BPF_REG_2, htons(ETH_P_8021Q)));
	insns_add(&is, INSN_MOV64_IMM(BPF_REG_3, tci));
	insns_add(&is, INSN_CALL(BPF_FUNC_skb_vlan_push));
	insns_add(&is, INSN_MOV64_REG(BPF_REG_1, BPF_REG_6));
	insn_ld_map_fd(&is, BPF_REG_2, array);
	insns_add(&is, INSN_MOV64_IMM(BPF_REG_3, 0));
	insns_add(&is, INSN_CALL(BPF_FUNC_tail_call));
	insns_add(&is, INSN_MOV64_IMM(BPF_REG_0, 77));
	insns_add(&is, INSN_EXIT());
	fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "tagging", "GPL", is.insn,
			   is.count, NULL);
	assert_true(fd >= 0);
	insns_free(&is);
	return fd;
}

static enum verdict run_tagged(uint16_t tci, const char *filter)
{
	struct __sk_buff in = {.ifindex = lab.in, .mark = 42};
	int array = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "hook",
				   sizeof(__u32), sizeof(__u32), 1, NULL);
	int prog = tagging(tci, array);
	enum verdict verdict;
	struct frame f;
	__u32 zero = 0;

	assert_int_equal(bpf_map_update_elem(array, &zero, &lab.prog, 0), 0);
	add_rule("tagged", filter, "");
	from_hex(&f, IP4("0020", "40", SERVER4) UDP, 0);
	verdict = run_skb(prog, &f, &in, NULL);
	flush_rules();
	close(prog);
	close(array);
	return verdict;
}

/* VLAN 0 is a priority: the packet is this interface's. Any other tag makes it
 * another's.
 */
static void test_tags(void **state)
{
	(void)state;
	assert_int_equal(run_tagged(0xe000, ""), DIVERTED);
	assert_int_equal(run_tagged(0xe000, "vlan and udp"), DIVERTED);
	assert_int_equal(run_tagged(0xe000, "vlan 0 and udp port 5000"),
			 DIVERTED);
	assert_int_equal(run_tagged(0xe000, "ether[14:2] = 0xe000"), DIVERTED);
	assert_int_equal(run_tagged(0xe000, "len = 50"), DIVERTED);
	/* As in tcpdump, where it is the tag's EtherType that counts. */
	assert_int_equal(run_tagged(0xe000, "udp"), PASSED);
	assert_int_equal(run_tagged(5, ""), PASSED);
	assert_int_equal(run_tagged(0xe005, "vlan 5"), PASSED);
}

/* Neither strays nor packets whose note is gone get through the tap. */
static void test_tap(void **state)
{
	struct xdivert_stats before, after;
	struct xdv_tapped note, again;
	struct frame f;
	__u32 key;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, IP4("0020", "40", SERVER4) UDP, 0);
	before = stats();
	assert_int_equal(run_xdp(lab.tap, f.data, f.len, NULL), XDP_DROP);
	assert_int_equal(run(&f, NULL), DIVERTED);
	key = lab.x->shared->tapped % XDV_TAPPED;
	assert_int_equal(bpf_map_lookup_elem(lab.x->tapped, &key, &note), 0);
	assert_int_equal(note.seq, lab.x->shared->tapped);
	memset(f.data, 0, 6);
	f.data[4] = note.seq >> 8;
	f.data[5] = note.seq;
	memcpy(f.data + 6, lab.x->shared->mac, 6);
	assert_int_equal(run_xdp(lab.tap, f.data, f.len, NULL), XDP_REDIRECT);
	again = note;
	again.seq += XDV_TAPPED;
	assert_int_equal(bpf_map_update_elem(lab.x->tapped, &key, &again, 0),
			 0);
	assert_int_equal(run_xdp(lab.tap, f.data, f.len, NULL), XDP_DROP);
	after = stats();
	assert_int_equal(after.diverted, before.diverted + 2);
	flush_rules();
}

/* The daemon has no tap for this flow. */
static void test_no_tap(void **state)
{
	uint32_t tap = lab.x->shared->tap[0];
	struct xdivert_stats before, after;
	struct frame f;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, IP4("0020", "40", SERVER4) UDP, 0);
	before = stats();
	lab.x->shared->tap[0] = 0;
	assert_int_equal(run(&f, NULL), PASSED);
	lab.x->shared->tap[0] = tap;
	after = stats();
	assert_int_equal(after.unserved, before.unserved + 1);
	assert_int_equal(run(&f, NULL), DIVERTED);
	flush_rules();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gso),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_tap),
		cmocka_unit_test(test_no_tap),
	};

	return run_hook_cases("tc, as the other hook", XDV_HOOK_TC) +
	       cmocka_run_group_tests_name("tc", tests, lab_set_up,
					   lab_tear_down);
}
