// SPDX-License-Identifier: BSD-2-Clause
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "active.h"
#include "cmd.h"

static int by_id(const void *a, const void *b)
{
	const struct active_rule *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static struct active_rule *find(const struct active_rules *a, uint32_t id)
{
	struct active_rule key = {.id = id};

	return a->n ? bsearch(&key, a->rules, a->n, sizeof(key), by_id) : NULL;
}

struct active_rule *active_find(const struct active_rules *a, uint32_t id)
{
	return find(a, id);
}

static void free_callouts(struct active_rule *r)
{
	while (r->callouts)
		xdivert_callout_free(r->callout[--r->callouts]);
}

static void parse_callouts(struct active_rule *to, struct xdv_rule *from)
{
	char *line, *rest = from->actions;

	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		if (to->callouts < XDV_MAX_CALLOUTS &&
		    !xdivert_callout_parse(line, &to->callout[to->callouts])) {
			to->callouts++;
			continue;
		}
		to->misses_callout = true;
		fail(1, "rule %s: %s; its packets are dropped", from->name,
		     xdivert_error());
	}
}

/* A rule never changes under its id, but its interface may. */
static void resolve(struct active_rule *r, const struct xdv_rule *from)
{
	bool missed = r->misses_to;

	r->to = *from->to ? if_nametoindex(from->to) : 0;
	if (!r->to && strchr(from->to, '@')) {
		snprintf(r->elsewhere, sizeof(r->elsewhere), "%s", from->to);
		return;
	}
	*r->elsewhere = 0;
	r->misses_to = *from->to && !r->to;
	if (r->misses_to && !missed)
		fail(1,
		     "rule %s: its --to %s has gone; its packets are dropped",
		     from->name, from->to);
}

/* What is there already moves over, callouts and all. */
static void load_rule(struct active_rule *to, struct xdv_rule *from,
		      struct active_rule *before)
{
	if (before) {
		*to = *before;
		before->callouts = 0;
	} else {
		*to = (struct active_rule){.id = from->id,
					   .via_stack = from->via_stack,
					   .returned = from->returned};
		parse_callouts(to, from);
	}
	resolve(to, from);
}

void active_load(struct active_rules *a, struct xdivert *x)
{
	uint64_t generation = xdivert_generation(x);
	struct active_rules new = {.generation = generation};
	struct xdv_rule *rules;
	int i, n = xdivert_rules_all(x, &rules);

	if (n < 0)
		return;
	new.rules = calloc(n + 1, sizeof(*new.rules));
	if (!new.rules) {
		free(rules);
		return;
	}
	for (i = 0; i < n; i++)
		load_rule(&new.rules[i], &rules[i], find(a, rules[i].id));
	new.n = n;
	qsort(new.rules, n, sizeof(*new.rules), by_id);
	free(rules);
	active_free(a);
	*a = new;
}

void active_free(struct active_rules *a)
{
	int i;

	for (i = 0; i < a->n; i++)
		free_callouts(&a->rules[i]);
	free(a->rules);
	*a = (struct active_rules){0};
}
