// SPDX-License-Identifier: BSD-2-Clause
/*
 * From rules to what the hooks run. The new programs are loaded beside the old
 * ones; a packet takes the old set or the new one, for the first program of
 * each is replaced last, and the old one's others stay until no packet can be
 * on its way through them.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "ask.h"
#include "error.h"
#include "program.h"
#include "ruleset.h"
#include "set.h"

/* The rules as one link type shows them. */
struct compiled {
	struct candidate *list;
	int n;
	struct index index;
};

int ruleset_resolve(const char *name, uint32_t *ifindex)
{
	*ifindex = *name ? if_nametoindex(name) : 0;
	if (*name && !*ifindex)
		return error_set(-ENODEV, "%s: no such interface", name);
	return 0;
}

/* The rules of a change, and what they refer to. */
struct task {
	struct xdivert *s;
	const struct xdv_rule *rules;
	int n;
	bool reload;
	struct sets sets;
};

static int find_sets(struct task *t, struct candidate *c)
{
	const struct xdv_rule *rule = c->rule;

	if (*rule->src_set) {
		c->source = sets_get(&t->sets, t->s, rule->src_set, t->reload);
		if (!c->source)
			return -EINVAL;
	}
	if (*rule->dst_set) {
		c->destination =
			sets_get(&t->sets, t->s, rule->dst_set, t->reload);
		if (!c->destination)
			return -EINVAL;
	}
	return 0;
}

static int compile_rule(struct task *t, struct candidate *c, int link_type)
{
	int rc;

	/* A rule whose interface has gone can match nothing. */
	if (ruleset_resolve(c->rule->iif, &c->iif) ||
	    ruleset_resolve(c->rule->oif, &c->oif)) {
		c->gone = true;
		return 0;
	}
	rc = filter_compile_rule(c->rule, link_type, &c->classic);
	/* Nor can one that asks for link headers where there are none. */
	c->gone = rc && link_type != DLT_EN10MB;
	if (rc)
		return c->gone ? 0 : rc;
	/* Nor one about datagrams that only user space sees. */
	if (c->rule->fragment == XDV_FRAGMENT_WHOLE) {
		c->gone = true;
		return 0;
	}
	if (*c->rule->src_set || *c->rule->dst_set)
		return find_sets(t, c);
	rc = paths_find(&c->classic, &c->paths);
	if (rc >= 0)
		c->path_count = rc;
	/* A filter that nothing can pass. */
	c->gone = !rc;
	return rc == -ENOMEM ? error_set(rc, "out of memory") : 0;
}

static void compiled_free(struct compiled *c)
{
	int i;

	for (i = 0; i < c->n; i++) {
		free(c->list[i].paths);
		pcap_freecode(&c->list[i].classic);
	}
	free(c->list);
	index_free(&c->index);
}

static int compile(struct task *t, struct compiled *c, int link_type)
{
	int i, n = t->n, rc = 0;

	*c = (struct compiled){.list = calloc(n + 1, sizeof(*c->list))};
	if (!c->list)
		return error_set(-ENOMEM, "out of memory");
	for (i = 0; i < n && !rc; i++) {
		c->list[i].rule = &t->rules[i];
		c->list[i].position = i;
		c->n = i + 1;
		rc = compile_rule(t, &c->list[i], link_type);
	}
	if (rc)
		return rc;
	rc = index_build(&c->index, c->list, n);
	return rc ? error_set(rc, "cannot make the rules' index: %s",
			      strerror(-rc))
		  : 0;
}

/* Load what each hook in use needs. */
static int load_chains(struct task *t, struct chain *chain, int bank)
{
	struct compiled ethernet = {0}, raw = {0};
	const struct xdivert *s = t->s;
	const struct variant *v;
	int i, rc = compile(t, &ethernet, DLT_EN10MB);
	struct compiled *c;

	for (i = 0; i < VARIANTS && !rc; i++) {
		v = &variants[i];
		if (!variant_needed(s, v))
			continue;
		c = v->link_type == DLT_EN10MB ? &ethernet : &raw;
		if (!c->list)
			rc = compile(t, c, v->link_type);
		rc = rc ? rc
			: chain_load(&chain[i], s, v, bank, c->list, t->n,
				     &c->index);
	}
	compiled_free(&ethernet);
	compiled_free(&raw);
	return rc;
}

/* Until no CPU runs what was reachable before. Replacing a map in a map waits
 * for the same, on kernels that refuse the barrier (nohz_full).
 */
static int wait_for_packets(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	int inner, outer, rc;
	__u32 zero = 0;

	if (!syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		return 0;
	inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "xdv_wait", 4, 4, 1, NULL);
	opts.inner_map_fd = inner;
	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "xdv_wait", 4, 4, 1,
			       &opts);
	rc = bpf_map_update_elem(outer, &zero, &inner, BPF_ANY);
	close(outer);
	close(inner);
	return rc;
}

/* Make the bank empty, which a process that was killed may have left full. */
static int empty_bank(const struct xdivert *s, int bank)
{
	int rc;

	if (!bank_used(s, bank))
		return 0;
	rc = wait_for_packets();
	if (rc)
		return error_set(rc, "cannot wait for packets under way: %s",
				 strerror(-rc));
	bank_clear(s, bank);
	return 0;
}

static int install(struct xdivert *s, struct chain *chain, int bank)
{
	int i, rc = 0;

	for (i = 0; i < VARIANTS && !rc; i++)
		rc = chain_place(&chain[i], s, &variants[i], bank);
	for (i = 0; i < VARIANTS && !rc; i++)
		rc = chain_start(&chain[i], s, &variants[i]);
	return rc ? error_set(rc, "cannot replace the rules' programs: %s",
			      strerror(-rc))
		  : 0;
}

int ruleset_install(struct xdivert *s, const struct xdv_rule *rules, int n,
		    bool reload)
{
	struct task task = {s, rules, n, reload, {0}};
	int old = s->shared->bank & 1, new = 1 - old, i, rc;
	struct chain chain[VARIANTS] = {0};

	rc = empty_bank(s, new);
	if (!rc && n)
		rc = load_chains(&task, chain, new);
	rc = rc ? rc : install(s, chain, new);
	if (!rc) {
		s->shared->bank = new;
		s->shared->fragments = ask_fragments(rules, n);
		sets_keep(&task.sets, s);
	}
	sets_close(&task.sets);
	for (i = 0; i < VARIANTS; i++)
		chain_close(&chain[i]);
	/* What cannot be emptied now is before it is used again. */
	if (!rc)
		empty_bank(s, old);
	return rc;
}
