// SPDX-License-Identifier: BSD-2-Clause
#include <net/if.h>
#include <stdlib.h>

#include "addrset.h"
#include "ask.h"
#include "filter.h"

struct compiled {
	struct bpf_program classic;
	uint32_t id, slot, iif, oif, layer, fragment;
	bool from_set, to_set; /* they count */
	struct addrset source, destination;
};

struct asker {
	uint64_t generation;
	struct compiled *rule;
	int count;
};

struct asker *asker_new(void)
{
	struct asker *m = calloc(1, sizeof(*m));

	if (m)
		m->generation = UINT64_MAX;
	return m;
}

static void compiled_free(struct compiled *rule)
{
	pcap_freecode(&rule->classic);
	addrset_free(&rule->source);
	addrset_free(&rule->destination);
}

static void clear(struct asker *m)
{
	while (m->count)
		compiled_free(&m->rule[--m->count]);
	free(m->rule);
	m->rule = NULL;
}

void asker_free(struct asker *m)
{
	if (m)
		clear(m);
	free(m);
}

static int read_sets(struct compiled *to, const struct xdv_rule *from)
{
	int rc = 0;

	to->from_set = *from->src_set;
	to->to_set = *from->dst_set;
	if (to->from_set)
		rc = addrset_read(from->src_set, &to->source);
	if (!rc && to->to_set)
		rc = addrset_read(from->dst_set, &to->destination);
	return rc;
}

/* A rule whose interface, or whose set's file, has gone can match nothing. */
static bool compile(struct compiled *to, const struct xdv_rule *from)
{
	*to = (struct compiled){
		.id = from->id,
		.slot = from->slot,
		.iif = *from->iif ? if_nametoindex(from->iif) : 0,
		.oif = *from->oif ? if_nametoindex(from->oif) : 0,
		.layer = from->layer,
		.fragment = from->fragment,
	};
	if ((*from->iif && !to->iif) || (*from->oif && !to->oif))
		return false;
	if (filter_compile_rule(from, DLT_EN10MB, &to->classic))
		return false;
	if (!read_sets(to, from))
		return true;
	compiled_free(to);
	return false;
}

static void load(struct asker *m, struct xdivert *x)
{
	struct xdv_rule *rules;
	int i, n;

	m->generation = xdivert_generation(x);
	n = xdivert_rules(x, &rules);
	if (n < 0)
		return;
	clear(m);
	m->rule = calloc(n + 1, sizeof(*m->rule));
	for (i = 0; m->rule && i < n; i++)
		if (compile(&m->rule[m->count], &rules[i]))
			m->count++;
	free(rules);
}

static bool wanted(const struct compiled *rule,
		   const struct xdivert_metadata *meta, bool whole)
{
	if (whole != (rule->fragment != XDV_FRAGMENT_ONLY) ||
	    rule->fragment == XDV_FRAGMENT_NONE)
		return false;
	return rule->layer == meta->layer &&
	       (!rule->iif || rule->iif == meta->iif) &&
	       (!rule->oif || rule->oif == meta->oif);
}

static bool matches(const struct compiled *rule, const uint8_t *frame,
		    uint32_t len)
{
	return bpf_filter(rule->classic.bf_insns, frame, len, len) &&
	       (!rule->from_set ||
		addrset_matches(&rule->source, true, DLT_EN10MB, frame, len)) &&
	       (!rule->to_set || addrset_matches(&rule->destination, false,
						 DLT_EN10MB, frame, len));
}

uint32_t asker_ask(struct asker *m, struct xdivert *x, const uint8_t *frame,
		   uint32_t len, const struct xdivert_metadata *meta,
		   bool whole, uint32_t *slot)
{
	int i;

	if (m->generation != xdivert_generation(x))
		load(m, x);
	for (i = 0; i < m->count; i++)
		if (wanted(&m->rule[i], meta, whole) &&
		    matches(&m->rule[i], frame, len)) {
			*slot = m->rule[i].slot;
			return m->rule[i].id;
		}
	return 0;
}

uint32_t ask_fragments(const struct xdv_rule *rules, int n)
{
	uint32_t bits = 0;
	int i;

	for (i = 0; i < n; i++)
		if (rules[i].fragment != XDV_FRAGMENT_NONE)
			bits |= 1u << rules[i].layer;
	return bits;
}
