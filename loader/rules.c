// SPDX-License-Identifier: BSD-2-Clause
/*
 * The rules as they were given, in xdv_rules. A change stores what is new
 * beside what is there, has the programs replaced, and keeps what is old for a
 * while: whoever takes a packet from the hook finds the rule that it matched.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "clock.h"
#include "error.h"
#include "ruleset.h"
#include "state.h"

#define RETIREMENT 10000000000ull /* ns */

/* A change: the rules that shall be, and what becomes of those that are. */
struct change {
	struct xdv_rule *rules; /* id 0: new */
	int n;
	struct xdv_rule *old;
	int olds;
	bool reordered;
	bool reload;  /* address sets */
	bool refresh; /* the rules mean the same */
};

static int by_priority(const void *a, const void *b)
{
	const struct xdv_rule *x = a, *y = b;

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int by_id(const void *a, const void *b)
{
	const struct xdv_rule *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* Whoever reads while another one writes may see a rule twice. */
static int drop_twins(struct xdv_rule *r, int n)
{
	int i, left = 0;

	if (n)
		qsort(r, n, sizeof(*r), by_id);
	for (i = 0; i < n; i++)
		if (!left || r[left - 1].id != r[i].id)
			r[left++] = r[i];
	return left;
}

/* All that are kept, in order. */
static int read_rules(const struct xdivert *s, struct xdv_rule **rules)
{
	struct xdv_rule *r = NULL, *more;
	__u32 key, *previous = NULL;
	int n = 0, room = 0;

	while (n < 2 * XDV_RULES_KEPT &&
	       !bpf_map_get_next_key(s->rules, previous, &key)) {
		if (n + 1 >= room) {
			room = room ? 2 * room : 64;
			more = realloc(r, room * sizeof(*r));
			if (!more) {
				free(r);
				return -ENOMEM;
			}
			r = more;
		}
		previous = &key;
		if (!bpf_map_lookup_elem(s->rules, &key, &r[n]))
			n++;
	}
	n = drop_twins(r, n);
	if (n)
		qsort(r, n, sizeof(*r), by_priority);
	*rules = r;
	return n;
}

int xdivert_rules_all(struct xdivert *x, struct xdv_rule **list)
{
	return read_rules(x, list);
}

int xdivert_rules(struct xdivert *x, struct xdv_rule **list)
{
	int i, left = 0, n = read_rules(x, list);

	for (i = 0; i < n; i++)
		if ((*list)[i].state == XDV_RULE_IN_FORCE)
			(*list)[left++] = (*list)[i];
	return n < 0 ? n : left;
}

static void bump(struct xdivert *s)
{
	__atomic_fetch_add(&s->shared->generation, 1, __ATOMIC_SEQ_CST);
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

int rule_check_name(const char *name)
{
	if (*name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz"
					"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					"0123456789_.-")])
		return 0;
	return error_set(-EINVAL, "a rule's name is made of letters, digits "
				  "and _ . -");
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

static int check_fields(const struct xdv_rule *r)
{
	if (!ends(r->name, sizeof(r->name)) || !ends(r->iif, sizeof(r->iif)) ||
	    !ends(r->oif, sizeof(r->oif)) || !ends(r->to, sizeof(r->to)) ||
	    !ends(r->filter, sizeof(r->filter)) ||
	    !ends(r->src_set, sizeof(r->src_set)) ||
	    !ends(r->dst_set, sizeof(r->dst_set)) ||
	    !ends(r->actions, sizeof(r->actions)))
		return error_set(-EINVAL, "a rule's text does not end");
	if (r->layer >= XDV_LAYERS)
		return error_set(-EINVAL, "a rule has no layer %u", r->layer);
	if (r->fragment > XDV_FRAGMENT_WHOLE)
		return error_set(-EINVAL, "no such condition on fragments, %u",
				 r->fragment);
	return 0;
}

/* What the filter asks is checked by compiling it. */
static int check(const struct xdv_rule *rule)
{
	__u32 ifindex, compartment;
	int rc = check_fields(rule);

	rc = rc ? rc : rule_check_name(rule->name);
	rc = rc ? rc : ruleset_resolve(rule->iif, &ifindex);
	rc = rc ? rc : ruleset_resolve(rule->oif, &ifindex);
	if (!rc && *rule->to)
		rc = xdivert_interface_find(rule->to, &compartment, &ifindex);
	return rc ? rc : check_actions(rule);
}

static const struct xdv_rule *find(const struct xdv_rule *rules, int n,
				   const char *name)
{
	int i;

	for (i = 0; i < n; i++)
		if (!strcmp(rules[i].name, name))
			return &rules[i];
	return NULL;
}

/* A row of xdv_hits that no rule has; the longest unused one is likely. */
static int take_slot(const struct xdivert *s, struct xdv_rule *rule, bool *used)
{
	int cpus = libbpf_num_possible_cpus(), rc;
	struct xdv_hits *zero;
	__u32 slot = rule->id;

	if (cpus < 0)
		return cpus;
	while (used[slot % XDV_HITS])
		slot++;
	rule->slot = slot % XDV_HITS;
	used[rule->slot] = true;
	zero = calloc(cpus, sizeof(*zero));
	if (!zero)
		return -ENOMEM;
	rc = bpf_map_update_elem(s->hits, &rule->slot, zero, BPF_ANY);
	free(zero);
	return rc;
}

static int stage_rule(struct xdivert *s, struct xdv_rule *rule, bool *used)
{
	int rc;

	rule->id = ++s->shared->next_rule;
	rule->state = XDV_RULE_STAGED;
	rc = take_slot(s, rule, used);
	rc = rc ? rc
		: bpf_map_update_elem(s->rules, &rule->id, rule, BPF_NOEXIST);
	return rc ? error_set(rc, "cannot store rule '%s': %s", rule->name,
			      strerror(-rc))
		  : 0;
}

static int stage_new(struct xdivert *s, struct change *c)
{
	bool used[XDV_HITS] = {0};
	int i, rc = 0;

	for (i = 0; i < c->olds; i++)
		used[c->old[i].slot % XDV_HITS] = true;
	for (i = 0; i < c->n && !rc; i++)
		if (!c->rules[i].id)
			rc = stage_rule(s, &c->rules[i], used);
	return rc;
}

static void forget_staged(struct xdivert *s, const struct change *c)
{
	int i;

	for (i = 0; i < c->n; i++)
		if (c->rules[i].state == XDV_RULE_STAGED)
			bpf_map_delete_elem(s->rules, &c->rules[i].id);
}

static int store(struct xdivert *s, struct xdv_rule *rule,
		 enum xdv_rule_state state)
{
	rule->state = state;
	rule->retired = state == XDV_RULE_RETIRED ? now() : 0;
	return bpf_map_update_elem(s->rules, &rule->id, rule, BPF_EXIST);
}

/* The programs are in place: make the map agree with them. Rules that stay
 * may have changed their place.
 */
static int settle(struct xdivert *s, struct change *c)
{
	int i, j, rc = 0;

	for (i = 0; i < c->n; i++)
		if (c->rules[i].state == XDV_RULE_STAGED || c->reordered)
			rc = store(s, &c->rules[i], XDV_RULE_IN_FORCE) ?: rc;
	for (i = 0; i < c->olds; i++) {
		for (j = 0; j < c->n && c->rules[j].id != c->old[i].id; j++)
			;
		if (j == c->n)
			rc = store(s, &c->old[i], XDV_RULE_RETIRED) ?: rc;
	}
	return rc ? error_set(rc, "cannot store the rules: %s", strerror(-rc))
		  : 0;
}

static int change(struct xdivert *s, struct change *c)
{
	int rc;

	if (c->n > XDV_MAX_RULES)
		return error_set(-E2BIG, "%d rules are the most",
				 XDV_MAX_RULES);
	rc = stage_new(s, c);
	if (!rc) {
		qsort(c->rules, c->n, sizeof(*c->rules), by_priority);
		/* The daemon must know a rule before a packet can match it. */
		bump(s);
		rc = ruleset_install(s, c->rules, c->n, c->reload);
	}
	if (rc)
		forget_staged(s, c);
	else
		rc = settle(s, c);
	/* What was decided by the old rules is void; see flow.c. */
	if (!rc && !c->refresh)
		__atomic_fetch_add(&s->shared->flow_epoch, 1, __ATOMIC_SEQ_CST);
	bump(s);
	return rc;
}

/* No packet waits that long for the daemon; and there must be room for a whole
 * set beside the one in force.
 */
static void forget_retired(struct xdivert *s, const struct xdv_rule *rules,
			   int n)
{
	uint64_t time = now();
	int i, kept = 0;

	for (i = n - 1; i >= 0; i--) {
		if (rules[i].state != XDV_RULE_RETIRED)
			continue;
		if (time - rules[i].retired > RETIREMENT ||
		    ++kept > XDV_RULES_KEPT - 2 * XDV_MAX_RULES)
			bpf_map_delete_elem(s->rules, &rules[i].id);
	}
}

/* Begin with what is in force; what a killed process had staged goes. */
static int begin(struct xdivert *s, struct change *c)
{
	int i, n = read_rules(s, &c->old);

	if (n < 0)
		return error_set(n, "out of memory");
	c->olds = 0;
	forget_retired(s, c->old, n);
	for (i = 0; i < n; i++) {
		if (c->old[i].state == XDV_RULE_STAGED)
			bpf_map_delete_elem(s->rules, &c->old[i].id);
		else if (c->old[i].state == XDV_RULE_IN_FORCE)
			c->old[c->olds++] = c->old[i];
	}
	c->rules = calloc(2 * XDV_MAX_RULES, sizeof(*c->rules));
	return c->rules ? 0 : error_set(-ENOMEM, "out of memory");
}

static void end(struct change *c)
{
	free(c->rules);
	free(c->old);
}

static void keep_all(struct change *c, const char *but)
{
	int i;

	for (i = 0; i < c->olds; i++)
		if (!but || strcmp(c->old[i].name, but))
			c->rules[c->n++] = c->old[i];
}

static struct xdv_rule new_rule(const struct xdv_rule *rule)
{
	struct xdv_rule new = *rule;

	new.id = 0;
	new.state = XDV_RULE_IN_FORCE;
	if (!new.layer)
		new.layer = XDV_LAYER_FORWARD;
	return new;
}

static __u32 last_order(const struct change *c)
{
	__u32 last = 0;
	int i;

	for (i = 0; i < c->n; i++)
		if (c->rules[i].order > last)
			last = c->rules[i].order;
	return last;
}

static int add(struct xdivert *s, struct xdv_rule *rule)
{
	struct change c = {.n = 0};
	int i, rc = check(rule);

	rc = rc ? rc : begin(s, &c);
	if (!rc && find(c.old, c.olds, rule->name))
		rc = error_set(-EEXIST, "rule '%s' exists already", rule->name);
	if (!rc) {
		keep_all(&c, NULL);
		c.rules[c.n] = new_rule(rule);
		c.rules[c.n].order = last_order(&c) + 1;
		c.n++;
		rc = change(s, &c);
	}
	for (i = 0; i < c.n && !rc; i++)
		if (!strcmp(c.rules[i].name, rule->name))
			*rule = c.rules[i];
	end(&c);
	return rc;
}

static bool same_rule(const struct xdv_rule *a, const struct xdv_rule *b)
{
	return !strcmp(a->name, b->name) && a->priority == b->priority &&
	       a->layer == b->layer && a->fragment == b->fragment &&
	       a->via_stack == b->via_stack && a->returned == b->returned &&
	       !strcmp(a->iif, b->iif) && !strcmp(a->oif, b->oif) &&
	       !strcmp(a->to, b->to) && !strcmp(a->filter, b->filter) &&
	       !strcmp(a->src_set, b->src_set) &&
	       !strcmp(a->dst_set, b->dst_set) &&
	       !strcmp(a->actions, b->actions);
}

/* A rule that does not change keeps its id and what it counted. */
static int take_over(struct change *c, const struct xdv_rule *rule, int order)
{
	const struct xdv_rule *old = find(c->old, c->olds, rule->name);
	struct xdv_rule *to = &c->rules[c->n];
	int rc = check(rule);

	if (rc)
		return rc;
	if (find(c->rules, c->n, rule->name))
		return error_set(-EEXIST, "there are two rules '%s'",
				 rule->name);
	*to = new_rule(rule);
	if (old && same_rule(old, to)) {
		*to = *old;
		c->reordered |= old->order != (__u32)order;
	}
	to->order = order;
	c->n++;
	return 0;
}

static int apply(struct xdivert *s, const struct xdv_rule *rules, int n)
{
	struct change c = {.reload = true};
	int i, rc;

	if (n > XDV_MAX_RULES)
		return error_set(-E2BIG, "%d rules are the most",
				 XDV_MAX_RULES);
	rc = begin(s, &c);
	for (i = 0; i < n && !rc; i++)
		rc = take_over(&c, &rules[i], i + 1);
	rc = rc ? rc : change(s, &c);
	end(&c);
	return rc;
}

static int del(struct xdivert *s, const char *name)
{
	struct change c = {.n = 0};
	int rc = begin(s, &c);

	if (!rc && !find(c.old, c.olds, name))
		rc = error_set(-ENOENT, "no rule '%s'", name);
	if (!rc) {
		keep_all(&c, name);
		rc = change(s, &c);
	}
	end(&c);
	return rc;
}

int rules_flush(struct xdivert *s)
{
	struct change c = {.n = 0};
	int rc = begin(s, &c);

	rc = rc ? rc : change(s, &c);
	end(&c);
	return rc;
}

static bool names_interfaces(const struct xdivert *s)
{
	struct xdv_rule *rules;
	int i, n = read_rules(s, &rules);
	bool named = false;

	for (i = 0; i < n; i++)
		named |= *rules[i].iif || *rules[i].oif || *rules[i].to;
	if (n >= 0)
		free(rules);
	return named;
}

int rules_rebuild(struct xdivert *s)
{
	struct change c = {.refresh = true};
	int rc = begin(s, &c);

	if (!rc) {
		keep_all(&c, NULL);
		rc = change(s, &c);
	}
	end(&c);
	return rc;
}

void rules_refresh(struct xdivert *s)
{
	if (names_interfaces(s))
		rules_rebuild(s);
}

static int reload(struct xdivert *s)
{
	struct change c = {.reload = true};
	int rc = begin(s, &c);

	if (!rc) {
		keep_all(&c, NULL);
		rc = change(s, &c);
	}
	end(&c);
	return rc;
}

int xdivert_rules_reload(struct xdivert *x)
{
	int rc = state_lock(x);

	rc = rc ? rc : reload(x);
	state_unlock(x);
	return rc;
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

	rc = rc ? rc : rules_flush(x);
	state_unlock(x);
	return rc;
}

int xdivert_rules_apply(struct xdivert *x, const struct xdv_rule *rules, int n)
{
	int rc = state_lock(x);

	rc = rc ? rc : apply(x, rules, n);
	state_unlock(x);
	return rc;
}

int xdivert_rule_hits(struct xdivert *x, const struct xdv_rule *rule,
		      struct xdv_hits *hits)
{
	int cpus = libbpf_num_possible_cpus(), i, rc;
	struct xdv_hits *rows;

	*hits = (struct xdv_hits){0};
	if (cpus < 0)
		return cpus;
	rows = calloc(cpus, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	rc = bpf_map_lookup_elem(x->hits, &rule->slot, rows);
	for (i = 0; i < cpus && !rc; i++) {
		hits->hits += rows[i].hits;
		hits->bytes += rows[i].bytes;
		if (rows[i].last > hits->last)
			hits->last = rows[i].last;
	}
	free(rows);
	return rc;
}

uint64_t xdivert_generation(const struct xdivert *x)
{
	return __atomic_load_n(&x->shared->generation, __ATOMIC_ACQUIRE);
}
