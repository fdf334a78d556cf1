// SPDX-License-Identifier: BSD-2-Clause
/*
 * One eBPF program tries the rules in order and tail-calls the hook's divert
 * stage for the first that matches. Replacing it in its slot replaces the
 * whole set at once: a packet sees the old set or the new one. There is a
 * variant of it for each shape in which a hook sees a packet.
 *
 * Registers: r6 ctx, r7 data, r8 data_end, r9 struct xdv_scratch.
 */
#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/pkt_cls.h>

#include "error.h"
#include "filter.h"
#include "insn.h"
#include "ruleset.h"
#include "state.h"

#define SCRATCH(field) ((int)offsetof(struct xdv_scratch, field))

/* A program made from the rules. */
struct variant {
	const char *name;
	enum bpf_prog_type type;
	bool tc;
	__u32 stage;
	int link_type;
	enum filter_view view;
	int data, data_end; /* in the context */
	int pass;
};

#define XDP_VARIANT                                                            \
	.type = BPF_PROG_TYPE_XDP, .pass = XDP_PASS,                           \
	.data = offsetof(struct xdp_md, data),                                 \
	.data_end = offsetof(struct xdp_md, data_end)
#define TC_VARIANT                                                             \
	.type = BPF_PROG_TYPE_SCHED_CLS, .tc = true, .pass = TC_ACT_UNSPEC,    \
	.data = offsetof(struct __sk_buff, data),                              \
	.data_end = offsetof(struct __sk_buff, data_end)

static const struct variant variants[] = {
	{"xdv_xdp_rules", XDP_VARIANT, .stage = XDV_STAGE_RULES,
	 .link_type = DLT_EN10MB, .view = FILTER_XDP},
	{"xdv_tc_rules", TC_VARIANT, .stage = XDV_STAGE_RULES,
	 .link_type = DLT_EN10MB, .view = FILTER_SKB},
	{"xdv_tc_tagged", TC_VARIANT, .stage = XDV_STAGE_RULES_TAGGED,
	 .link_type = DLT_EN10MB, .view = FILTER_SKB_TAGGED},
	{"xdv_tc_raw", TC_VARIANT, .stage = XDV_STAGE_RULES_RAW,
	 .link_type = DLT_RAW, .view = FILTER_SKB},
};

#define VARIANTS (sizeof(variants) / sizeof(*variants))

static int stages_of(const struct xdivert *s, const struct variant *v)
{
	return v->tc ? s->tc_stages : s->stages;
}

/* The TC hook is in use once it has its divert stage. */
static bool needed(const struct xdivert *s, const struct variant *v)
{
	__u32 stage = XDV_STAGE_DIVERT, id;

	return !v->tc || !bpf_map_lookup_elem(s->tc_stages, &stage, &id);
}

static int by_priority(const void *a, const void *b)
{
	const struct xdv_rule *x = a, *y = b;

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	return x->id < y->id ? -1 : 1;
}

static void emit_prologue(struct insns *is, const struct xdivert *s,
			  const struct variant *v)
{
	insns_add(is, INSN_MOV64_REG(BPF_REG_6, BPF_REG_1));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_10, -4, 0));
	insn_ld_map_fd(is, BPF_REG_1, s->scratch);
	insns_add(is, INSN_MOV64_REG(BPF_REG_2, BPF_REG_10));
	insns_add(is, INSN_ALU64_IMM(BPF_ADD, BPF_REG_2, -4));
	insns_add(is, INSN_CALL(BPF_FUNC_map_lookup_elem));
	insns_add(is, INSN_JMP_IMM(BPF_JNE, BPF_REG_0, 0, 2));
	insns_add(is, INSN_MOV64_IMM(BPF_REG_0, v->pass));
	insns_add(is, INSN_EXIT());
	insns_add(is, INSN_MOV64_REG(BPF_REG_9, BPF_REG_0));
	insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_7, BPF_REG_6, v->data));
	insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_8, BPF_REG_6, v->data_end));
}

/* A packet that comes back from another set's program starts anew. */
static void emit_generation(struct insns *is, __u32 generation)
{
	insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9,
				   SCRATCH(generation)));
	insns_add(is, INSN_JMP32_IMM(BPF_JEQ, BPF_REG_1, generation, 1));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(start), 0));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(generation),
				  generation));
}

/* Remember a jump whose distance is known only at the rule's end. */
struct fixups {
	size_t at[8];
	int count;
};

static void emit_skip(struct insns *is, struct fixups *f, struct bpf_insn jump)
{
	f->at[f->count++] = is->count;
	insns_add(is, jump);
}

static void emit_match(struct insns *is, const struct xdivert *s,
		       const struct variant *v, const struct xdv_rule *rule,
		       __u32 position, __u32 oif)
{
	__u32 id = rule->id;

	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(rule), id));
	insns_add(is,
		  INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(position), position));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(want_oif), oif));
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_9, SCRATCH(want_layer),
				  rule->layer));
	insns_add(is, INSN_MOV64_REG(BPF_REG_1, BPF_REG_6));
	insn_ld_map_fd(is, BPF_REG_2, stages_of(s, v));
	insns_add(is, INSN_MOV64_IMM(BPF_REG_3, XDV_STAGE_DIVERT));
	insns_add(is, INSN_CALL(BPF_FUNC_tail_call));
	insns_add(is, INSN_MOV64_IMM(BPF_REG_0, v->pass));
	insns_add(is, INSN_EXIT());
}

/* The interface a rule names must exist; none is ifindex 0. */
static int resolve(const char *name, __u32 *ifindex)
{
	*ifindex = *name ? if_nametoindex(name) : 0;
	if (*name && !*ifindex)
		return error_set(-ENODEV, "%s: no such interface", name);
	return 0;
}

static int emit_filter(struct insns *is, const struct variant *v,
		       const struct xdv_rule *rule,
		       const struct bpf_program *classic)
{
	int rc = filter_translate(classic, v->view, is);

	return rc ? error_set(rc, "'%s' is not supported here: %s",
			      rule->filter, strerror(-rc))
		  : 0;
}

static int emit_rule(struct insns *is, const struct xdivert *s,
		     const struct variant *v, const struct xdv_rule *rule,
		     __u32 position)
{
	struct bpf_program classic;
	struct fixups f = {.count = 0};
	__u32 iif, oif;
	int rc, i;

	/* A rule whose interface has gone can match nothing. */
	if (resolve(rule->iif, &iif) || resolve(rule->oif, &oif))
		return 0;
	rc = filter_compile(rule->filter, v->link_type, &classic);
	/* Nor can one that asks for link headers where there are none. */
	if (rc)
		return v->link_type == DLT_EN10MB ? rc : 0;
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(start)));
	emit_skip(is, &f, INSN_JMP32_IMM(BPF_JGT, BPF_REG_1, position, 0));
	if (iif) {
		insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9,
					   SCRATCH(iif)));
		emit_skip(is, &f, INSN_JMP32_IMM(BPF_JNE, BPF_REG_1, iif, 0));
	}
	/* A packet that came back from xdv_xdp_divert: the FIB is known. */
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(fib_done)));
	insns_add(is, INSN_JMP32_IMM(BPF_JEQ, BPF_REG_1, 0, oif ? 4 : 2));
	insns_add(is,
		  INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9, SCRATCH(layer)));
	emit_skip(is, &f, INSN_JMP32_IMM(BPF_JNE, BPF_REG_1, rule->layer, 0));
	if (oif) {
		insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_9,
					   SCRATCH(oif)));
		emit_skip(is, &f, INSN_JMP32_IMM(BPF_JNE, BPF_REG_1, oif, 0));
	}
	rc = emit_filter(is, v, rule, &classic);
	pcap_freecode(&classic);
	if (rc)
		return rc;
	emit_skip(is, &f, INSN_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 0));
	emit_match(is, s, v, rule, position, oif);
	for (i = 0; i < f.count && !is->error; i++) {
		if (is->count - f.at[i] - 1 > INT16_MAX)
			return error_set(-E2BIG, "'%s' is too long",
					 rule->filter);
		is->insn[f.at[i]].off = is->count - f.at[i] - 1;
	}
	return is->error;
}

static int load(struct insns *is, const struct variant *v)
{
	static char log[1 << 20];
	/* A tail call needs its caller's attach type; see create() in state.c.
	 */
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = 0);
	int fd;

	if (getenv("XDIVERT_DEBUG")) {
		opts.log_buf = log;
		opts.log_size = sizeof(log);
		opts.log_level = 1;
	}
	fd = bpf_prog_load(v->type, v->name, "GPL", is->insn, is->count, &opts);
	fputs(log, stderr);
	if (fd < 0)
		return error_set(fd,
				 "the kernel refuses the rules' program (%zu "
				 "instructions): %s",
				 is->count, strerror(-fd));
	return fd;
}

static int compile(const struct xdivert *s, const struct variant *v,
		   const struct xdv_rule *rules, int n)
{
	struct insns is = {0};
	int i, rc = 0;

	emit_prologue(&is, s, v);
	emit_generation(&is, (__u32)s->shared->generation);
	for (i = 0; i < n && !rc; i++)
		rc = emit_rule(&is, s, v, &rules[i], i);
	insns_add(&is, INSN_MOV64_IMM(BPF_REG_0, v->pass));
	insns_add(&is, INSN_EXIT());
	if (!rc && is.error)
		rc = error_set(is.error, "%s", strerror(-is.error));
	if (!rc)
		rc = load(&is, v);
	insns_free(&is);
	return rc;
}

/* All rules but one (0: all) in the order in which they are tried. */
static int read_rules(const struct xdivert *s, __u32 without,
		      struct xdv_rule **rules)
{
	struct xdv_rule *r = calloc(XDV_MAX_RULES, sizeof(*r));
	__u32 key, *previous = NULL;
	int n = 0;

	if (!r)
		return -ENOMEM;
	while (n < XDV_MAX_RULES &&
	       !bpf_map_get_next_key(s->rules, previous, &key)) {
		previous = &key;
		if (key != without &&
		    !bpf_map_lookup_elem(s->rules, &key, &r[n]))
			n++;
	}
	qsort(r, n, sizeof(*r), by_priority);
	*rules = r;
	return n;
}

int xdivert_rules(struct xdivert *x, struct xdv_rule **list)
{
	return read_rules(x, 0, list);
}

static void bump(struct xdivert *s)
{
	__atomic_fetch_add(&s->shared->generation, 1, __ATOMIC_SEQ_CST);
}

static int remove_programs(struct xdivert *s)
{
	int rc = 0, one;
	size_t i;

	for (i = 0; i < VARIANTS; i++) {
		one = bpf_map_delete_elem(stages_of(s, &variants[i]),
					  &variants[i].stage);
		if (one && one != -ENOENT)
			rc = one;
	}
	return rc;
}

static int put_program(struct xdivert *s, const struct variant *v, int fd)
{
	int rc = bpf_map_update_elem(stages_of(s, v), &v->stage, &fd, BPF_ANY);

	return rc ? error_set(rc, "cannot replace the rules' program: %s",
			      strerror(-rc))
		  : 0;
}

/* All of them compile, or none changes. */
static int replace_programs(struct xdivert *s, const struct xdv_rule *rules,
			    int n)
{
	const struct variant *v;
	int fd[VARIANTS], rc = 0;
	size_t i, made;

	for (made = 0; made < VARIANTS && !rc; made++) {
		v = &variants[made];
		fd[made] = needed(s, v) ? compile(s, v, rules, n) : -ENOENT;
		if (fd[made] < 0 && fd[made] != -ENOENT)
			rc = fd[made];
	}
	for (i = 0; i < made; i++) {
		v = &variants[i];
		if (fd[i] < 0)
			continue;
		if (!rc)
			rc = put_program(s, v, fd[i]);
		close(fd[i]);
	}
	return rc;
}

/* Compile what xdv_rules holds, but one, and swap it in. */
static int swap(struct xdivert *s, __u32 without)
{
	struct xdv_rule *rules;
	int n, rc;

	n = read_rules(s, without, &rules);
	if (n < 0)
		return error_set(n, "out of memory");
	/* The daemon must know a rule before a packet can match it. */
	bump(s);
	rc = n ? replace_programs(s, rules, n) : remove_programs(s);
	free(rules);
	return rc;
}

static int find(const struct xdivert *s, const char *name,
		struct xdv_rule *rule)
{
	__u32 key, *previous = NULL;

	while (!bpf_map_get_next_key(s->rules, previous, &key)) {
		previous = &key;
		if (!bpf_map_lookup_elem(s->rules, &key, rule) &&
		    !strcmp(rule->name, name))
			return 0;
	}
	return -ENOENT;
}

static int check_actions(const struct xdv_rule *rule)
{
	char actions[sizeof(rule->actions)], *line, *rest = actions;
	struct xdivert_callout *callout;
	int rc, n = 0;

	memcpy(actions, rule->actions, sizeof(actions));
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		if (n++ == XDV_MAX_CALLOUTS)
			return error_set(-E2BIG, "%d callouts are the most",
					 XDV_MAX_CALLOUTS);
		rc = xdivert_callout_parse(line, &callout);
		if (rc)
			return rc;
		xdivert_callout_free(callout);
	}
	return 0;
}

/* A name that a shell and a listing take as one word. */
static bool good_name(const char *name)
{
	return *name && name[strspn(name, "abcdefghijklmnopqrstuvwxyz"
					  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					  "0123456789_.-")] == 0;
}

static int check(const struct xdivert *s, const struct xdv_rule *rule)
{
	struct xdv_rule other;
	__u32 ifindex;
	int rc;

	if (!good_name(rule->name))
		return error_set(
			-EINVAL,
			"a rule's name is made of letters, digits and _ . -");
	if (!find(s, rule->name, &other))
		return error_set(-EEXIST, "rule '%s' exists already",
				 rule->name);
	rc = resolve(rule->iif, &ifindex);
	rc = rc ? rc : resolve(rule->oif, &ifindex);
	rc = rc ? rc : resolve(rule->to, &ifindex);
	return rc ? rc : check_actions(rule);
}

static int add(struct xdivert *s, struct xdv_rule *rule)
{
	int rc = check(s, rule);

	if (rc)
		return rc;
	if (!rule->layer)
		rule->layer = XDV_LAYER_FORWARD;
	rule->id = ++s->shared->next_rule;
	rc = bpf_map_update_elem(s->rules, &rule->id, rule, BPF_NOEXIST);
	if (rc)
		return error_set(rc, "cannot store the rule: %s",
				 rc == -E2BIG ? "512 rules are the most"
					      : strerror(-rc));
	rc = swap(s, 0);
	if (rc)
		bpf_map_delete_elem(s->rules, &rule->id);
	return rc;
}

/* The hook forgets a rule before the daemon does. */
static int del(struct xdivert *s, const char *name)
{
	struct xdv_rule rule;
	int rc;

	if (find(s, name, &rule))
		return error_set(-ENOENT, "no rule '%s'", name);
	rc = swap(s, rule.id);
	if (rc)
		return rc;
	rc = bpf_map_delete_elem(s->rules, &rule.id);
	bump(s);
	if (!rc)
		return 0;
	swap(s, 0);
	return error_set(rc, "cannot delete rule '%s': %s", name,
			 strerror(-rc));
}

int ruleset_flush(struct xdivert *s)
{
	int rc = remove_programs(s);
	__u32 key;

	if (rc)
		return error_set(rc, "cannot remove the rules' program: %s",
				 strerror(-rc));
	rc = 0;
	while (!rc && !bpf_map_get_next_key(s->rules, NULL, &key))
		rc = bpf_map_delete_elem(s->rules, &key);
	bump(s);
	return rc ? error_set(rc, "cannot delete every rule: %s", strerror(-rc))
		  : 0;
}

static bool names_interfaces(const struct xdivert *s)
{
	__u32 key, *previous = NULL;
	struct xdv_rule rule;

	while (!bpf_map_get_next_key(s->rules, previous, &key)) {
		previous = &key;
		if (!bpf_map_lookup_elem(s->rules, &key, &rule) &&
		    (*rule.iif || *rule.oif || *rule.to))
			return true;
	}
	return false;
}

void ruleset_refresh(struct xdivert *s)
{
	if (names_interfaces(s))
		swap(s, 0);
}

int xdivert_rule_add(struct xdivert *x, struct xdv_rule *rule)
{
	int rc = state_lock(x);

	rc = rc ? rc : add(x, rule);
	state_unlock(x);
	return rc;
}

int xdivert_rule_del(struct xdivert *x, const char *name)
{
	int rc = state_lock(x);

	rc = rc ? rc : del(x, name);
	state_unlock(x);
	return rc;
}

int xdivert_rule_flush(struct xdivert *x)
{
	int rc = state_lock(x);

	rc = rc ? rc : ruleset_flush(x);
	state_unlock(x);
	return rc;
}

uint64_t xdivert_generation(const struct xdivert *x)
{
	return __atomic_load_n(&x->shared->generation, __ATOMIC_ACQUIRE);
}
