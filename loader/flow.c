// SPDX-License-Identifier: BSD-2-Clause
/*
 * The table of decided flows. A decision holds while control's epoch is the
 * one that was read before the packet's rule was seen to be in force: who
 * changes the rules moves the epoch on, after they have changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <netinet/in.h>

#include "clock.h"
#include "error.h"
#include "inject.h"

#define TIMEOUT	  120 /* s */
#define FLOWS_MAX (1u << 24)

static uint64_t epoch_of(const struct xdivert *x)
{
	return __atomic_load_n(&x->shared->flow_epoch, __ATOMIC_SEQ_CST);
}

static int make_table(struct xdivert *x, unsigned int flows)
{
	int table = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "xdv_flow_table",
				   sizeof(struct xdv_flow_key),
				   sizeof(struct xdv_flow), flows, NULL);
	__u32 zero = 0;
	int rc;

	if (table < 0)
		return table;
	rc = bpf_map_update_elem(x->flows, &zero, &table, BPF_ANY);
	if (!rc)
		return table;
	close(table);
	return rc;
}

/* The table as it is now; -ENOENT: there is none. */
static int open_table(struct xdivert *x)
{
	__u32 zero = 0, id;
	int rc = bpf_map_lookup_elem(x->flows, &zero, &id);

	if (rc)
		return rc;
	return bpf_map_get_fd_by_id(id);
}

/* Two that come at once make two tables, of which the first is lost. */
static int open_or_make_table(struct xdivert *x)
{
	int table = open_table(x), rc;

	if (table != -ENOENT)
		return table;
	rc = state_lock(x);
	if (!rc) {
		table = open_table(x);
		if (table == -ENOENT)
			table = make_table(x, XDV_FLOWS);
	}
	state_unlock(x);
	return rc ? rc : table;
}

/* The 5-tuple as the hook reads it: no extension headers, no fragments. */
static int read_key(const struct xdivert_packet *p, struct xdv_flow_key *key)
{
	__u32 source[4] = {0}, destination[4] = {0};
	bool v4 = p->data[0] >> 4 == 4;
	uint32_t l4 = v4 ? (p->data[0] & 0xf) * 4 : 40;
	__u16 port[2];

	*key = (struct xdv_flow_key){
		.family = v4 ? AF_INET : AF_INET6,
		.protocol = v4 ? p->data[9] : p->data[6],
	};
	if (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP)
		return -EOPNOTSUPP;
	if (p->len < l4 + 4 || (v4 && (p->data[6] & 0x3f || p->data[7])))
		return -EOPNOTSUPP;
	memcpy(source, p->data + (v4 ? 12 : 8), v4 ? 4 : 16);
	memcpy(destination, p->data + (v4 ? 16 : 24), v4 ? 4 : 16);
	memcpy(port, p->data + l4, 4);
	xdv_flow_key_set(key, source, destination, port[0], port[1]);
	return 0;
}

static bool rule_in_force(const struct xdivert *x, uint32_t id)
{
	struct xdv_rule rule;

	return !bpf_map_lookup_elem(x->rules, &id, &rule) &&
	       rule.state != XDV_RULE_RETIRED;
}

static int decide(int table, const struct xdv_flow_key *key,
		  const struct xdv_flow *flow)
{
	struct xdv_flow old;
	int rc = bpf_map_update_elem(table, key, flow, BPF_NOEXIST);

	if (rc != -EEXIST)
		return rc;
	if (!bpf_map_lookup_elem(table, key, &old) &&
	    old.epoch == flow->epoch && old.verdict == flow->verdict &&
	    old.after == flow->after && flow->last - old.last <= old.timeout)
		return 0;
	return bpf_map_update_elem(table, key, flow, BPF_ANY);
}

int xdivert_flow_decide(struct xdivert_injection *h,
			const struct xdivert_packet *p,
			const struct xdivert_flow_opts *opts)
{
	struct xdv_flow flow = {
		.last = now(),
		.timeout = (opts->timeout ? opts->timeout : TIMEOUT) *
			   1000000000ull,
		.after = opts->after,
		.seen = 1,
		.verdict = opts->verdict,
		.rule = p->meta.rule,
		.epoch = epoch_of(h->x),
	};
	struct xdv_flow_key key;
	int table, rc;

	if (opts->sz != sizeof(*opts) ||
	    (opts->verdict != XDV_FLOW_PASS && opts->verdict != XDV_FLOW_DROP))
		return error_set(-EINVAL, "flow: no such verdict");
	rc = read_key(p, &key);
	if (rc)
		return error_set(rc, "not a TCP or UDP packet, or a fragment");
	if (!rule_in_force(h->x, p->meta.rule))
		return error_set(-ESTALE, "the packet's rule is gone");
	table = open_or_make_table(h->x);
	rc = table < 0 ? table : decide(table, &key, &flow);
	if (table >= 0)
		close(table);
	return rc ? error_set(rc, "cannot decide the flow: %s", strerror(-rc))
		  : 0;
}

static bool holds(const struct xdivert *x, const struct xdivert_flow *f)
{
	return f->flow.epoch == epoch_of(x) && f->idle <= f->flow.timeout;
}

static int read_table(struct xdivert *x, int table, struct xdivert_flow **list)
{
	struct xdv_flow_key key, *previous = NULL;
	struct xdivert_flow *flows = NULL, *more;
	int n = 0, room = 0;

	while ((unsigned int)n < FLOWS_MAX &&
	       !bpf_map_get_next_key(table, previous, &key)) {
		previous = &key;
		if (n == room) {
			room = room ? 2 * room : 64;
			more = realloc(flows, room * sizeof(*flows));
			if (!more) {
				free(flows);
				return -ENOMEM;
			}
			flows = more;
		}
		if (bpf_map_lookup_elem(table, &key, &flows[n].flow))
			continue;
		flows[n].key = key;
		flows[n].idle = now() - flows[n].flow.last;
		n += holds(x, &flows[n]);
	}
	*list = flows;
	return n;
}

int xdivert_flows(struct xdivert *x, struct xdivert_flow **list)
{
	int table = open_table(x), n;

	*list = NULL;
	if (table == -ENOENT)
		return 0;
	if (table < 0)
		return error_set(table, "cannot read the flows: %s",
				 strerror(-table));
	n = read_table(x, table, list);
	close(table);
	return n;
}

int xdivert_flow_flush(struct xdivert *x)
{
	__atomic_fetch_add(&x->shared->flow_epoch, 1, __ATOMIC_SEQ_CST);
	return 0;
}

int xdivert_flow_limit(struct xdivert *x, unsigned int flows)
{
	int table, rc;

	if (!flows || flows > FLOWS_MAX)
		return error_set(-EINVAL, "1 to %u flows are possible",
				 FLOWS_MAX);
	rc = state_lock(x);
	table = rc ? rc : make_table(x, flows);
	state_unlock(x);
	if (table < 0)
		return error_set(table, "cannot make a table of %u flows: %s",
				 flows, strerror(-table));
	close(table);
	return 0;
}
