// SPDX-License-Identifier: BSD-2-Clause
/*
 * Classic BPF to eBPF. A is r0 and X is r1; r2 to r5 are temporary. Every
 * load checks the packet's end first; what lies beyond makes the filter false.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <xdivert/abi.h>

#include "filter.h"
#include "insn.h"
#include "reach.h"

#define A	   BPF_REG_0
#define X	   BPF_REG_1
#define T1	   BPF_REG_2
#define T2	   BPF_REG_3
#define T3	   BPF_REG_4
#define CTX	   BPF_REG_6
#define DATA	   BPF_REG_7
#define END	   BPF_REG_8
#define SCRATCH	   BPF_REG_9
/* What the verifier lets a packet pointer move. */
#define OFFSET_MAX 0xfff0u
/* Stack: what bpf_skb_load_bytes() fetched, a register meanwhile, and the
 * words M[]; the program around us keeps the first 4 bytes.
 */
#define FETCHED	   (-8)
#define SAVED	   (-16)
#define MEM(k)	   FILTER_MEM(k)
#define TIMES(l)   (FILTER_MEM(BPF_MEMWORDS - 1) - 8 * ((l) + 1))
#define TIMES_MAX  32 /* around each: headers that protochain steps over */

#define HEAD	  ((int)offsetof(struct xdv_scratch, head))
#define TAG	  4  /* bytes of a VLAN tag */
#define AFTER_TAG 16 /* where the EtherType behind it is */
#define SKB_LEN	  ((int)offsetof(struct __sk_buff, len))

/* A classic instruction, the filter's outcome, or the code's end. */
#define TO_FALSE (-1)
#define TO_TRUE	 (-2)

struct jump {
	size_t at; /* eBPF position */
	int target;
};

struct translation {
	struct insns *out;
	const struct bpf_program *in;
	enum filter_view view;
	size_t *start; /* of each classic instruction */
	struct reach reach;
	struct jump *jump;
	size_t jumps;
	int at; /* classic instruction under translation */
};

void insns_add(struct insns *is, struct bpf_insn insn)
{
	struct bpf_insn *more;

	if (is->error)
		return;
	if (is->count == is->room) {
		is->room = is->room ? 2 * is->room : 256;
		more = realloc(is->insn, is->room * sizeof(*more));
		if (!more) {
			is->error = -ENOMEM;
			return;
		}
		is->insn = more;
	}
	is->insn[is->count++] = insn;
}

void insns_free(struct insns *is)
{
	free(is->insn);
	*is = (struct insns){0};
}

static void add(struct translation *t, struct bpf_insn insn)
{
	insns_add(t->out, insn);
}

/* Emit a jump whose distance is filled in at the end. */
static void add_jump(struct translation *t, struct bpf_insn insn, int target)
{
	t->jump[t->jumps++] = (struct jump){t->out->count, target};
	add(t, insn);
}

static unsigned int size_of(unsigned int code)
{
	switch (BPF_SIZE(code)) {
	case BPF_W:
		return 4;
	case BPF_H:
		return 2;
	}
	return 1;
}

/* T1 = k (+ X), false if no packet is that long; at compile time if it is
 * known then.
 */
static bool add_offset(struct translation *t, __u32 k, unsigned int size,
		       bool indirect)
{
	if (k > OFFSET_MAX - size) {
		/* Always taken; a plain jump would leave dead code behind. */
		add(t, INSN_MOV64_IMM(T1, 0));
		add_jump(t, INSN_JMP_IMM(BPF_JEQ, T1, 0, 0), TO_FALSE);
		return false;
	}
	if (!indirect) {
		add(t, INSN_MOV64_IMM(T1, k));
		return true;
	}
	/* The upper half of X is zero: 64-bit sums do not wrap. */
	add(t, INSN_MOV32_REG(T1, X));
	add(t, INSN_ALU64_IMM(BPF_ADD, T1, k));
	add_jump(t, INSN_JMP_IMM(BPF_JGT, T1, OFFSET_MAX - size, 0), TO_FALSE);
	return true;
}

/* Jumps within a load: where they are, and what they skip ends here. */
static size_t add_ahead(struct translation *t, struct bpf_insn insn)
{
	add(t, insn);
	return t->out->count - 1;
}

static void land(struct translation *t, size_t at)
{
	if (!t->out->error)
		t->out->insn[at].off = t->out->count - at - 1;
}

/*
 * dst = the bytes at T1 of the packet, whose end may lie beyond data_end. The
 * slow way stands first: what the verifier learns there holds on the fast way
 * too, so that it need not look at the rest twice.
 */
static void add_fetch(struct translation *t, unsigned int size_code, int dst)
{
	unsigned int size = size_of(size_code);
	int keep = dst == A ? X : A, rc = keep == A ? X : A;
	size_t fast, done;

	add(t, INSN_MOV64_REG(T2, DATA));
	add(t, INSN_ALU64_REG(BPF_ADD, T2, T1));
	add(t, INSN_MOV64_REG(T3, T2));
	add(t, INSN_ALU64_IMM(BPF_ADD, T3, size));
	fast = add_ahead(t, INSN_JMP_REG(BPF_JLE, T3, END, 0));
	add(t, INSN_STX_MEM(BPF_DW, BPF_REG_10, keep, SAVED));
	add(t, INSN_MOV64_REG(BPF_REG_1, CTX));
	add(t, INSN_MOV64_REG(BPF_REG_3, BPF_REG_10));
	add(t, INSN_ALU64_IMM(BPF_ADD, BPF_REG_3, FETCHED));
	add(t, INSN_MOV64_IMM(BPF_REG_4, size));
	/* r2 is T1 */
	add(t, INSN_CALL(t->view == FILTER_XDP ? BPF_FUNC_xdp_load_bytes
					       : BPF_FUNC_skb_load_bytes));
	if (rc != BPF_REG_0)
		add(t, INSN_MOV64_REG(rc, BPF_REG_0));
	add(t, INSN_LDX_MEM(BPF_DW, keep, BPF_REG_10, SAVED));
	add_jump(t, INSN_JMP_IMM(BPF_JNE, rc, 0, 0), TO_FALSE);
	add(t, INSN_LDX_MEM(BPF_SIZE(size_code), dst, BPF_REG_10, FETCHED));
	done = add_ahead(t, INSN_JA(0));
	land(t, fast);
	add(t, INSN_LDX_MEM(BPF_SIZE(size_code), dst, T2, 0));
	land(t, done);
}

/* A tag that is in the metadata: what precedes its end is in the scratch. */
static void add_tagged(struct translation *t, unsigned int size_code, int dst)
{
	unsigned int size = size_of(size_code);
	size_t behind, done;

	behind = add_ahead(t, INSN_JMP_IMM(BPF_JGE, T1, AFTER_TAG, 0));
	add(t, INSN_LDX_MEM(BPF_W, T2, CTX, SKB_LEN));
	add(t, INSN_ALU64_IMM(BPF_ADD, T2, TAG - (int)size));
	add_jump(t, INSN_JMP_REG(BPF_JGT, T1, T2, 0), TO_FALSE);
	add(t, INSN_MOV64_REG(T2, SCRATCH));
	add(t, INSN_ALU64_REG(BPF_ADD, T2, T1));
	add(t, INSN_LDX_MEM(BPF_SIZE(size_code), dst, T2, HEAD));
	done = add_ahead(t, INSN_JA(0));
	land(t, behind);
	add(t, INSN_ALU64_IMM(BPF_SUB, T1, TAG));
	add_fetch(t, size_code, dst);
	land(t, done);
}

/* dst = the packet's byte, half word or word at k (+ X), as it stands. */
static bool add_load(struct translation *t, unsigned int size_code, __u32 k,
		     bool indirect, int dst)
{
	if (!add_offset(t, k, size_of(size_code), indirect))
		return false;
	if (t->view != FILTER_SKB_TAGGED)
		add_fetch(t, size_code, dst);
	else if (indirect || k < AFTER_TAG)
		add_tagged(t, size_code, dst);
	else {
		add(t, INSN_ALU64_IMM(BPF_SUB, T1, TAG));
		add_fetch(t, size_code, dst);
	}
	return true;
}

static void add_packet(struct translation *t, unsigned int code, __u32 k,
		       bool indirect)
{
	unsigned int size = size_of(code);

	if (add_load(t, code, k, indirect, A) && size > 1)
		add(t, INSN_TO_BE(A, size * 8));
}

/* Of all buffers of a frame. */
static void add_xdp_length(struct translation *t, int reg)
{
	int keep = reg == A ? X : A;

	add(t, INSN_STX_MEM(BPF_DW, BPF_REG_10, keep, SAVED));
	add(t, INSN_MOV64_REG(BPF_REG_1, CTX));
	add(t, INSN_CALL(BPF_FUNC_xdp_get_buff_len));
	if (reg != BPF_REG_0)
		add(t, INSN_MOV64_REG(reg, BPF_REG_0));
	add(t, INSN_LDX_MEM(BPF_DW, keep, BPF_REG_10, SAVED));
}

static void add_length(struct translation *t, int reg)
{
	if (t->view == FILTER_XDP) {
		add_xdp_length(t, reg);
		return;
	}
	add(t, INSN_LDX_MEM(BPF_W, reg, CTX, SKB_LEN));
	if (t->view == FILTER_SKB_TAGGED)
		add(t, INSN_ALU64_IMM(BPF_ADD, reg, TAG));
}

static int translate_ld(struct translation *t, unsigned int code, __u32 k)
{
	switch (BPF_MODE(code)) {
	case BPF_IMM:
		add(t, INSN_MOV32_IMM(A, k));
		return 0;
	case BPF_ABS:
	case BPF_IND:
		add_packet(t, code, k, BPF_MODE(code) == BPF_IND);
		return 0;
	case BPF_MEM:
		add(t, INSN_LDX_MEM(BPF_W, A, BPF_REG_10, MEM(k)));
		return k < BPF_MEMWORDS ? 0 : -EINVAL;
	case BPF_LEN:
		add_length(t, A);
		return 0;
	}
	return -ENOTSUP;
}

static int translate_ldx(struct translation *t, unsigned int code, __u32 k)
{
	switch (BPF_MODE(code)) {
	case BPF_IMM:
		add(t, INSN_MOV32_IMM(X, k));
		return 0;
	case BPF_MEM:
		add(t, INSN_LDX_MEM(BPF_W, X, BPF_REG_10, MEM(k)));
		return k < BPF_MEMWORDS ? 0 : -EINVAL;
	case BPF_LEN:
		add_length(t, X);
		return 0;
	case BPF_MSH:
		if (!add_load(t, BPF_B, k, false, X))
			return 0;
		add(t, INSN_ALU32_IMM(BPF_AND, X, 0xf));
		add(t, INSN_ALU32_IMM(BPF_LSH, X, 2));
		return 0;
	}
	return -ENOTSUP;
}

/* Shifts by 32 and more give 0; eBPF would take the count modulo 32. */
static void add_shift(struct translation *t, unsigned int op, bool by_x,
		      __u32 k)
{
	if (!by_x) {
		add(t,
		    k > 31 ? INSN_MOV32_IMM(A, 0) : INSN_ALU32_IMM(op, A, k));
		return;
	}
	add(t, INSN_JMP32_IMM(BPF_JLE, X, 31, 2));
	add(t, INSN_MOV32_IMM(A, 0));
	add(t, INSN_JA(1));
	add(t, INSN_ALU32_REG(op, A, X));
}

static int translate_alu(struct translation *t, unsigned int code, __u32 k)
{
	unsigned int op = BPF_OP(code);
	bool by_x = BPF_SRC(code) == BPF_X;

	if (op == BPF_NEG) {
		add(t, INSN_ALU32_IMM(BPF_NEG, A, 0));
		return 0;
	}
	if (op == BPF_LSH || op == BPF_RSH) {
		add_shift(t, op, by_x, k);
		return 0;
	}
	if (op == BPF_DIV || op == BPF_MOD) {
		if (!by_x && !k)
			return -EINVAL;
		if (by_x)
			add_jump(t, INSN_JMP32_IMM(BPF_JEQ, X, 0, 0), TO_FALSE);
	}
	add(t, by_x ? INSN_ALU32_REG(op, A, X) : INSN_ALU32_IMM(op, A, k));
	return 0;
}

/* What the verifier knows of a register is forgotten, the register is as it
 * was.
 */
static void add_forget(struct translation *t, int reg)
{
	add(t, INSN_TO_BE(reg, 32));
	add(t, INSN_TO_BE(reg, 32));
}

/* Backwards goes the loop that protochain makes. The verifier wants to see that
 * it ends; all ways around shall look the same to it, or each would be another
 * one the next time around.
 */
static void add_count(struct translation *t, int loop)
{
	add(t, INSN_LDX_MEM(BPF_DW, T1, BPF_REG_10, TIMES(loop)));
	add(t, INSN_ALU64_IMM(BPF_ADD, T1, 1));
	add(t, INSN_STX_MEM(BPF_DW, BPF_REG_10, T1, TIMES(loop)));
	add_jump(t, INSN_JMP_IMM(BPF_JGT, T1, TIMES_MAX, 0), TO_FALSE);
	add_forget(t, A);
	add_forget(t, X);
}

static int translate_ja(struct translation *t, int k)
{
	int to = t->at + 1 + k;

	if (to < 0 || to >= (int)t->in->bf_len)
		return -EINVAL;
	if (k < 0)
		add_count(t, reach_loop(&t->reach, to));
	add_jump(t, INSN_JA(0), to);
	return 0;
}

static int translate_jmp(struct translation *t, const struct bpf_program *p)
{
	unsigned int code = p->bf_insns[t->at].code, op = BPF_OP(code);
	__u32 k = p->bf_insns[t->at].k;
	int yes = t->at + 1 + p->bf_insns[t->at].jt;
	int no = t->at + 1 + p->bf_insns[t->at].jf;

	if (op == BPF_JA)
		return translate_ja(t, (int)k);
	if (BPF_SRC(code) == BPF_X)
		add_jump(t, INSN_JMP32_REG(op, A, X, 0), yes);
	else
		add_jump(t, INSN_JMP32_IMM(op, A, k, 0), yes);
	add_jump(t, INSN_JA(0), no);
	return 0;
}

static int translate_ret(struct translation *t, unsigned int code, __u32 k)
{
	if (BPF_RVAL(code) == BPF_A)
		add_jump(t, INSN_JMP32_IMM(BPF_JEQ, A, 0, 0), TO_FALSE);
	add_jump(t, INSN_JA(0),
		 BPF_RVAL(code) == BPF_K && !k ? TO_FALSE : TO_TRUE);
	return 0;
}

static int translate_one(struct translation *t)
{
	unsigned int code = t->in->bf_insns[t->at].code;
	__u32 k = t->in->bf_insns[t->at].k;

	switch (BPF_CLASS(code)) {
	case BPF_LD:
		return translate_ld(t, code, k);
	case BPF_LDX:
		return translate_ldx(t, code, k);
	case BPF_ST:
	case BPF_STX:
		if (k >= BPF_MEMWORDS)
			return -EINVAL;
		add(t, INSN_STX_MEM(BPF_W, BPF_REG_10,
				    BPF_CLASS(code) == BPF_ST ? A : X, MEM(k)));
		return 0;
	case BPF_ALU:
		return translate_alu(t, code, k);
	case BPF_JMP:
		return translate_jmp(t, t->in);
	case BPF_RET:
		return translate_ret(t, code, k);
	}
	add(t, BPF_MISCOP(code) == BPF_TAX ? INSN_MOV32_REG(X, A)
					   : INSN_MOV32_REG(A, X));
	return 0;
}

/*
 * A, X and the words of M[] that are used begin as 0. The verifier refuses
 * code that nothing jumps to: an expression that is always true or false gets
 * a jump to the other outcome, never taken.
 */
static void add_start(struct translation *t)
{
	unsigned int i, used = 0;

	add(t, INSN_MOV32_IMM(A, 0));
	if (!reach_outcome(&t->reach, false))
		add_jump(t, INSN_JMP_IMM(BPF_JNE, A, 0, 0), TO_FALSE);
	if (!reach_outcome(&t->reach, true))
		add_jump(t, INSN_JMP_IMM(BPF_JNE, A, 0, 0), TO_TRUE);
	add(t, INSN_MOV32_IMM(X, 0));
	for (i = 0; i < t->in->bf_len; i++) {
		unsigned int code = t->in->bf_insns[i].code;

		if ((BPF_CLASS(code) <= BPF_LDX && BPF_MODE(code) == BPF_MEM) ||
		    BPF_CLASS(code) == BPF_ST || BPF_CLASS(code) == BPF_STX)
			used |= 1u << (t->in->bf_insns[i].k % BPF_MEMWORDS);
	}
	/* From a register: older verifiers forget what a constant store wrote.
	 */
	for (i = 0; i < (unsigned int)t->reach.loops; i++)
		add(t, INSN_STX_MEM(BPF_DW, BPF_REG_10, X, TIMES(i)));
	for (i = 0; i < BPF_MEMWORDS; i++)
		if (used & 1u << i)
			add(t, INSN_ST_MEM(BPF_W, BPF_REG_10, MEM(i), 0));
}

/* True falls through to r0 = 1, false jumps to r0 = 0. */
static int finish(struct translation *t)
{
	long yes = t->out->count, no, to;
	size_t i;

	add(t, INSN_MOV32_IMM(A, 1));
	add(t, INSN_JA(1));
	no = t->out->count;
	add(t, INSN_MOV32_IMM(A, 0));
	if (t->out->error)
		return t->out->error;
	for (i = 0; i < t->jumps; i++) {
		if (t->jump[i].target >= (int)t->in->bf_len)
			return -EINVAL;
		to = t->jump[i].target == TO_TRUE ? yes
		     : t->jump[i].target == TO_FALSE
			     ? no
			     : (long)t->start[t->jump[i].target];
		to -= (long)t->jump[i].at + 1;
		if (to > INT16_MAX || to < INT16_MIN)
			return -E2BIG;
		t->out->insn[t->jump[i].at].off = to;
	}
	return 0;
}

static int translate(struct translation *t)
{
	int rc = 0;

	add_start(t);
	for (; t->at < (int)t->in->bf_len && !rc; t->at++) {
		t->start[t->at] = t->out->count;
		if (t->reach.live[t->at])
			rc = translate_one(t);
	}
	return rc ? rc : finish(t);
}

int filter_translate(const struct bpf_program *classic, enum filter_view view,
		     struct insns *is)
{
	struct translation t = {.out = is, .in = classic, .view = view};
	int rc = reach_find(&t.reach, classic);

	t.start = calloc(classic->bf_len + 1, sizeof(*t.start));
	t.jump = calloc(classic->bf_len + 2, 3 * sizeof(*t.jump));
	if (!t.start || !t.jump)
		rc = -ENOMEM;
	if (!rc)
		rc = translate(&t);
	reach_free(&t.reach);
	free(t.start);
	free(t.jump);
	return rc;
}
