// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "state.h"
#include "stats.h"
#include "tap.h"

/* Rows of interfaces that have gone make room; what they counted is kept. */
static void retire_rows(const struct xdivert *s, struct xdv_stats *values,
			int cpus)
{
	__u64 *gone = (__u64 *)&s->shared->gone;
	size_t words = sizeof(*values) / sizeof(*gone), i;
	__u32 key, next, *previous = NULL;
	char name[IF_NAMESIZE];
	bool more = !bpf_map_get_next_key(s->stats, NULL, &next);
	int cpu;

	while (more) {
		key = next;
		previous = &key;
		more = !bpf_map_get_next_key(s->stats, previous, &next);
		if (!key || if_indextoname(key, name) ||
		    bpf_map_lookup_and_delete_elem(s->stats, &key, values))
			continue;
		for (cpu = 0; cpu < cpus; cpu++)
			for (i = 0; i < words; i++)
				__atomic_fetch_add(&gone[i],
						   ((__u64 *)&values[cpu])[i],
						   __ATOMIC_RELAXED);
	}
}

static int add_row(const struct xdivert *s, uint32_t ifindex,
		   struct xdv_stats *values, int cpus)
{
	int err = bpf_map_update_elem(s->stats, &ifindex, values, BPF_NOEXIST);

	if (err != -E2BIG)
		return err == -EEXIST ? 0 : err;
	retire_rows(s, values, cpus);
	memset(values, 0, cpus * sizeof(*values));
	err = bpf_map_update_elem(s->stats, &ifindex, values, BPF_NOEXIST);
	return err == -EEXIST ? 0 : err;
}

int stats_row(const struct xdivert *s, uint32_t ifindex)
{
	int cpus = libbpf_num_possible_cpus(), err;
	struct xdv_stats *values;
	char name[IF_NAMESIZE];

	if (cpus < 0)
		return cpus;
	if (ifindex && !if_indextoname(ifindex, name))
		return -ENODEV;
	values = calloc(cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	err = add_row(s, ifindex, values, cpus);
	free(values);
	return err;
}

static void add(struct xdivert_stats *to, const struct xdv_stats *from)
{
	to->seen += from->seen;
	to->flow_passed += from->flow_passed;
	to->flow_dropped += from->flow_dropped;
	to->diverted += from->redirected - from->queue_dropped;
	to->unserved += from->unserved;
	to->queue_dropped += from->queue_dropped;
	to->injected += from->injected;
	to->completed += from->completed;
	to->failed += from->failed;
}

/* What went into a tap and never came out; while taps are at rest. */
static void add_lost(struct xdivert_stats *to, const struct xdv_stats *values,
		     int cpus)
{
	int64_t lost = 0;
	int cpu;

	for (cpu = 0; cpu < cpus; cpu++)
		lost += values[cpu].tap_in - values[cpu].tap_out;
	if (lost <= 0)
		return;
	to->seen += lost;
	to->queue_dropped += lost;
}

/* Read while they move, one may be ahead of the other. */
static uint64_t less(uint64_t all, uint64_t part)
{
	return all > part ? all - part : 0;
}

/* The counters that nobody counts because others imply them. */
static void derive(struct xdivert_stats *t)
{
	t->matched = t->diverted + t->unserved + t->queue_dropped;
	t->unmatched = less(t->seen, t->matched);
	t->in_flight = less(t->injected, t->completed + t->failed);
}

static int read_once(const struct xdivert *s, struct xdivert_stats *total,
		     struct xdivert_stats *row, int rows, bool at_rest)
{
	int cpus = libbpf_num_possible_cpus(), count = 0, cpu;
	struct xdv_stats *values;
	__u32 key, *previous = NULL;

	if (cpus < 0)
		return cpus;
	values = calloc(cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	/* Read before they leave, packets do not seem to be held that are not.
	 */
	*total = (struct xdivert_stats){.originated = s->shared->originated};
	while (!bpf_map_get_next_key(s->stats, previous, &key)) {
		struct xdivert_stats one = {.ifindex = key};

		previous = &key;
		if (bpf_map_lookup_elem(s->stats, &key, values))
			continue;
		for (cpu = 0; cpu < cpus; cpu++) {
			add(&one, &values[cpu]);
			add(total, &values[cpu]);
		}
		if (!key) {
			add(&one, &s->shared->gone);
			add(total, &s->shared->gone);
		}
		if (!key && at_rest) {
			add_lost(&one, &s->shared->gone, 1);
			add_lost(total, &s->shared->gone, 1);
		}
		if (at_rest) {
			add_lost(&one, values, cpus);
			add_lost(total, values, cpus);
		}
		derive(&one);
		/* Row 0 is shown only if somebody used it. */
		if (row && count < rows && (key || one.injected || one.seen))
			row[count++] = one;
	}
	free(values);
	total->dropped = s->shared->dropped;
	total->abandoned = s->shared->abandoned;
	total->returned = s->shared->returned;
	total->reassembled = s->shared->reassembled;
	total->fragments_expired = s->shared->fragments_lost[0];
	total->fragments_evicted = s->shared->fragments_lost[1];
	total->fragments_discarded = s->shared->fragments_lost[2];
	total->injected += s->shared->refused;
	total->completed -= s->shared->unpassed;
	total->failed +=
		s->shared->refused + s->shared->unknown + s->shared->unpassed;
	derive(total);
	total->held = less(total->diverted + total->originated,
			   total->injected + total->dropped);
	return count;
}

/* What is in a tap is not seen yet: neither lost nor diverted. */
int stats_read(const struct xdivert *s, struct xdivert_stats *total,
	       struct xdivert_stats *row, int rows)
{
	uint64_t before, after;
	bool at_rest = tap_at_rest(s, &before);
	int n = read_once(s, total, row, rows, at_rest);

	tap_at_rest(s, &after);
	return at_rest && before != after
		       ? read_once(s, total, row, rows, false)
		       : n;
}

int xdivert_stats_read(struct xdivert *x, struct xdivert_stats *total,
		       struct xdivert_stats *row, int n)
{
	int rc = state_lock(x);

	/* What a dead daemon had is dropped, not held. */
	if (!rc && !state_daemon_runs(x))
		state_settle(x);
	state_unlock(x);
	return stats_read(x, total, row, n);
}
