// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a device can do may change: a veth takes XDP frames while GRO is on at
 * its peer, of which this side hears nothing. So what was learned is forgotten
 * when a link changes, and after a while in any case.
 */
#include <errno.h>
#include <net/if.h>

#include <bpf/bpf.h>

#include "clock.h"
#include "target.h"

#define REMEMBERED 5000000000ull /* ns */
#define ROWS                                                                   \
	(sizeof(((struct xdivert_injection *)0)->targets) /                    \
	 sizeof(struct target))

/* Everybody may see it: xdivert_targets(). */
static void publish(const struct xdivert_injection *h, const struct target *t)
{
	struct xdv_target shown = {
		.compartment = t->compartment,
		.ifindex = t->ifindex,
		.engine = t->status ? XDV_ENGINE_NEIGH : XDV_ENGINE_LIVE,
		.status = t->status,
		.since = now(),
	};
	uint64_t key = (uint64_t)t->compartment << 32 | t->ifindex;

	bpf_map_update_elem(h->x->targets, &key, &shown, BPF_ANY);
}

static void set(struct xdivert_injection *h, struct target *t, int status)
{
	t->until = status ? now() + REMEMBERED : 0;
	if (t->status == status)
		return;
	t->status = status;
	publish(h, t);
}

/* With more targets than rows some are learned anew; they are served right. */
static struct target *find(struct xdivert_injection *h, uint32_t compartment,
			   uint32_t ifindex)
{
	struct target *t;
	uint32_t i;

	for (i = 0; i < ROWS; i++) {
		t = &h->targets[(ifindex + i) % ROWS];
		if (t->ifindex == ifindex && t->compartment == compartment)
			return t;
		if (!t->ifindex)
			break;
	}
	if (i == ROWS)
		t = &h->targets[ifindex % ROWS];
	*t = (struct target){.compartment = compartment, .ifindex = ifindex};
	publish(h, t);
	return t;
}

uint32_t target_flags(struct xdivert_injection *h, uint32_t compartment,
		      uint32_t ifindex)
{
	struct target *t = find(h, compartment, ifindex);

	if (!t->status)
		return 0;
	if (t->until <= now())
		set(h, t, 0);
	return t->status ? XDV_DESC_VIA_STACK : 0;
}

void target_refused(struct xdivert_injection *h, uint32_t compartment,
		    uint32_t ifindex, int status)
{
	set(h, find(h, compartment, ifindex), status);
}

void target_forget(struct xdivert_injection *h)
{
	unsigned int i;

	for (i = 0; i < ROWS; i++)
		if (!h->targets[i].compartment && h->targets[i].status)
			h->targets[i].until = 0;
}

static bool gone(const struct xdv_target *t)
{
	char name[IF_NAMESIZE];

	return !t->compartment && !if_indextoname(t->ifindex, name);
}

int xdivert_targets(struct xdivert *x, struct xdv_target *list, int n)
{
	uint64_t key, *previous = NULL;
	struct xdv_target t;
	bool here = state_here(x);
	int count = 0;

	while (!bpf_map_get_next_key(x->targets, previous, &key)) {
		previous = &key;
		if (bpf_map_lookup_elem(x->targets, &key, &t) ||
		    (here && gone(&t)))
			continue;
		if (count < n)
			list[count] = t;
		count++;
	}
	return count;
}
