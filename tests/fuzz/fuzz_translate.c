// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any valid classic program: what the translator makes of it passes the
 * verifier and answers as libpcap's interpreter does, and so do its paths.
 * The kernel runs it, which takes root; without, the paths alone are compared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "filter.h"
#include "insn.h"
#include "paths.h"

#define INSNS_MAX  40
#define PACKET_MIN 14
#define PACKET_MAX 160

static const unsigned short codes[] = {
	BPF_LD | BPF_W | BPF_ABS,
	BPF_LD | BPF_H | BPF_ABS,
	BPF_LD | BPF_B | BPF_ABS,
	BPF_LD | BPF_W | BPF_IND,
	BPF_LD | BPF_H | BPF_IND,
	BPF_LD | BPF_B | BPF_IND,
	BPF_LD | BPF_W | BPF_LEN,
	BPF_LD | BPF_IMM,
	BPF_LD | BPF_MEM,
	BPF_LDX | BPF_IMM,
	BPF_LDX | BPF_MEM,
	BPF_LDX | BPF_B | BPF_MSH,
	BPF_LDX | BPF_W | BPF_LEN,
	BPF_ST,
	BPF_STX,
	BPF_ALU | BPF_ADD | BPF_K,
	BPF_ALU | BPF_SUB | BPF_K,
	BPF_ALU | BPF_MUL | BPF_K,
	BPF_ALU | BPF_DIV | BPF_K,
	BPF_ALU | BPF_MOD | BPF_K,
	BPF_ALU | BPF_AND | BPF_K,
	BPF_ALU | BPF_OR | BPF_K,
	BPF_ALU | BPF_XOR | BPF_K,
	BPF_ALU | BPF_LSH | BPF_K,
	BPF_ALU | BPF_RSH | BPF_K,
	BPF_ALU | BPF_NEG,
	BPF_ALU | BPF_ADD | BPF_X,
	BPF_ALU | BPF_SUB | BPF_X,
	BPF_ALU | BPF_MUL | BPF_X,
	BPF_ALU | BPF_DIV | BPF_X,
	BPF_ALU | BPF_MOD | BPF_X,
	BPF_ALU | BPF_AND | BPF_X,
	BPF_ALU | BPF_OR | BPF_X,
	BPF_ALU | BPF_XOR | BPF_X,
	BPF_ALU | BPF_LSH | BPF_X,
	BPF_ALU | BPF_RSH | BPF_X,
	BPF_JMP | BPF_JA,
	BPF_JMP | BPF_JEQ | BPF_K,
	BPF_JMP | BPF_JGT | BPF_K,
	BPF_JMP | BPF_JGE | BPF_K,
	BPF_JMP | BPF_JSET | BPF_K,
	BPF_JMP | BPF_JEQ | BPF_X,
	BPF_JMP | BPF_JGT | BPF_X,
	BPF_JMP | BPF_JGE | BPF_X,
	BPF_JMP | BPF_JSET | BPF_X,
	BPF_RET | BPF_K,
	BPF_RET | BPF_A,
	BPF_MISC | BPF_TAX,
	BPF_MISC | BPF_TXA,
	BPF_JMP | BPF_JEQ | BPF_K,
	BPF_JMP | BPF_JEQ | BPF_K,
	BPF_LD | BPF_H | BPF_ABS,
};
#define CODES (sizeof(codes) / sizeof(*codes))

/* Small numbers and those of packets, more often than not. */
static unsigned int number(const uint8_t *p)
{
	switch (p[0] % 8) {
	case 0:
		return (unsigned int)p[1] << 24 | p[2] << 16 | p[1] << 8 | p[2];
	case 1:
		return p[1] % 2 ? 0x0800 : 0x86dd;
	case 2:
		return p[1] << 8 | p[2];
	case 3:
		return 1u << p[1] % 32;
	}
	return p[1] % 64;
}

/* A valid instruction with left more behind it. */
static struct pcap_bpf_insn make_insn(const uint8_t *p, unsigned int left)
{
	struct pcap_bpf_insn i = {.code = codes[p[0] % CODES],
				  .k = number(p + 1)};
	unsigned int op = BPF_OP(i.code);

	if (!left)
		i.code = BPF_RET | (p[0] % 4 ? BPF_K : BPF_A);
	if (BPF_CLASS(i.code) == BPF_ALU && (op == BPF_LSH || op == BPF_RSH) &&
	    BPF_SRC(i.code) == BPF_K)
		i.k %= 32;
	if (BPF_CLASS(i.code) == BPF_ALU && (op == BPF_DIV || op == BPF_MOD) &&
	    BPF_SRC(i.code) == BPF_K && !i.k)
		i.k = 1;
	if (BPF_CLASS(i.code) == BPF_ST || BPF_CLASS(i.code) == BPF_STX ||
	    (BPF_CLASS(i.code) <= BPF_LDX && BPF_MODE(i.code) == BPF_MEM))
		i.k %= BPF_MEMWORDS;
	if (BPF_CLASS(i.code) == BPF_JMP) {
		i.jt = p[4] % left;
		i.jf = p[5] % left;
		if (op == BPF_JA)
			i.k = p[4] % left;
	}
	if (BPF_CLASS(i.code) == BPF_RET)
		i.k = p[1] % 2;
	return i;
}

static void give_up(const struct bpf_program *classic, const char *why)
{
	unsigned int i;

	fprintf(stderr, "%s:\n", why);
	for (i = 0; i < classic->bf_len; i++)
		fprintf(stderr, "%s\n", bpf_image(&classic->bf_insns[i], i));
	abort();
}

static int load(const struct bpf_program *classic, enum bpf_prog_type type,
		enum filter_view view)
{
	static char log[1 << 16];
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_buf = log,
		    .log_size = sizeof(log), .log_level = 0);
	bool xdp = view == FILTER_XDP;
	struct insns is = {0};
	int fd;

	insns_add(&is, INSN_MOV64_REG(BPF_REG_6, BPF_REG_1));
	insns_add(&is, INSN_LDX_MEM(BPF_W, BPF_REG_7, BPF_REG_6,
				    xdp ? offsetof(struct xdp_md, data)
					: offsetof(struct __sk_buff, data)));
	insns_add(&is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_8, BPF_REG_6,
			       xdp ? offsetof(struct xdp_md, data_end)
				   : offsetof(struct __sk_buff, data_end)));
	if (filter_translate(classic, view, &is))
		give_up(classic, "not translated");
	insns_add(&is, INSN_EXIT());
	fd = bpf_prog_load(type, "fuzz", "GPL", is.insn, is.count, &opts);
	if (fd < 0) {
		opts.log_level = 1;
		bpf_prog_load(type, "fuzz", "GPL", is.insn, is.count, &opts);
		fputs(log, stderr);
		give_up(classic, "refused");
	}
	insns_free(&is);
	return fd;
}

static void run(const struct bpf_program *classic, enum bpf_prog_type type,
		enum filter_view view, const uint8_t *data, uint32_t len,
		bool want)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data,
		    .data_size_in = len);
	int fd = load(classic, type, view);

	if (bpf_prog_test_run_opts(fd, &opts) || opts.retval != want)
		give_up(classic, "translated wrongly");
	close(fd);
}

static bool in_reach(const struct load *load, const uint8_t *data, uint32_t len,
		     uint32_t *at)
{
	*at = load->offset;
	if (load->base) {
		if (load->base - 1u >= len)
			return false;
		*at += (data[load->base - 1] & 0xf) * 4;
	}
	return *at + load->size <= len;
}

static bool takes(const struct path *path, const uint8_t *data, uint32_t len)
{
	uint32_t at, value;
	int i, j;

	for (i = 0; i < path->reaches; i++) {
		struct load last = {path->reach[i].end - 1, 1,
				    path->reach[i].base};

		if (!in_reach(&last, data, len, &at))
			return false;
	}
	for (i = 0; i < path->tests; i++) {
		const struct test *t = &path->test[i];

		if (!in_reach(&t->load, data, len, &at))
			return false;
		for (j = value = 0; j < t->load.size; j++)
			value = value << 8 | data[at + j];
		if ((value & t->mask) != t->value)
			return false;
	}
	return true;
}

static void compare_paths(const struct bpf_program *classic,
			  const uint8_t *data, uint32_t len, bool want)
{
	struct path *paths;
	int i, n = paths_find(classic, &paths);
	bool taken = false;

	if (n < 0)
		return;
	for (i = 0; i < n; i++)
		taken |= takes(&paths[i], data, len);
	if (taken != want)
		give_up(classic, want ? "no path" : "a path too many");
	free(paths);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct pcap_bpf_insn insn[BPF_MEMWORDS + INSNS_MAX];
	struct bpf_program classic = {.bf_insns = insn};
	uint8_t packet[PACKET_MAX] = {0};
	unsigned int n, i;
	uint32_t len;
	bool want;

	if (size < 7)
		return 0;
	n = 1 + input[0] % INSNS_MAX;
	input++;
	size--;
	if (size < n * 6)
		n = size / 6;
	/* libpcap's M[] begins as anything. */
	for (i = 0; i < BPF_MEMWORDS; i++)
		insn[i] = (struct pcap_bpf_insn){.code = BPF_ST, .k = i};
	for (i = 0; i < n; i++)
		insn[BPF_MEMWORDS + i] = make_insn(input + i * 6, n - 1 - i);
	classic.bf_len = BPF_MEMWORDS + n;
	len = size - n * 6 < PACKET_MAX ? size - n * 6 : PACKET_MAX;
	memcpy(packet, input + n * 6, len);
	if (len < PACKET_MIN)
		len = PACKET_MIN;
	if (!bpf_validate((void *)insn, classic.bf_len))
		return 0;
	want = bpf_filter((void *)insn, packet, len, len);
	compare_paths(&classic, packet, len, want);
	if (geteuid())
		return 0;
	run(&classic, BPF_PROG_TYPE_XDP, FILTER_XDP, packet, len, want);
	/* No sk_buff is made of an IP header cut short. */
	packet[12] = 0x88;
	packet[13] = 0xb5;
	want = bpf_filter((void *)insn, packet, len, len);
	run(&classic, BPF_PROG_TYPE_SCHED_CLS, FILTER_SKB, packet, len, want);
	return 0;
}
