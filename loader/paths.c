// SPDX-License-Identifier: BSD-2-Clause
/*
 * Walk a classic program with values that are not known: A and X are loads,
 * constants or something else. A comparison that is not decided by what the
 * walk learned already is taken both ways.
 *
 * "port 80" also has a path on which the source port is not 80 and the
 * destination port is. What is not equal cannot be looked up; but were the
 * source port 80, the program would accept as well, so the condition can go.
 * That is proven by a second walk which starts with all that the path knows
 * to be equal and must end in acceptance everywhere.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "paths.h"

#define UNEQUAL_MAX 64
#define STEPS_MAX   5000 /* of one walk */

enum kind {
	OTHER,
	CONSTANT,
	LOADED,
	HEADER, /* 4 * ([k] & 0xf) */
};

struct value {
	enum kind kind;
	struct load load;
	__u32 mask;  /* LOADED: what was left of it */
	__u32 value; /* CONSTANT; HEADER: k */
};

/* What is known at a point of the program. */
struct state {
	unsigned int pc;
	struct value a, x, memory[BPF_MEMWORDS];
	struct path known;
	struct test unequal[UNEQUAL_MAX];
	int unequals;
};

struct walk {
	const struct bpf_program *program;
	const struct path *proof; /* not NULL: everything must be accepted */
	struct path *found;
	int count;
	int steps;
	bool failed;
};

enum answer {
	NO,
	YES,
	OPEN,
};

static bool same_load(const struct load *a, const struct load *b)
{
	return a->offset == b->offset && a->size == b->size &&
	       a->base == b->base;
}

static struct test *find_known(struct path *known, const struct load *load)
{
	int i;

	for (i = 0; i < known->tests; i++)
		if (same_load(&known->test[i].load, load))
			return &known->test[i];
	return NULL;
}

static enum answer decide(struct state *s, const struct test *t)
{
	const struct test *known = find_known(&s->known, &t->load);
	int i;

	if (t->value & ~t->mask)
		return NO;
	if (known && (known->value ^ t->value) & known->mask & t->mask)
		return NO;
	if (!t->mask || (known && !(t->mask & ~known->mask)))
		return YES;
	for (i = 0; i < s->unequals; i++)
		if (same_load(&s->unequal[i].load, &t->load) &&
		    s->unequal[i].mask == t->mask &&
		    s->unequal[i].value == t->value)
			return NO;
	return OPEN;
}

/* Forget the inequalities that the equalities imply; -1: one contradicts. */
static int weed(struct state *s)
{
	int i, left = 0;

	for (i = 0; i < s->unequals; i++) {
		const struct test *t = &s->unequal[i];
		const struct test *known = find_known(&s->known, &t->load);

		if (known && (known->value ^ t->value) & known->mask & t->mask)
			continue;
		if (known && !(t->mask & ~known->mask))
			return -1;
		s->unequal[left++] = *t;
	}
	s->unequals = left;
	return 0;
}

/* -ENOSPC, or -1: it cannot be. */
static int learn_equal(struct state *s, const struct test *t)
{
	struct test *known = find_known(&s->known, &t->load);

	if (known) {
		known->mask |= t->mask;
		known->value |= t->value;
	} else if (s->known.tests == PATH_TESTS) {
		return -ENOSPC;
	} else {
		s->known.test[s->known.tests++] = *t;
	}
	return weed(s);
}

static int learn_unequal(struct state *s, const struct test *t)
{
	/* A single bit that is not this is the other. */
	if (!(t->mask & (t->mask - 1))) {
		struct test other = *t;

		other.value ^= t->mask;
		return learn_equal(s, &other);
	}
	if (s->unequals == UNEQUAL_MAX)
		return -ENOSPC;
	s->unequal[s->unequals++] = *t;
	return 0;
}

static bool within(const struct path *proof, const struct load *load)
{
	int i;

	for (i = 0; i < proof->reaches; i++)
		if (proof->reach[i].base == load->base)
			return load->offset + load->size <= proof->reach[i].end;
	return false;
}

/* The load succeeds from here on; false: give up. */
static bool extend(struct walk *w, struct state *s, const struct load *load)
{
	struct reach *r = s->known.reach;
	int i;

	if (w->proof)
		return within(w->proof, load);
	for (i = 0; i < s->known.reaches && r[i].base != load->base; i++)
		;
	if (i == PATH_BASES)
		return false;
	if (i == s->known.reaches)
		r[s->known.reaches++].base = load->base;
	if (r[i].end < load->offset + load->size)
		r[i].end = load->offset + load->size;
	return true;
}

static unsigned int size_of(unsigned int code)
{
	return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

static bool load_packet(struct walk *w, struct state *s, unsigned int size,
			__u32 k, bool indirect)
{
	struct load load = {.size = size};

	if (indirect && s->x.kind == CONSTANT)
		k += s->x.value;
	else if (indirect && s->x.kind == HEADER)
		load.base = 1 + s->x.value;
	else if (indirect)
		return false;
	if (k > 0x7fff)
		return false;
	load.offset = k;
	s->a = (struct value){
		.kind = LOADED,
		.load = load,
		.mask = size == 4 ? 0xffffffff : (1u << 8 * size) - 1,
	};
	return extend(w, s, &load);
}

static bool load_header(struct walk *w, struct state *s, __u32 k)
{
	struct load load = {.offset = k, .size = 1};

	if (k > 250)
		return false;
	s->x = (struct value){.kind = HEADER, .value = k};
	return extend(w, s, &load);
}

static struct value constant(__u32 value)
{
	return (struct value){.kind = CONSTANT, .value = value};
}

static bool do_load(struct walk *w, struct state *s, unsigned int code, __u32 k)
{
	bool to_x = BPF_CLASS(code) == BPF_LDX;
	struct value *to = to_x ? &s->x : &s->a;

	switch (BPF_MODE(code)) {
	case BPF_IMM:
		*to = constant(k);
		return true;
	case BPF_MEM:
		*to = s->memory[k % BPF_MEMWORDS];
		return true;
	case BPF_MSH:
		return load_header(w, s, k);
	case BPF_ABS:
	case BPF_IND:
		return load_packet(w, s, size_of(code), k,
				   BPF_MODE(code) == BPF_IND);
	}
	*to = (struct value){.kind = OTHER};
	return true;
}

static void do_alu(struct state *s, unsigned int code, __u32 k)
{
	if (BPF_SRC(code) == BPF_K && BPF_OP(code) == BPF_AND &&
	    s->a.kind == LOADED)
		s->a.mask &= k;
	else if (BPF_SRC(code) == BPF_K && BPF_OP(code) == BPF_AND &&
		 s->a.kind == CONSTANT)
		s->a.value &= k;
	else
		s->a = (struct value){.kind = OTHER};
}

static void explore(struct walk *w, struct state *s);

/* Take one branch with what it says about the packet. */
static void branch(struct walk *w, const struct state *s, unsigned int pc,
		   const struct test *t, bool equal)
{
	struct state next = *s;
	int rc = equal ? learn_equal(&next, t) : learn_unequal(&next, t);

	next.pc = pc;
	if (rc == -ENOSPC)
		w->failed = true;
	else if (!rc)
		explore(w, &next);
}

/* What the comparison asks of the packet, and whether equality is "true". */
static bool to_test(const struct state *s, unsigned int code, __u32 k,
		    struct test *t, bool *equal)
{
	*t = (struct test){s->a.load, s->a.mask, k};
	*equal = true;
	if (s->a.kind != LOADED || BPF_SRC(code) != BPF_K)
		return false;
	if (BPF_OP(code) == BPF_JEQ)
		return true;
	if (BPF_OP(code) != BPF_JSET)
		return false;
	/* Is none of the bits set? */
	t->mask &= k;
	t->value = 0;
	*equal = false;
	return true;
}

static bool compare(unsigned int op, __u32 a, __u32 k)
{
	return op == BPF_JEQ   ? a == k
	       : op == BPF_JGT ? a > k
	       : op == BPF_JGE ? a >= k
			       : a & k;
}

/* Follow a jump as far as it is decided; false: both ways were explored. */
static bool do_jump(struct walk *w, struct state *s, unsigned int code, __u32 k)
{
	const struct pcap_bpf_insn *insn = &w->program->bf_insns[s->pc];
	unsigned int yes = s->pc + 1 + insn->jt, no = s->pc + 1 + insn->jf;
	enum answer answer;
	struct test t;
	bool equal;

	if (BPF_OP(code) == BPF_JA) {
		/* Not around a loop: what it tests is not at one place. */
		w->failed |= k > INT32_MAX;
		s->pc += 1 + k;
		return !w->failed;
	}
	if (s->a.kind == CONSTANT && BPF_SRC(code) == BPF_K) {
		s->pc = compare(BPF_OP(code), s->a.value, k) ? yes : no;
		return true;
	}
	if (yes == no) {
		s->pc = yes;
		return true;
	}
	if (!to_test(s, code, k, &t, &equal)) {
		w->failed = true;
		return false;
	}
	answer = decide(s, &t);
	if (answer != OPEN) {
		s->pc = (answer == YES) == equal ? yes : no;
		return true;
	}
	branch(w, s, equal ? yes : no, &t, true);
	branch(w, s, equal ? no : yes, &t, false);
	return false;
}

static bool prove(const struct walk *w, const struct path *path)
{
	struct walk proof = {.program = w->program, .proof = path};
	struct state s = {.known = *path};

	explore(&proof, &s);
	return !proof.failed;
}

static int by_load(const void *a, const void *b)
{
	const struct load *x = &((const struct test *)a)->load,
			  *y = &((const struct test *)b)->load;

	if (x->base != y->base)
		return x->base - y->base;
	return x->offset != y->offset ? x->offset - y->offset
				      : x->size - y->size;
}

static int by_base(const void *a, const void *b)
{
	return ((const struct reach *)a)->base -
	       ((const struct reach *)b)->base;
}

static void accept_here(struct walk *w, struct state *s)
{
	struct path *path = &s->known;

	if (w->proof)
		return;
	if (w->count == PATHS_MAX || (s->unequals && !prove(w, path))) {
		w->failed = true;
		return;
	}
	qsort(path->test, path->tests, sizeof(*path->test), by_load);
	qsort(path->reach, path->reaches, sizeof(*path->reach), by_base);
	w->found[w->count++] = *path;
}

/* A filter that returns A accepts unless it is 0. */
static void end(struct walk *w, struct state *s, unsigned int code, __u32 k)
{
	if (BPF_RVAL(code) == BPF_A && s->a.kind == CONSTANT)
		k = s->a.value;
	else if (BPF_RVAL(code) != BPF_K)
		w->failed = true;
	if (k)
		accept_here(w, s);
	else if (w->proof)
		w->failed = true;
}

/* One instruction; false at the walk's end. */
static bool step(struct walk *w, struct state *s)
{
	unsigned int code = w->program->bf_insns[s->pc].code;
	__u32 k = w->program->bf_insns[s->pc].k;

	switch (BPF_CLASS(code)) {
	case BPF_LD:
	case BPF_LDX:
		if (!do_load(w, s, code, k))
			w->failed = true;
		break;
	case BPF_ST:
	case BPF_STX:
		s->memory[k % BPF_MEMWORDS] =
			BPF_CLASS(code) == BPF_ST ? s->a : s->x;
		break;
	case BPF_ALU:
		do_alu(s, code, k);
		/* A division by X may end it. */
		if (BPF_OP(code) == BPF_DIV || BPF_OP(code) == BPF_MOD)
			w->failed = true;
		break;
	case BPF_JMP:
		return do_jump(w, s, code, k);
	case BPF_RET:
		end(w, s, code, k);
		return false;
	case BPF_MISC:
		if (BPF_MISCOP(code) == BPF_TAX)
			s->x = s->a;
		else
			s->a = s->x;
		break;
	}
	s->pc++;
	return true;
}

static void explore(struct walk *w, struct state *s)
{
	do {
		if (s->pc >= w->program->bf_len || ++w->steps > STEPS_MAX)
			w->failed = true;
	} while (!w->failed && step(w, s));
}

int paths_find(const struct bpf_program *classic, struct path **paths)
{
	struct walk w = {.program = classic};
	struct state s = {
		.a = constant(0),
		.x = constant(0),
	};
	int i;

	for (i = 0; i < BPF_MEMWORDS; i++)
		s.memory[i] = constant(0);
	w.found = calloc(PATHS_MAX, sizeof(*w.found));
	if (!w.found)
		return -ENOMEM;
	explore(&w, &s);
	if (w.failed) {
		free(w.found);
		return -ENOTSUP;
	}
	*paths = w.found;
	return w.count;
}
