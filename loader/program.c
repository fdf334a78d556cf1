// SPDX-License-Identifier: BSD-2-Clause
/*
 * Registers: r6 ctx, r7 data, r8 data_end, r9 struct xdv_scratch. A packet
 * that the FIB sent back has its layer and egress in there: only rules that
 * agree match then.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/pkt_cls.h>

#include "error.h"
#include "insn.h"
#include "multibuf.h"
#include "program.h"
#include "set.h"

#define SCRATCH(field) ((int)offsetof(struct xdv_scratch, field))
/* Instructions of one program, to begin with. The verifier may want less. */
#define PROGRAM_LEN    60000
#define PROGRAM_MIN    2000
#define PROGRAM_MAX    900000

#define XDP_VARIANT                                                            \
	.type = BPF_PROG_TYPE_XDP, .pass = XDP_PASS,                           \
	.data = offsetof(struct xdp_md, data),                                 \
	.data_end = offsetof(struct xdp_md, data_end)
#define TC_VARIANT                                                             \
	.type = BPF_PROG_TYPE_SCHED_CLS, .tc = true, .pass = TC_ACT_UNSPEC,    \
	.data = offsetof(struct __sk_buff, data),                              \
	.data_end = offsetof(struct __sk_buff, data_end)

const struct variant variants[VARIANTS] = {
	{"xdv_xdp_rules", XDP_VARIANT, .stage = XDV_STAGE_RULES, .row = 0,
	 .link_type = DLT_EN10MB, .view = FILTER_XDP},
	{"xdv_tc_rules", TC_VARIANT, .stage = XDV_STAGE_RULES, .row = 0,
	 .link_type = DLT_EN10MB, .view = FILTER_SKB},
	{"xdv_tc_tagged", TC_VARIANT, .stage = XDV_STAGE_RULES_TAGGED, .row = 1,
	 .link_type = DLT_EN10MB, .view = FILTER_SKB_TAGGED},
	{"xdv_tc_raw", TC_VARIANT, .stage = XDV_STAGE_RULES_RAW, .row = 2,
	 .link_type = DLT_RAW, .view = FILTER_SKB},
};

struct builder {
	const struct xdivert *s;
	const struct variant *v;
	const struct index *index;
	struct insns is;
};

static int stages_of(const struct xdivert *s, const struct variant *v)
{
	return v->tc ? s->tc_stages : s->stages;
}

bool variant_needed(const struct xdivert *s, const struct variant *v)
{
	__u32 stage = XDV_STAGE_DIVERT, id;

	return !v->tc || !bpf_map_lookup_elem(s->tc_stages, &stage, &id);
}

/* Where a chain's program but the first lies. */
static __u32 chain_stage(const struct variant *v, int bank, int program)
{
	return XDV_STAGE_CHAINS + (v->row * 2 + bank) * XDV_CHAIN_MAX + program;
}

static void emit_pass(struct builder *b)
{
	insns_add(&b->is, INSN_MOV64_IMM(BPF_REG_0, b->v->pass));
	insns_add(&b->is, INSN_EXIT());
}

static void emit_tail_call(struct builder *b, __u32 stage)
{
	insns_add(&b->is, INSN_MOV64_REG(BPF_REG_1, BPF_REG_6));
	insn_ld_map_fd(&b->is, BPF_REG_2, stages_of(b->s, b->v));
	insns_add(&b->is, INSN_MOV64_IMM(BPF_REG_3, stage));
	insns_add(&b->is, INSN_CALL(BPF_FUNC_tail_call));
	emit_pass(b);
}

/* The packet's pointers, fresh: what the verifier knows of where the packet
 * ends is forgotten, so that it looks at what follows only once.
 */
static void emit_packet(struct builder *b)
{
	insns_add(&b->is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_7, BPF_REG_6, b->v->data));
	insns_add(&b->is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_8, BPF_REG_6, b->v->data_end));
}

static void emit_prologue(struct builder *b)
{
	struct insns *is = &b->is;

	insns_add(is, INSN_MOV64_REG(BPF_REG_6, BPF_REG_1));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_10, -4, 0));
	insn_ld_map_fd(is, BPF_REG_1, b->s->scratch);
	insns_add(is, INSN_MOV64_REG(BPF_REG_2, BPF_REG_10));
	insns_add(is, INSN_ALU64_IMM(BPF_ADD, BPF_REG_2, -4));
	insns_add(is, INSN_CALL(BPF_FUNC_map_lookup_elem));
	insns_add(is, INSN_JMP_IMM(BPF_JNE, BPF_REG_0, 0, 2));
	emit_pass(b);
	insns_add(is, INSN_MOV64_REG(BPF_REG_9, BPF_REG_0));
	emit_packet(b);
}

/* Jumps to where a rule ends, whose distance is known only there. */
struct skips {
	size_t at[16];
	int count;
};

static void emit_skip(struct insns *is, struct skips *skips,
		      struct bpf_insn jump)
{
	skips->at[skips->count++] = is->count;
	insns_add(is, jump);
}

static int land(struct insns *is, const struct skips *skips)
{
	int i;

	for (i = 0; i < skips->count && !is->error; i++) {
		if (is->count - skips->at[i] - 1 > INT16_MAX)
			return -E2BIG;
		is->insn[skips->at[i]].off = is->count - skips->at[i] - 1;
	}
	return is->error;
}

/* What the index found comes before this rule: ask no further. */
static void emit_candidate_check(struct builder *b, __u32 position)
{
	insns_add(&b->is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(position)));
	insns_add(&b->is, INSN_JMP32_IMM(BPF_JGT, BPF_REG_1, position,
					 7 /* emit_tail_call() */));
	emit_tail_call(b, XDV_STAGE_DIVERT);
}

/*
 * The verifier keeps a list of the branches that it has not looked at yet, of
 * at most 8192. Let it pass all rules by first: then what it looks at later
 * ends where the rule does. There is no interface 0: packets never do that.
 */
static void emit_bypass(struct builder *b, struct skips *skips)
{
	insns_add(&b->is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(iif)));
	insns_add(&b->is, INSN_JMP32_IMM(BPF_JNE, BPF_REG_1, 0, 1));
	emit_skip(&b->is, skips, INSN_JA(0));
}

static void emit_conditions(struct builder *b, const struct candidate *c,
			    struct skips *skips)
{
	struct insns *is = &b->is;

	if (c->iif) {
		insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9,
					   SCRATCH(iif)));
		emit_skip(is, skips,
			  INSN_JMP32_IMM(BPF_JNE, BPF_REG_1, c->iif, 0));
	}
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(fib_done)));
	insns_add(is, INSN_JMP32_IMM(BPF_JEQ, BPF_REG_1, 0, c->oif ? 4 : 2));
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(layer)));
	emit_skip(is, skips,
		  INSN_JMP32_IMM(BPF_JNE, BPF_REG_1, c->rule->layer, 0));
	if (c->oif) {
		insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9,
					   SCRATCH(oif)));
		emit_skip(is, skips,
			  INSN_JMP32_IMM(BPF_JNE, BPF_REG_1, c->oif, 0));
	}
}

static void emit_match(struct builder *b, const struct candidate *c)
{
	struct insns *is = &b->is;

	insns_add(is,
		  INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(rule), c->rule->id));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(position),
				  c->position));
	insns_add(is,
		  INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(slot), c->rule->slot));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(want_oif), c->oif));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(want_layer),
				  c->rule->layer));
	emit_tail_call(b, XDV_STAGE_DIVERT);
}

static int emit_filter(struct builder *b, const struct candidate *c,
		       struct skips *skips)
{
	int rc = filter_translate(&c->classic, b->v->view, &b->is);

	if (!rc)
		emit_skip(&b->is, skips,
			  INSN_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 0));
	return rc;
}

static int emit_set(struct builder *b, const struct set *set, bool source,
		    struct skips *skips)
{
	int rc;

	if (!set)
		return 0;
	emit_packet(b);
	rc = set_emit(&b->is, set, source, b->v->link_type, b->v->view);
	if (!rc)
		emit_skip(&b->is, skips,
			  INSN_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 0));
	return rc;
}

/* Try a rule; on with the next if it does not match. */
static int emit_rule(struct builder *b, const struct candidate *c)
{
	struct skips skips = {.count = 0};
	int rc;

	emit_bypass(b, &skips);
	if (b->index->count)
		emit_candidate_check(b, c->position);
	emit_conditions(b, c, &skips);
	emit_packet(b);
	rc = emit_filter(b, c, &skips);
	rc = rc ? rc : emit_set(b, c->source, true, &skips);
	rc = rc ? rc : emit_set(b, c->destination, false, &skips);
	if (rc)
		return rc;
	emit_match(b, c);
	return land(&b->is, &skips);
}

static int emit_index(struct builder *b)
{
	struct insns *is = &b->is;
	size_t settled, done;
	int rc;

	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(rule), 0));
	if (!b->index->count)
		return 0;
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(position), -1));
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(fib_done)));
	settled = is->count;
	insns_add(is, INSN_JMP_IMM(BPF_JNE, BPF_REG_1, 0, 0));
	rc = index_emit(b->index, b->v->view, false, is);
	if (rc)
		return rc;
	done = is->count;
	insns_add(is, INSN_JA(0));
	if (!is->error)
		is->insn[settled].off = is->count - settled - 1;
	rc = index_emit(b->index, b->v->view, true, is);
	if (!rc && !is->error)
		is->insn[done].off = is->count - done - 1;
	return rc ? rc : is->error;
}

/* Nothing that was run matched; did the index find something? */
static void emit_end(struct builder *b)
{
	if (b->index->count) {
		insns_add(&b->is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9,
					       SCRATCH(rule)));
		insns_add(&b->is, INSN_JMP32_IMM(BPF_JEQ, BPF_REG_1, 0, 7));
		emit_tail_call(b, XDV_STAGE_DIVERT);
	}
	emit_pass(b);
}

static int load(const struct builder *b)
{
	static char log[1 << 20];
	/* A tail call needs its caller's attach type; see create() in state.c.
	 */
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = 0);
	int fd;

	*log = 0;
	if (getenv("XDIVERT_DEBUG")) {
		opts.log_buf = log;
		opts.log_size = sizeof(log);
		opts.log_level = 1;
	}
	/* And the same view of frames in several buffers. */
	if (!b->v->tc)
		opts.prog_flags = multibuf_flags();
	fd = bpf_prog_load(b->v->type, b->v->name, "GPL", b->is.insn,
			   b->is.count, &opts);
	fputs(log, stderr);
	if (fd < 0)
		return error_set(fd,
				 "the kernel refuses the rules' program (%zu "
				 "instructions): %s",
				 b->is.count, strerror(-fd));
	return fd;
}

/* One program with as many rules as fit, from *next on. */
static int build(struct builder *b, const struct candidate *rules, int n,
		 int *next, size_t limit, bool first)
{
	int rc = 0, begin = *next;

	b->is.count = 0;
	emit_prologue(b);
	if (first)
		rc = emit_index(b);
	for (; *next < n && !rc; ++*next) {
		if (rules[*next].gone || rules[*next].paths)
			continue;
		if (b->is.count > limit && *next > begin)
			break;
		rc = emit_rule(b, &rules[*next]);
		if (rc)
			return error_set(rc, "'%s' is not supported here: %s",
					 rules[*next].rule->filter,
					 strerror(-rc));
	}
	return rc	     ? rc
	       : b->is.error ? error_set(b->is.error, "out of memory")
			     : 0;
}

static int build_chain(struct chain *chain, struct builder *b, int bank,
		       const struct candidate *rules, int n, size_t limit)
{
	int next = 0, rc;

	do {
		if (chain->count == XDV_CHAIN_MAX)
			return -ENOBUFS;
		rc = build(b, rules, n, &next, limit, !chain->count);
		if (rc)
			return rc;
		if (next < n)
			emit_tail_call(b,
				       chain_stage(b->v, bank, chain->count));
		else
			emit_end(b);
		rc = load(b);
		if (rc < 0)
			return rc;
		chain->fd[chain->count++] = rc;
	} while (next < n);
	return 0;
}

/* What the verifier says to a program that is too long for it. */
static bool too_long(int rc)
{
	return rc == -E2BIG || rc == -EFAULT || rc == -ENOSPC;
}

/* So that the chain is not too long; the rest is up to the verifier. */
static int choose_limit(struct builder *b, const struct candidate *rules, int n,
			size_t *limit)
{
	int next = 0, rc = build(b, rules, n, &next, SIZE_MAX, true);

	*limit = PROGRAM_LEN;
	if (b->is.count / (XDV_CHAIN_MAX - 2) > *limit)
		*limit = b->is.count / (XDV_CHAIN_MAX - 2);
	return rc;
}

int chain_load(struct chain *chain, const struct xdivert *s,
	       const struct variant *v, int bank, const struct candidate *rules,
	       int n, const struct index *index)
{
	struct builder b = {.s = s, .v = v, .index = index};
	size_t limit;
	int rc = choose_limit(&b, rules, n, &limit);

	chain->count = 0;
	while (!rc) {
		rc = build_chain(chain, &b, bank, rules, n, limit);
		if (!rc)
			break;
		chain_close(chain);
		limit /= 2;
		if (too_long(rc) && limit >= PROGRAM_MIN)
			rc = 0;
	}
	insns_free(&b.is);
	if (too_long(rc) || rc == -ENOBUFS)
		return error_set(-E2BIG,
				 "the rules are too long for the kernel");
	return rc;
}

void chain_close(struct chain *chain)
{
	while (chain->count)
		close(chain->fd[--chain->count]);
}

int chain_place(const struct chain *chain, const struct xdivert *s,
		const struct variant *v, int bank)
{
	__u32 stage;
	int i, rc = 0;

	for (i = 1; i < chain->count && !rc; i++) {
		stage = chain_stage(v, bank, i - 1);
		rc = bpf_map_update_elem(stages_of(s, v), &stage, &chain->fd[i],
					 BPF_ANY);
	}
	return rc;
}

int chain_start(const struct chain *chain, const struct xdivert *s,
		const struct variant *v)
{
	__u32 stage = v->stage;
	int rc;

	if (chain->count)
		return bpf_map_update_elem(stages_of(s, v), &stage,
					   &chain->fd[0], BPF_ANY);
	rc = bpf_map_delete_elem(stages_of(s, v), &stage);
	return rc == -ENOENT ? 0 : rc;
}

bool bank_used(const struct xdivert *s, int bank)
{
	__u32 stage, id;
	int i;

	for (i = 0; i < VARIANTS; i++) {
		stage = chain_stage(&variants[i], bank, 0);
		if (!bpf_map_lookup_elem(stages_of(s, &variants[i]), &stage,
					 &id))
			return true;
	}
	return false;
}

void bank_clear(const struct xdivert *s, int bank)
{
	__u32 stage;
	int i, j;

	for (i = 0; i < VARIANTS; i++) {
		for (j = 0; j < XDV_CHAIN_MAX; j++) {
			stage = chain_stage(&variants[i], bank, j);
			bpf_map_delete_elem(stages_of(s, &variants[i]), &stage);
		}
	}
}
