// SPDX-License-Identifier: BSD-2-Clause
/*
 * Each run of xdv_inject takes one descriptor of the ring. The kernel call is
 * synchronous and ends with a flush of every device, so when it returns the
 * tracepoints have told what became of each frame.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <xdivert.h>

#include "compartment.h"
#include "error.h"
#include "inject.skel.h"
#include "live.h"
#include "neigh.h"
#include "netdev.h"
#include "seen.h"
#include "stats.h"

#define ETHERNET_HEADER 14
#define KICK_INTERVAL	100000000 /* ns between two tries at one next hop */
#define NO_CPU		0xffffffff
#define PORT_MOST	10 /* packets: more are cheaper as live frames */

#ifndef XDV_NO_COMPLETIONS
#define XDV_NO_COMPLETIONS 0
#endif

_Static_assert(XDIVERT_PENDING_MAX <= XDV_INFLIGHT, "too few descriptors");

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int load_with_table(struct xdivert_injection *h)
{
	int lock = seen_share(h, h->skel->maps.xdv_injected), rc;

	if (lock < 0)
		return lock;
	rc = inject__load(h->skel);
	if (rc)
		close(lock);
	else
		rc = seen_open(h, h->skel->maps.xdv_injected, lock);
	return rc;
}

/* What the tracing programs must know to tell ours from others'. */
static int introduce(struct xdivert_injection *h)
{
	struct bpf_prog_info prog = {0};
	__u32 size = sizeof(prog);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(h->skel->progs.xdv_inject),
				   &prog, &size))
		return -errno;
	h->skel->bss->xdv_inject_id = prog.id;
	h->id = (uint64_t)prog.id << 32 | (uint32_t)now();
	return 0;
}

static int load(struct xdivert_injection *h)
{
	struct inject *skel = inject__open();
	int rc;

	if (!skel)
		return -errno;
	h->skel = skel;
	rc = state_share_maps(h->x, skel->obj);
	rc = rc ? rc : load_with_table(h);
	rc = rc ? rc : introduce(h);
	if (rc)
		return rc;
	skel->links.xdv_redirect_err =
		bpf_program__attach(skel->progs.xdv_redirect_err);
	skel->links.xdv_devmap_xmit =
		bpf_program__attach(skel->progs.xdv_devmap_xmit);
	if (!skel->links.xdv_redirect_err || !skel->links.xdv_devmap_xmit)
		return -errno;
	return 0;
}

static int keep_in_dispatcher(struct xdivert_injection *h)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	int err = port_open(&h->port);

	if (err)
		return err;
	h->link = bpf_link_create(bpf_program__fd(h->skel->progs.xdv_inject),
				  h->port.ifindex, BPF_XDP, &opts);
	return h->link < 0 ? h->link : 0;
}

static void *map_memory(const struct bpf_map *map, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The first packet to a next hop fails truthfully; help the next one. */
static void resolve_nexthop(struct xdivert_injection *h,
			    const struct xdv_completion *c)
{
	struct kick *kick = &h->kick;

	if (kick->ifindex == c->ifindex &&
	    !memcmp(kick->address, c->nexthop, sizeof(kick->address)) &&
	    c->completed - kick->at < KICK_INTERVAL)
		return;
	memcpy(kick->address, c->nexthop, sizeof(kick->address));
	kick->ifindex = c->ifindex;
	kick->at = c->completed;
	neigh_resolve(c->ifindex, c->family, c->nexthop);
}

static uint32_t *slot_at(struct xdivert_injection *h, uint32_t position)
{
	return &h->skel->bss->xdv_slots[position & (XDV_INFLIGHT - 1)];
}

static struct xdv_desc *desc_at(struct xdivert_injection *h, uint32_t position)
{
	return &h->descs[*slot_at(h, position)];
}

static int deliver(void *arg, void *record, size_t size)
{
	const struct xdv_completion *c = record;
	struct xdivert_injection *h = arg;

	if (size < sizeof(*c))
		return 0;
	if (c->reason == XDV_REASON_FIB_NO_NEIGH)
		resolve_nexthop(h, c);
	h->slots[h->free_slots++] = c->slot;
	inject_complete(h, &h->packets[h->descs[c->slot].frame], c);
	return 0;
}

/* As if nobody wanted to know; bench/ measures what completions cost. */
static void give_back(struct xdivert_injection *h, const struct xdv_desc *desc)
{
	const struct xdv_completion c = {.slot = desc - h->descs};

	deliver(h, (void *)&c, sizeof(c));
}

/* A completion that BPF did not write. */
static void complete_here(struct xdivert_injection *h, struct xdv_desc *desc,
			  int status, enum xdv_reason reason)
{
	struct xdv_completion c = {
		.id = desc->id,
		.context = desc->context,
		.submitted = desc->submitted,
		.completed = now(),
		.ifindex = desc->ifindex,
		.compartment = desc->compartment,
		.status = status,
		.reason = reason,
		.len = desc->len,
		.slot = desc->slot,
		.engine = desc->engine,
	};
	__u32 key;

	desc->state = XDV_DESC_DONE;
	c.seq = __atomic_add_fetch(&h->x->shared->completions, 1,
				   __ATOMIC_RELAXED);
	key = (c.seq - 1) & (XDV_RECENT - 1);
	bpf_map_update_elem(h->x->recent, &key, &c, BPF_ANY);
	deliver(h, &c, sizeof(c));
}

static void count(__u64 *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* What the kernel did not take completes with the reason why. */
static void refuse_queued(struct xdivert_injection *h, int status,
			  enum xdv_reason reason)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = ring->consumer, end = ring->producer;

	ring->consumer = end;
	ring->settled = end;
	h->finished = end;
	for (; position != end; position++) {
		count(&h->x->shared->refused);
		complete_here(h, desc_at(h, position), status, reason);
	}
}

/* What the run's end leaves open: err is the result of the kernel call. */
static void complete_rest(struct xdivert_injection *h, struct xdv_desc *desc,
			  int err)
{
	switch (desc->state) {
	case XDV_DESC_PASSED:
		if (err)
			count(&h->x->shared->unpassed);
		complete_here(h, desc, err,
			      err ? XDV_REASON_ENGINE : XDV_REASON_NONE);
		break;
	case XDV_DESC_NO_ROUTE:
		if (netdev_up(desc->ifindex))
			complete_here(h, desc, -ENETUNREACH,
				      XDV_REASON_FIB_NOT_FWDED);
		else
			complete_here(h, desc, -ENETDOWN,
				      XDV_REASON_DEVICE_DOWN);
		break;
	case XDV_DESC_TAKEN:
		if (XDV_NO_COMPLETIONS) {
			give_back(h, desc);
			break;
		}
		/* No tracepoint fired, and none will. */
		count(&h->x->shared->unknown);
		complete_here(h, desc, -ETIMEDOUT, XDV_REASON_UNKNOWN);
		break;
	}
}

static void settle_rest(struct xdivert_injection *h, int err)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;

	/* If a tracepoint was silent, BPF shall not take another one for it. */
	ring->cpu = NO_CPU;
	for (; h->finished != ring->consumer; h->finished++)
		complete_rest(h, desc_at(h, h->finished), err);
	ring->settled = ring->consumer;
}

/*
 * Run xdv_inject once for each of n descriptors. Its frames begin longer than
 * any of them, for shrinking is cheaper than growing. They seem to arrive on
 * ingress (0: loopback), which decides the namespace.
 */
static int run(struct xdivert_injection *h, uint32_t n, uint32_t longest,
	       uint32_t ingress)
{
	static const uint8_t zeroes[XDV_PACKET_MAX + ETHERNET_HEADER];
	uint32_t size = longest + ETHERNET_HEADER;
	struct xdp_md ctx = {.data_end = size, .ingress_ifindex = ingress};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = zeroes,
		    .data_size_in = size, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = n,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = LIVE_BATCH);

	return bpf_prog_test_run_opts(
		bpf_program__fd(h->skel->progs.xdv_inject), &opts);
}

static void run_all(struct xdivert_injection *h, uint32_t longest,
		    uint32_t ingress)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t before;
	int err = 0;

	while (!err && ring->consumer != ring->producer) {
		before = ring->consumer;
		err = run(h, ring->producer - before, longest, ingress);
		/* A signal ends a run early; a run that does nothing would
		 * never end.
		 */
		if (err == -EINTR || err == -EAGAIN)
			err = 0;
		else if (!err && ring->consumer == before)
			err = -EIO;
		ring_buffer__consume(h->completions);
		settle_rest(h, err);
	}
	if (err)
		refuse_queued(h, err, XDV_REASON_ENGINE);
}

static void set_engine(struct xdivert_injection *h, enum xdv_engine engine)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position;

	for (position = ring->consumer; position != ring->producer; position++)
		desc_at(h, position)->engine = engine;
}

/*
 * A call with live frames costs as much as several packets through the port,
 * whatever it carries. What the port did not take is left in the ring.
 */
static void run_port(struct xdivert_injection *h)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	const struct xdivert_packet *p;
	uint32_t position;

	set_engine(h, XDV_ENGINE_PORT);
	while (ring->consumer != ring->producer) {
		position = ring->consumer;
		p = &h->packets[desc_at(h, position)->frame];
		port_send(&h->port, p->data, p->len);
		if (*(volatile __u32 *)&ring->consumer == position)
			break;
	}
	ring_buffer__consume(h->completions);
	settle_rest(h, 0);
	set_engine(h, XDV_ENGINE_LIVE);
}

/* Give a target its own row in xdv_stats before BPF first counts there. */
static void ensure_stats(struct xdivert_injection *h, uint32_t ifindex)
{
	if (h->known[ifindex % 64] == ifindex)
		return;
	if (!stats_row(h->x, ifindex))
		h->known[ifindex % 64] = ifindex;
}

static unsigned int ttl_of(const struct xdivert_packet *p)
{
	unsigned int ttl = p->data[0] >> 4 == 4 ? p->data[8] : p->data[7];

	return ttl - !!(p->request.flags & XDV_DESC_DECREMENT_TTL);
}

/* Put a chain into the ring; the length of its longest packet. */
static uint32_t fill(struct xdivert_injection *h, struct xdivert_packet *p)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = ring->producer, longest = 0, slot;
	const struct request *r;

	for (; p; p = p->request.next) {
		r = &p->request;
		if (!r->compartment)
			ensure_stats(h, r->ifindex);
		seen_record(h, p, r->context, ttl_of(p));
		/* There are as many as injections may be pending. */
		slot = h->slots[--h->free_slots];
		*slot_at(h, position++) = slot;
		h->descs[slot] = (struct xdv_desc){
			.id = __atomic_add_fetch(&h->x->shared->next_injection,
						 1, __ATOMIC_RELAXED),
			.context = r->context,
			.submitted = r->submitted,
			.frame = p->frame,
			.offset = p->data - p->base,
			.len = p->len,
			.ifindex = r->ifindex,
			.compartment = r->compartment,
			.flags = r->flags,
			.state = XDV_DESC_QUEUED,
			.engine = XDV_ENGINE_LIVE,
			.slot = slot,
		};
		if (p->len > longest)
			longest = p->len;
	}
	__atomic_store_n(&ring->producer, position, __ATOMIC_RELEASE);
	return longest;
}

/* Frames into the receive path need the interface's own address. */
static int address(struct xdivert_injection *h, uint32_t ifindex)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position;
	uint8_t mac[6];
	int rc = netdev_mac(ifindex, mac);

	if (rc)
		return rc;
	for (position = ring->consumer; position != ring->producer; position++)
		memcpy(desc_at(h, position)->mac, mac, sizeof(mac));
	return 0;
}

static void send_here(struct xdivert_injection *h, uint32_t longest,
		      const struct request *r)
{
	bool receive = r->flags & XDV_DESC_RECEIVE;

	if (receive && address(h, r->ifindex))
		refuse_queued(h, -ENODEV, XDV_REASON_NO_DEVICE);
	else if (receive && !netdev_up(r->ifindex))
		refuse_queued(h, -ENETDOWN, XDV_REASON_DEVICE_DOWN);
	else
		run_all(h, longest, receive ? r->ifindex : 0);
}

/* Of the handle's compartment, out of it, and few enough. */
static bool goes_through_port(const struct xdivert_injection *h,
			      const struct request *r)
{
	const struct xdv_ring *ring = &h->skel->bss->xdv_ring;

	return port_usable(&h->port) && !r->compartment &&
	       !(r->flags & XDV_DESC_RECEIVE) &&
	       ring->producer - ring->consumer <= PORT_MOST;
}

void live_send(struct xdivert_injection *h, struct xdivert_packet *chain)
{
	/* The first packet's completion may reuse its request. */
	struct request r = chain->request;
	uint32_t longest = fill(h, chain);

	if (goes_through_port(h, &r))
		run_port(h);
	if (!r.compartment) {
		send_here(h, longest, &r);
	} else if (compartment_switch(r.compartment)) {
		refuse_queued(h, -ENOTCONN, XDV_REASON_NO_COMPARTMENT);
	} else {
		send_here(h, longest, &r);
		setns(h->x->netns, CLONE_NEWNET);
	}
}

void live_refuse(struct xdivert_injection *h, struct xdivert_packet *chain,
		 int status, enum xdv_reason reason)
{
	fill(h, chain);
	refuse_queued(h, status, reason);
}

int live_create(struct xdivert_injection *h)
{
	int rc = load(h);

	if (rc)
		return error_set(rc, "cannot load the injection program: %s",
				 strerror(-rc));
	rc = keep_in_dispatcher(h);
	if (rc)
		return error_set(rc, "cannot create the device xdv0: %s",
				 strerror(-rc));
	h->umem = map_memory(h->skel->maps.xdv_umem,
			     (size_t)XDV_FRAMES * XDV_FRAME_SIZE);
	h->descs = map_memory(h->skel->maps.xdv_inflight,
			      XDV_INFLIGHT * sizeof(*h->descs));
	h->completions = ring_buffer__new(
		bpf_map__fd(h->skel->maps.xdv_completions), deliver, h, NULL);
	while (h->free_slots < XDV_INFLIGHT) {
		h->slots[h->free_slots] = h->free_slots;
		h->free_slots++;
	}
	if (!h->umem || !h->descs || !h->completions)
		return error_set(-ENOMEM, "cannot map the UMEM: %s",
				 strerror(errno));
	return 0;
}

void live_destroy(struct xdivert_injection *h)
{
	ring_buffer__free(h->completions);
	if (h->link >= 0)
		close(h->link);
	port_close(&h->port);
	if (h->umem)
		munmap(h->umem, (size_t)XDV_FRAMES * XDV_FRAME_SIZE);
	if (h->descs)
		munmap(h->descs, XDV_INFLIGHT * sizeof(*h->descs));
	seen_close(h);
	inject__destroy(h->skel);
}

/* Those of handles that serve together carry the number of the share. */
static const char *pin_name(const struct xdivert_injection *h, const char *name,
			    char *buffer, size_t size)
{
	if (!h->share)
		return name;
	snprintf(buffer, size, "%s_%u", name, h->share);
	return buffer;
}

static int pin(struct xdivert_injection *h, int fd, const char *name)
{
	char buffer[64];

	return state_pin(h->x, fd, pin_name(h, name, buffer, sizeof(buffer)));
}

static void unpin(struct xdivert_injection *h, const char *name)
{
	char buffer[64];

	state_unpin(h->x, pin_name(h, name, buffer, sizeof(buffer)));
}

int live_pin(struct xdivert_injection *h)
{
	const struct inject *s = h->skel;
	int rc = pin(h, bpf_map__fd(s->maps.xdv_umem), "xdv_umem");

	rc = rc ? rc
		: pin(h, bpf_map__fd(s->maps.xdv_inflight), "xdv_inflight");
	rc = rc ? rc
		: pin(h, bpf_map__fd(s->maps.xdv_completions),
		      "xdv_completions");
	return rc ? rc
		  : pin(h, bpf_program__fd(s->progs.xdv_inject), "xdv_inject");
}

void live_unpin(struct xdivert_injection *h)
{
	unpin(h, "xdv_umem");
	unpin(h, "xdv_inflight");
	unpin(h, "xdv_completions");
	unpin(h, "xdv_inject");
}

int live_count_queue_drops(struct xdivert_injection *h)
{
	struct bpf_map_info map = {0};
	__u32 size = sizeof(map);

	if (bpf_obj_get_info_by_fd(h->x->xsks, &map, &size))
		return -errno;
	h->skel->bss->xdv_share = h->share;
	h->skel->data->xdv_shares = h->shares;
	h->skel->bss->xdv_xsks_id = map.id;
	return 0;
}

int live_port(const struct xdivert_injection *h)
{
	return h->port.ifindex;
}
