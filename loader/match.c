// SPDX-License-Identifier: BSD-2-Clause
/* What the hook would answer, by libpcap's own interpreter. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "addrset.h"
#include "error.h"
#include "filter.h"
#include "ruleset.h"

struct matcher_rule {
	struct xdv_rule rule;
	struct bpf_program classic;
	int index; /* in the caller's array */
	bool gone; /* asks for link headers where there are none */
	struct addrset source, destination;
};

struct xdivert_matcher {
	struct matcher_rule *rules;
	int n;
	int link_type;
};

static int by_order(const void *a, const void *b)
{
	const struct matcher_rule *x = a, *y = b;

	if (x->rule.priority != y->rule.priority)
		return x->rule.priority < y->rule.priority ? -1 : 1;
	if (x->rule.order != y->rule.order)
		return x->rule.order < y->rule.order ? -1 : 1;
	return x->index - y->index;
}

static int add(struct xdivert_matcher *m, const struct xdv_rule *rule,
	       int link_type)
{
	struct matcher_rule *to = &m->rules[m->n];
	int rc = filter_compile_rule(rule, link_type, &to->classic);

	if (rc && link_type == DLT_EN10MB)
		return rc;
	/* Nothing here puts fragments together. */
	to->gone = rc || rule->fragment == XDV_FRAGMENT_WHOLE;
	to->rule = *rule;
	to->index = m->n++;
	rc = *rule->src_set ? addrset_read(rule->src_set, &to->source) : 0;
	if (!rc && *rule->dst_set)
		rc = addrset_read(rule->dst_set, &to->destination);
	return rc;
}

int xdivert_matcher_create(struct xdivert_matcher **matcher,
			   const struct xdv_rule *rules, int n, int link_type)
{
	struct xdivert_matcher *m = calloc(1, sizeof(*m));
	int i, rc = 0;

	if (m) {
		m->link_type = link_type;
		m->rules = calloc(n + 1, sizeof(*m->rules));
	}
	if (!m || !m->rules)
		rc = error_set(-ENOMEM, "out of memory");
	for (i = 0; i < n && !rc; i++)
		rc = add(m, &rules[i], link_type);
	if (rc) {
		xdivert_matcher_free(m);
		return rc;
	}
	qsort(m->rules, m->n, sizeof(*m->rules), by_order);
	*matcher = m;
	return 0;
}

static bool in_sets(const struct matcher_rule *r, int link_type,
		    const void *packet, uint32_t len)
{
	return (!*r->rule.src_set ||
		addrset_matches(&r->source, true, link_type, packet, len)) &&
	       (!*r->rule.dst_set || addrset_matches(&r->destination, false,
						     link_type, packet, len));
}

static bool matches(const struct matcher_rule *r, int link_type,
		    const struct xdivert_where *where,
		    const struct pcap_pkthdr *header, const void *packet)
{
	uint32_t layer = r->rule.layer ? r->rule.layer : XDV_LAYER_FORWARD;

	if (r->gone || layer != where->layer)
		return false;
	if (*r->rule.iif && strcmp(r->rule.iif, where->iif))
		return false;
	if (*r->rule.oif && strcmp(r->rule.oif, where->oif))
		return false;
	return pcap_offline_filter(&r->classic, header, packet) &&
	       in_sets(r, link_type, packet, header->caplen);
}

int xdivert_matcher_find(const struct xdivert_matcher *m,
			 const struct xdivert_where *where, const void *packet,
			 uint32_t caplen, uint32_t len)
{
	struct pcap_pkthdr header = {.caplen = caplen, .len = len};
	int i;

	for (i = 0; i < m->n; i++)
		if (matches(&m->rules[i], m->link_type, where, &header, packet))
			return m->rules[i].index;
	return -1;
}

void xdivert_matcher_free(struct xdivert_matcher *m)
{
	int i;

	if (!m)
		return;
	for (i = 0; i < m->n; i++) {
		pcap_freecode(&m->rules[i].classic);
		addrset_free(&m->rules[i].source);
		addrset_free(&m->rules[i].destination);
	}
	free(m->rules);
	free(m);
}
