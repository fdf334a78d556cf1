// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "clock.h"
#include "compartment.h"
#include "device.h"
#include "multibuf.h"
#include "netdev.h"
#include "netlink.h"
#include "pair.h"
#include "rest.h"
#include "tap.h"
#include "xdp_tap.skel.h"

struct tap {
	struct xdivert *x;
	struct pair pair; /* that leads to the socket */
	struct xdp_tap *skel;
	int link; /* of its program at the far end */
	uint32_t index;
	uint32_t longest; /* IP packet that fits through it */
	/* If the socket takes less than comes: a pair in front, whose far end's
	 * namespace has the other one's near end.
	 */
	struct pair outer;
	struct rest *rest;
};

/*
 * The far end's receive ring holds 256 frames, which a few GSO packets fill.
 * Behind a qdisc the rest waits for room in it (kernel 6.16; older ones drop
 * as they do without).
 */
static void queue_up(uint32_t ifindex)
{
	const struct tc_fifo_qopt options = {.limit = 1000};
	char buffer[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tcm;

	nlh->nlmsg_type = RTM_NEWQDISC;
	nlh->nlmsg_flags =
		NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
	tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));
	tcm->tcm_ifindex = ifindex;
	tcm->tcm_parent = TC_H_ROOT;
	mnl_attr_put_strz(nlh, TCA_KIND, "pfifo");
	mnl_attr_put(nlh, TCA_OPTIONS, sizeof(options), &options);
	netlink_request(nlh);
}

int tap_netns(const struct tap *tap)
{
	return tap->pair.netns;
}

static uint32_t socket_longest(void)
{
	return multibuf_works() ? MULTIBUF_LONGEST : XDV_PACKET_MAX;
}

bool tap_takes(const struct tap *tap, uint32_t longest)
{
	/* Some interfaces (lo) may have more than an IP packet can. */
	return longest <= tap->longest || tap->longest == MULTIBUF_LONGEST;
}

uint32_t tap_pages(const struct tap *tap)
{
	return tap->rest ? XDV_REST_PAGES : 0;
}

bool tap_rest(const struct tap *tap, const struct xdv_stub *stub, uint8_t *to)
{
	return rest_take(tap->rest, stub, to);
}

bool tap_reclaim(const struct tap *tap)
{
	return tap->rest && rest_reclaim(tap->rest);
}

static int load(struct tap *tap)
{
	int rc;

	tap->skel = xdp_tap__open();
	if (!tap->skel)
		return -errno;
	multibuf_program(tap->skel->progs.xdv_tap);
	rc = state_share_maps(tap->x, tap->skel->obj);
	return rc ? rc : xdp_tap__load(tap->skel);
}

/* Like those of handles, the taps of several shares bear its number. */
static void pin_name(const struct tap *tap, char *name, size_t size)
{
	if (tap->index)
		snprintf(name, size, "xdv_tap_%u", tap->index);
	else
		snprintf(name, size, "xdv_tap");
}

static int pin(const struct tap *tap)
{
	char name[32];

	pin_name(tap, name, sizeof(name));
	return state_pin(tap->x, bpf_program__fd(tap->skel->progs.xdv_tap),
			 name);
}

static void unpin(const struct tap *tap)
{
	char name[32];

	pin_name(tap, name, sizeof(name));
	state_unpin(tap->x, name);
}

/* XDP at the far end makes the kernel cut GSO packets at the near one. */
static int open_far_end(struct tap *tap)
{
	int home = netns_enter(tap->pair.netns), rc;

	if (home < 0)
		return home;
	rc = pair_bring_up(PAIR_FAR, socket_longest());
	if (!rc) {
		tap->link = device_attach_xdp(tap->skel->progs.xdv_tap,
					      if_nametoindex(PAIR_FAR));
		rc = tap->link < 0 ? tap->link : 0;
	}
	netns_leave(home);
	return rc;
}

/* Without these offloads the kernel completes checksums at the near end, and
 * puts VLAN tags where they were.
 */
static int open_near_end(const struct pair *pair, uint32_t longest)
{
	char name[IF_NAMESIZE];
	int rc;

	if (!if_indextoname(pair->ifindex, name))
		return -errno;
	queue_up(pair->ifindex);
	rc = netdev_no_tx_offloads(name);
	return rc ? rc : pair_bring_up(name, longest);
}

static int open_pair(struct tap *tap)
{
	int rc = pair_open(&tap->pair);

	rc = rc ? rc : load(tap);
	rc = rc ? rc : open_far_end(tap);
	return rc ? rc : open_near_end(&tap->pair, socket_longest());
}

/* The pair that leads to the socket, where the outer one ends. */
static int open_inside(struct tap *tap)
{
	int home = netns_enter(tap->outer.netns), rc;

	if (home < 0)
		return home;
	rc = pair_bring_up(PAIR_FAR, tap->longest);
	rc = rc ? rc : open_pair(tap);
	rc = rc ? rc
		: rest_open(&tap->rest, tap->x, tap_row(tap),
			    tap->pair.ifindex);
	netns_leave(home);
	return rc;
}

static int open_pairs(struct tap *tap)
{
	int rc;

	if (tap->longest == socket_longest())
		return open_pair(tap);
	rc = pair_open(&tap->outer);
	rc = rc ? rc : open_inside(tap);
	return rc ? rc : open_near_end(&tap->outer, tap->longest);
}

/* What the hook sends to, here. */
static int entrance(const struct tap *tap)
{
	return tap->outer.ifindex ? tap->outer.ifindex : tap->pair.ifindex;
}

int tap_open(struct tap **result, struct xdivert *x, unsigned int share,
	     unsigned int shares, uint32_t longest)
{
	struct tap *tap = calloc(1, sizeof(*tap));
	uint32_t first = XDV_TAP_SLOT * XDV_MAX_QUEUES;
	int rc;

	if (!tap)
		return -ENOMEM;
	tap->x = x;
	tap->longest = longest > socket_longest() ? MULTIBUF_LONGEST
						  : socket_longest();
	tap->link = tap->pair.netns = tap->outer.netns = -1;
	while (XDV_SHARE_OF(first + tap->index, shares) != share)
		tap->index++;
	rc = open_pairs(tap);
	rc = rc ? rc : pin(tap);
	if (rc) {
		tap_close(tap);
		return rc;
	}
	x->shared->tap_longest = socket_longest();
	__atomic_store_n(&x->shared->tap[tap->index], entrance(tap),
			 __ATOMIC_RELEASE);
	*result = tap;
	return 0;
}

void tap_close(struct tap *tap)
{
	if (!tap)
		return;
	if (entrance(tap) > 0) {
		tap->x->shared->tap[tap->index] = 0;
		unpin(tap);
	}
	rest_close(tap->rest);
	if (tap->link >= 0)
		close(tap->link);
	pair_close(&tap->pair);
	pair_close(&tap->outer);
	xdp_tap__destroy(tap->skel);
	free(tap);
}

bool tap_alive(const struct tap *tap)
{
	char name[IF_NAMESIZE];

	return if_indextoname(entrance(tap), name);
}

uint32_t tap_row(const struct tap *tap)
{
	return XDV_TAP_SLOT * XDV_MAX_QUEUES + tap->index;
}

unsigned int tap_count(const struct xdivert *x)
{
	return state_daemon_runs(x) && x->shared->taps ? x->shared->taps : 1;
}

unsigned int tap_served(const struct xdivert *x)
{
	const struct xdv_queue *row =
		&x->occupancy[XDV_TAP_SLOT * XDV_MAX_QUEUES];
	unsigned int i, n = 0;

	for (i = 0; i < x->shared->taps; i++)
		n += __atomic_load_n(&row[i].limit, __ATOMIC_ACQUIRE) != 0;
	return n;
}

/* What has not come out a while after the last went in never will. */
bool tap_at_rest(const struct xdivert *x, uint64_t *entered)
{
	const struct xdv_queue *row =
		&x->occupancy[XDV_TAP_SLOT * XDV_MAX_QUEUES];
	bool rest = true;
	int i;

	*entered = 0;
	for (i = 0; i < XDV_MAX_QUEUES; i++) {
		uint64_t in =
			__atomic_load_n(&row[i].entered, __ATOMIC_ACQUIRE);

		*entered += in;
		if (in != row[i].left && now() - row[i].last < XDV_TRANSIT_MAX)
			rest = false;
	}
	return rest;
}
