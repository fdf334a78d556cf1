// SPDX-License-Identifier: BSD-2-Clause
/*
 * Each group has two tables. The first is asked before the FIB: it knows
 * nothing of layer and egress, so what it finds is a candidate. If the FIB
 * disagrees, the second is asked, where both are part of the key.
 *
 * What loads and compares the words of a packet is a classic program, that
 * leaves them in M[], and the translator's business from there on.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "index.h"
#include "insn.h"

#define GROUPS_MAX  16
/* One lookup costs what running about as many rules does. */
#define GROUP_MIN   6
#define WORDS_MAX   BPF_MEMWORDS
#define CLASSIC_MAX 96

#define SCRATCH(field) ((int)offsetof(struct xdv_scratch, field))
#define MATCH(field)   ((int)offsetof(struct match, field))

/* What the paths of a group have in common. */
struct shape {
	struct path path; /* values are zero */
	bool iif, oif;	  /* the rule names one */
};

struct group {
	struct shape shape;
	int members;
	__u32 first;		 /* lowest position */
	bool fixed[PATH_TESTS];	 /* all members ask for that value ... */
	__u32 value[PATH_TESTS]; /* ... which is this */
	int words;		 /* of the packet, in the key */
	int map[2];		 /* by settled */
};

static struct shape shape_of(const struct candidate *c, const struct path *path)
{
	struct shape shape = {
		.path = *path, .iif = c->iif != 0, .oif = c->oif != 0};
	int i;

	for (i = 0; i < path->tests; i++)
		shape.path.test[i].value = 0;
	return shape;
}

static struct group *find(struct index *index, const struct shape *shape)
{
	int i;

	for (i = 0; i < index->count; i++)
		if (!memcmp(&index->groups[i].shape, shape, sizeof(*shape)))
			return &index->groups[i];
	return NULL;
}

/* Note which words differ between the members. */
static void join(struct group *g, const struct candidate *c,
		 const struct path *path)
{
	int i;

	for (i = 0; i < path->tests; i++) {
		if (!g->members) {
			g->fixed[i] = true;
			g->value[i] = path->test[i].value;
		} else if (g->value[i] != path->test[i].value) {
			g->fixed[i] = false;
		}
	}
	if (!g->members++ || c->position < g->first)
		g->first = c->position;
}

static int collect(struct index *index, const struct candidate *c)
{
	struct group *g, *more;
	struct shape shape;
	int i;

	for (i = 0; c->paths && i < c->path_count; i++) {
		shape = shape_of(c, &c->paths[i]);
		g = find(index, &shape);
		if (!g) {
			more = realloc(index->groups,
				       (index->count + 1) * sizeof(*more));
			if (!more)
				return -ENOMEM;
			index->groups = more;
			g = &more[index->count++];
			*g = (struct group){.shape = shape, .map = {-1, -1}};
		}
		join(g, c, &c->paths[i]);
	}
	return 0;
}

static void forget_paths(struct candidate *c)
{
	free(c->paths);
	c->paths = NULL;
	c->path_count = 0;
}

/* Run the rules that have a path in the group instead. */
static void disband(const struct group *g, struct candidate *rules, int n)
{
	struct shape shape;
	int i, j;

	for (i = 0; i < n; i++) {
		for (j = 0; j < rules[i].path_count; j++) {
			shape = shape_of(&rules[i], &rules[i].paths[j]);
			if (memcmp(&shape, &g->shape, sizeof(shape)))
				continue;
			forget_paths(&rules[i]);
		}
	}
}

static int collect_all(struct index *index, const struct candidate *rules,
		       int n)
{
	int i, rc = 0;

	index->count = 0;
	for (i = 0; i < n && !rc; i++)
		rc = collect(index, &rules[i]);
	return rc;
}

static const struct group *smallest(const struct index *index)
{
	const struct group *g = index->groups;
	int i;

	for (i = 1; i < index->count; i++)
		if (index->groups[i].members < g->members)
			g = &index->groups[i];
	return g;
}

/* Keep the groups that are worth a lookup for each packet. */
static int form(struct index *index, struct candidate *rules, int n)
{
	int rc = collect_all(index, rules, n);

	while (!rc && index->count &&
	       (smallest(index)->members < GROUP_MIN ||
		index->count > GROUPS_MAX)) {
		disband(smallest(index), rules, n);
		rc = collect_all(index, rules, n);
	}
	return rc;
}

/* Room for what the key has beside the packet's words. */
static int extra_words(const struct group *g, bool settled)
{
	return g->shape.iif + (settled ? 1 + g->shape.oif : 0);
}

static void choose_words(struct group *g)
{
	int i, last = g->shape.path.tests - 1;

	g->words = 0;
	for (i = 0; i <= last; i++) {
		/* A key is never empty. */
		if (i == last && !g->words)
			g->fixed[i] = false;
		g->words += !g->fixed[i];
	}
}

static int make_map(struct group *g, bool settled)
{
	__u32 size = 4 * (g->words + extra_words(g, settled));

	g->map[settled] =
		bpf_map_create(BPF_MAP_TYPE_HASH, "xdv_index", size,
			       sizeof(struct match), g->members, NULL);
	return g->map[settled] < 0 ? g->map[settled] : 0;
}

/* M[k] of the classic program, as the program around it finds it in memory. */
static void set_word(__u32 *key, int words, int k, __u32 value)
{
	key[words - 1 - k] = value;
}

static int insert(const struct group *g, const struct candidate *c,
		  const struct path *path, bool settled)
{
	int words = g->words + extra_words(g, settled), k = 0, i, rc;
	struct match match = {
		.position = c->position,
		.rule = c->rule->id,
		.slot = c->rule->slot,
		.oif = c->oif,
		.layer = c->rule->layer,
	};
	__u32 key[WORDS_MAX] = {0};

	for (i = 0; i < path->tests; i++)
		if (!g->fixed[i])
			set_word(key, words, k++, path->test[i].value);
	if (g->shape.iif)
		set_word(key, words, k++, c->iif);
	if (settled)
		set_word(key, words, k++, c->rule->layer);
	if (settled && g->shape.oif)
		set_word(key, words, k++, c->oif);
	/* Rules come in order: what is there already wins. */
	rc = bpf_map_update_elem(g->map[settled], key, &match, BPF_NOEXIST);
	return rc == -EEXIST ? 0 : rc;
}

static int fill(struct index *index, const struct candidate *c)
{
	struct shape shape;
	struct group *g;
	int i, rc = 0;

	for (i = 0; i < c->path_count && !rc; i++) {
		shape = shape_of(c, &c->paths[i]);
		g = find(index, &shape);
		rc = insert(g, c, &c->paths[i], false);
		rc = rc ? rc : insert(g, c, &c->paths[i], true);
	}
	return rc;
}

/* A rule that accepts everything, or whose key would not fit, is run. */
static void refuse_unfit(struct candidate *c)
{
	int i;

	for (i = 0; i < c->path_count; i++)
		if (!c->paths[i].tests || c->paths[i].tests + 3 > WORDS_MAX) {
			forget_paths(c);
			return;
		}
}

static int by_first(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

int index_build(struct index *index, struct candidate *rules, int n)
{
	int i, rc;

	*index = (struct index){0};
	for (i = 0; i < n; i++)
		refuse_unfit(&rules[i]);
	rc = form(index, rules, n);
	if (index->count)
		qsort(index->groups, index->count, sizeof(*index->groups),
		      by_first);
	for (i = 0; i < index->count && !rc; i++) {
		choose_words(&index->groups[i]);
		rc = make_map(&index->groups[i], false);
		rc = rc ? rc : make_map(&index->groups[i], true);
	}
	for (i = 0; i < n && !rc; i++)
		rc = fill(index, &rules[i]);
	return rc;
}

void index_free(struct index *index)
{
	int i, j;

	for (i = 0; i < index->count; i++)
		for (j = 0; j < 2; j++)
			if (index->groups[i].map[j] >= 0)
				close(index->groups[i].map[j]);
	free(index->groups);
	*index = (struct index){0};
}

/* ---- the program ---- */

struct classic {
	struct pcap_bpf_insn insn[CLASSIC_MAX];
	int count;
	unsigned int base; /* what X holds */
};

static void put(struct classic *c, unsigned int code, __u32 k)
{
	c->insn[c->count++] = (struct pcap_bpf_insn){.code = code, .k = k};
}

static void put_load(struct classic *c, const struct load *load)
{
	unsigned int size = load->size == 4   ? BPF_W
			    : load->size == 2 ? BPF_H
					      : BPF_B;

	if (load->base && load->base != c->base) {
		put(c, BPF_LDX | BPF_B | BPF_MSH, load->base - 1);
		c->base = load->base;
	}
	put(c, BPF_LD | size | (load->base ? BPF_IND : BPF_ABS), load->offset);
}

static void put_test(struct classic *c, const struct test *t)
{
	put_load(c, &t->load);
	if (t->mask << (32 - 8 * t->load.size) !=
	    0xffffffff << (32 - 8 * t->load.size))
		put(c, BPF_ALU | BPF_AND | BPF_K, t->mask);
}

/* Loads beyond the packet's end end the program: it need not be compared. */
static void put_reaches(struct classic *c, const struct path *path)
{
	int i, j;

	for (i = 0; i < path->reaches; i++) {
		const struct reach *r = &path->reach[i];
		struct load last = {r->end - 1, 1, r->base};
		bool covered = false;

		for (j = 0; j < path->tests; j++)
			covered |= path->test[j].load.base == r->base &&
				   path->test[j].load.offset +
						   path->test[j].load.size >=
					   r->end;
		if (!covered)
			put_load(c, &last);
	}
}

/* Compare what is the same for all members, keep the rest in M[]. */
static void put_group(struct classic *c, const struct group *g)
{
	const struct path *path = &g->shape.path;
	int pass, i, k = 0;

	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < path->tests; i++) {
			if (g->fixed[i] != !pass)
				continue;
			put_test(c, &path->test[i]);
			if (g->fixed[i])
				put(c, BPF_JMP | BPF_JEQ | BPF_K, g->value[i]);
			else
				put(c, BPF_ST, k++);
		}
	}
	put_reaches(c, path);
	put(c, BPF_RET | BPF_K, 1);
	put(c, BPF_RET | BPF_K, 0);
	for (i = 0; i < c->count; i++)
		if (BPF_CLASS(c->insn[i].code) == BPF_JMP)
			c->insn[i].jf = c->count - 2 - i;
}

static void emit_word(struct insns *is, int k, int field)
{
	insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, field));
	insns_add(is,
		  INSN_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1, FILTER_MEM(k)));
}

static void emit_lookup(struct insns *is, const struct group *g, bool settled)
{
	int k = g->words;

	if (g->shape.iif)
		emit_word(is, k++, SCRATCH(iif));
	if (settled)
		emit_word(is, k++, SCRATCH(layer));
	if (settled && g->shape.oif)
		emit_word(is, k++, SCRATCH(oif));
	insn_ld_map_fd(is, BPF_REG_1, g->map[settled]);
	insns_add(is, INSN_MOV64_REG(BPF_REG_2, BPF_REG_10));
	insns_add(is, INSN_ALU64_IMM(BPF_ADD, BPF_REG_2, FILTER_MEM(k - 1)));
	insns_add(is, INSN_CALL(BPF_FUNC_map_lookup_elem));
}

static void emit_copy(struct insns *is, int from, int to)
{
	insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_0, from));
	insns_add(is, INSN_STX_MEM(BPF_W, BPF_REG_9, BPF_REG_1, to));
}

void match_emit(struct insns *is)
{
	emit_copy(is, MATCH(position), SCRATCH(position));
	emit_copy(is, MATCH(rule), SCRATCH(rule));
	emit_copy(is, MATCH(slot), SCRATCH(slot));
	emit_copy(is, MATCH(oif), SCRATCH(want_oif));
	emit_copy(is, MATCH(layer), SCRATCH(want_layer));
}

static void land(struct insns *is, size_t jump)
{
	if (!is->error)
		is->insn[jump].off = is->count - jump - 1;
}

static size_t add_jump(struct insns *is, struct bpf_insn insn)
{
	insns_add(is, insn);
	return is->count - 1;
}

static int emit_group(const struct group *g, enum filter_view view,
		      bool settled, struct insns *is)
{
	struct classic c = {.count = 0};
	struct bpf_program program = {.bf_insns = c.insn};
	size_t better, reject, miss, worse;
	int rc;

	put_group(&c, g);
	program.bf_len = c.count;
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(position)));
	better = add_jump(is, INSN_JMP32_IMM(BPF_JLE, BPF_REG_1, g->first, 0));
	rc = filter_translate(&program, view, is);
	if (rc)
		return rc;
	reject = add_jump(is, INSN_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 0));
	emit_lookup(is, g, settled);
	miss = add_jump(is, INSN_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 0));
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_0, MATCH(position)));
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_2, BPF_REG_9, SCRATCH(position)));
	worse = add_jump(is, INSN_JMP_REG(BPF_JGE, BPF_REG_1, BPF_REG_2, 0));
	match_emit(is);
	land(is, better);
	land(is, reject);
	land(is, miss);
	land(is, worse);
	return is->error;
}

int index_emit(const struct index *index, enum filter_view view, bool settled,
	       struct insns *is)
{
	int i, rc = 0;

	for (i = 0; i < index->count && !rc; i++)
		rc = emit_group(&index->groups[i], view, settled, is);
	return rc;
}
