// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "handle.h"
#include "inject.skel.h"
#include "neigh.h"
#include "netdev.h"
#include "port.h"

#define BATCH		64
#define ETHERNET_HEADER 14
#define KICK_INTERVAL	100000000 /* ns between two tries at one next hop */

struct handle {
	const struct state *s;
	struct inject *skel;
	struct ring_buffer *completions;
	struct port port;
	int link; /* keeps xdv_inject in the XDP dispatcher */
	uint8_t *umem;
	struct xdv_desc *ring;
	struct packet *packets; /* one a frame */
	uint32_t *free;		/* stack of frames */
	uint32_t free_count;
	uint32_t done; /* ring position: all before it were delivered */
	uint32_t longest;
	uint32_t known[64]; /* ifindexes that surely have a stats row */
	uint32_t kicked[4]; /* next hop that is being resolved ... */
	uint32_t kicked_ifindex;
	uint64_t kicked_at; /* ... since, in ns */
	completion_fn fn;
	void *arg;
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int load(struct handle *h)
{
	struct inject *skel = inject__open();
	struct bpf_map_info map = {0};
	struct bpf_prog_info prog = {0};
	__u32 size = sizeof(map);
	int err;

	if (!skel)
		return -errno;
	h->skel = skel;
	bpf_map__reuse_fd(skel->maps.xdv_stats, h->s->stats);
	bpf_map__reuse_fd(skel->maps.xdv_control, h->s->control);
	bpf_map__reuse_fd(skel->maps.xdv_ifaces, h->s->ifaces);
	bpf_map__reuse_fd(skel->maps.xdv_queues, h->s->queues);
	bpf_map__reuse_fd(skel->maps.xdv_xsks, h->s->xsks);
	bpf_map__reuse_fd(skel->maps.xdv_recent, h->s->recent);
	err = inject__load(skel);
	if (err)
		return err;
	err = bpf_obj_get_info_by_fd(h->s->xsks, &map, &size);
	size = sizeof(prog);
	if (!err)
		err = bpf_obj_get_info_by_fd(
			bpf_program__fd(skel->progs.xdv_inject), &prog, &size);
	if (err)
		return -errno;
	skel->bss->xdv_xsks_id = map.id;
	skel->bss->xdv_inject_id = prog.id;
	skel->links.xdv_redirect_err =
		bpf_program__attach(skel->progs.xdv_redirect_err);
	skel->links.xdv_devmap_xmit =
		bpf_program__attach(skel->progs.xdv_devmap_xmit);
	if (!skel->links.xdv_redirect_err || !skel->links.xdv_devmap_xmit)
		return -errno;
	return 0;
}

static int keep_in_dispatcher(struct handle *h)
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

static int map_frames(struct handle *h)
{
	uint32_t i;

	h->umem = map_memory(h->skel->maps.xdv_umem,
			     (size_t)XDV_FRAMES * XDV_FRAME_SIZE);
	h->ring = map_memory(h->skel->maps.xdv_inflight,
			     XDV_INFLIGHT * sizeof(*h->ring));
	h->packets = calloc(XDV_FRAMES, sizeof(*h->packets));
	h->free = calloc(XDV_FRAMES, sizeof(*h->free));
	if (!h->umem || !h->ring || !h->packets || !h->free)
		return -ENOMEM;
	for (i = 0; i < XDV_FRAMES; i++) {
		h->packets[i].frame = i;
		h->packets[i].base = h->umem + (size_t)i * XDV_FRAME_SIZE;
		h->free[i] = XDV_FRAMES - 1 - i;
	}
	h->free_count = XDV_FRAMES;
	return 0;
}

/* The first packet to a next hop fails truthfully; help the next one. */
static void resolve_nexthop(struct handle *h, const struct xdv_completion *c)
{
	if (h->kicked_ifindex == c->ifindex &&
	    !memcmp(h->kicked, c->nexthop, sizeof(h->kicked)) &&
	    c->completed - h->kicked_at < KICK_INTERVAL)
		return;
	memcpy(h->kicked, c->nexthop, sizeof(h->kicked));
	h->kicked_ifindex = c->ifindex;
	h->kicked_at = c->completed;
	neigh_resolve(c->ifindex, c->family, c->nexthop);
}

/* One completion: its packet goes back to whoever injected it. */
static int deliver(void *arg, void *record, size_t size)
{
	const struct xdv_completion *c = record;
	struct handle *h = arg;
	struct packet *p;

	if (size < sizeof(*c))
		return 0;
	p = &h->packets[h->ring[c->desc & (XDV_INFLIGHT - 1)].frame];
	if (c->reason == XDV_REASON_FIB_NO_NEIGH)
		resolve_nexthop(h, c);
	h->fn(h->arg, p, c);
	return 0;
}

/* A completion that BPF did not write. */
static void complete_here(struct handle *h, uint32_t position, int status,
			  enum xdv_reason reason)
{
	struct xdv_desc *desc = &h->ring[position & (XDV_INFLIGHT - 1)];
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
		.desc = position & (XDV_INFLIGHT - 1),
		.engine = XDV_ENGINE_LIVE,
	};
	__u32 key;

	desc->state = XDV_DESC_DONE;
	c.seq = __atomic_add_fetch(&h->s->shared->completions, 1,
				   __ATOMIC_RELAXED);
	key = (c.seq - 1) & (XDV_RECENT - 1);
	bpf_map_update_elem(h->s->recent, &key, &c, BPF_ANY);
	deliver(h, &c, sizeof(c));
}

int handle_create(struct handle **handle, const struct state *s,
		  completion_fn fn, void *arg, char *err, size_t errlen)
{
	struct handle *h = calloc(1, sizeof(*h));
	const char *what = "out of memory";
	int rc;

	if (!h)
		return -ENOMEM;
	h->s = s;
	h->fn = fn;
	h->arg = arg;
	h->link = -1;
	h->port = (struct port){.netns = -1};
	what = "cannot load the injection program";
	rc = load(h);
	if (!rc) {
		what = "cannot create the device xdv0";
		rc = keep_in_dispatcher(h);
	}
	if (!rc) {
		what = "cannot map the UMEM";
		rc = map_frames(h);
	}
	if (!rc) {
		h->completions = ring_buffer__new(
			bpf_map__fd(h->skel->maps.xdv_completions), deliver, h,
			NULL);
		rc = h->completions ? 0 : -errno;
	}
	if (rc) {
		snprintf(err, errlen, "%s: %s", what, strerror(-rc));
		handle_destroy(h);
		return rc;
	}
	*handle = h;
	return 0;
}

void handle_destroy(struct handle *h)
{
	if (!h)
		return;
	ring_buffer__free(h->completions);
	if (h->link >= 0)
		close(h->link);
	port_close(&h->port);
	if (h->umem)
		munmap(h->umem, (size_t)XDV_FRAMES * XDV_FRAME_SIZE);
	if (h->ring)
		munmap(h->ring, XDV_INFLIGHT * sizeof(*h->ring));
	inject__destroy(h->skel);
	free(h->packets);
	free(h->free);
	free(h);
}

int handle_pin(struct handle *h)
{
	int err;

	err = state_pin(h->s, bpf_map__fd(h->skel->maps.xdv_umem), "xdv_umem");
	if (!err)
		err = state_pin(h->s, bpf_map__fd(h->skel->maps.xdv_inflight),
				"xdv_inflight");
	if (!err)
		err = state_pin(h->s,
				bpf_map__fd(h->skel->maps.xdv_completions),
				"xdv_completions");
	if (!err)
		err = state_pin(h->s,
				bpf_program__fd(h->skel->progs.xdv_inject),
				"xdv_inject");
	return err;
}

void handle_unpin(struct handle *h)
{
	state_unpin(h->s, "xdv_umem");
	state_unpin(h->s, "xdv_inflight");
	state_unpin(h->s, "xdv_completions");
	state_unpin(h->s, "xdv_inject");
}

struct packet *packet_alloc(struct handle *h)
{
	struct packet *p;

	if (!h->free_count)
		return NULL;
	p = &h->packets[h->free[--h->free_count]];
	p->data = p->base + XDV_HEAD_MAX / 2;
	p->len = 0;
	return p;
}

void packet_free(struct handle *h, struct packet *p)
{
	h->free[h->free_count++] = p->frame;
}

uint32_t packets_free(const struct handle *h)
{
	return h->free_count;
}

struct packet *packet_of_frame(struct handle *h, uint32_t frame)
{
	return &h->packets[frame];
}

void *handle_umem(struct handle *h)
{
	return h->umem;
}

int handle_port(const struct handle *h)
{
	return h->port.ifindex;
}

/* Give a target its own row in xdv_stats before BPF first counts there. */
static void ensure_stats(struct handle *h, uint32_t ifindex)
{
	if (h->known[ifindex % 64] == ifindex)
		return;
	if (!state_stats_row(h->s, ifindex))
		h->known[ifindex % 64] = ifindex;
}

int handle_inject(struct handle *h, struct packet *p, uint32_t ifindex,
		  uint64_t context, uint32_t flags)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = ring->producer;
	struct xdv_desc *desc = &h->ring[position & (XDV_INFLIGHT - 1)];

	if (position - h->done >= XDV_INFLIGHT)
		return -ENOBUFS;
	if (p->len > XDV_PACKET_MAX || p->data < p->base ||
	    p->data >= p->base + XDV_HEAD_MAX)
		return -EMSGSIZE;
	ensure_stats(h, ifindex);
	*desc = (struct xdv_desc){
		.id = __atomic_add_fetch(&h->s->shared->next_injection, 1,
					 __ATOMIC_RELAXED),
		.context = context,
		.submitted = now(),
		.frame = p->frame,
		.offset = p->data - p->base,
		.len = p->len,
		.ifindex = ifindex,
		.flags = flags,
		.state = XDV_DESC_QUEUED,
	};
	if (p->len > h->longest)
		h->longest = p->len;
	__atomic_store_n(&ring->producer, position + 1, __ATOMIC_RELEASE);
	return 0;
}

/* Run xdv_inject once for each of n descriptors. Its frames begin longer than
 * any of the batch, for shrinking is cheaper than growing.
 */
static int run(struct handle *h, uint32_t n)
{
	static uint8_t zeroes[XDV_PACKET_MAX + ETHERNET_HEADER];
	uint32_t size = h->longest + ETHERNET_HEADER;
	struct xdp_md ctx = {.data_end = size};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = zeroes,
		    .data_size_in = size, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = n,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	return bpf_prog_test_run_opts(
		bpf_program__fd(h->skel->progs.xdv_inject), &opts);
}

/* The kernel call failed: what it did not take completes with its error. */
static void refuse_queued(struct handle *h, int err)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position = ring->consumer, end = ring->producer;

	ring->consumer = end;
	ring->settled = end;
	for (; position != end; position++) {
		__atomic_fetch_add(&h->s->shared->refused, 1, __ATOMIC_RELAXED);
		complete_here(h, position, err, XDV_REASON_ENGINE);
	}
	h->done = end;
}

/*
 * Each run ends with a flush, so the tracepoints have settled every frame. If
 * one did not, no later event will: say that its fate is unknown.
 */
static void complete_rest(struct handle *h, uint32_t position)
{
	struct xdv_desc *desc = &h->ring[position & (XDV_INFLIGHT - 1)];

	if (desc->state == XDV_DESC_DONE)
		return;
	if (desc->state == XDV_DESC_TAKEN) {
		__atomic_fetch_add(&h->s->shared->unknown, 1, __ATOMIC_RELAXED);
		complete_here(h, position, -ETIMEDOUT, XDV_REASON_UNKNOWN);
	} else if (netdev_up(desc->ifindex)) {
		complete_here(h, position, -ENETUNREACH,
			      XDV_REASON_FIB_NOT_FWDED);
	} else {
		complete_here(h, position, -ENETDOWN, XDV_REASON_DEVICE_DOWN);
	}
}

static void settle_rest(struct handle *h)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;

	for (; ring->settled != ring->consumer; ring->settled++)
		complete_rest(h, ring->settled);
}

int handle_submit(struct handle *h)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t before, left;
	int err = 0;

	while (!err && ring->consumer != ring->producer) {
		before = ring->consumer;
		left = ring->producer - before;
		err = run(h, left);
		/* A signal ends a run early; a run that does nothing would
		 * never end.
		 */
		if (err == -EINTR || err == -EAGAIN)
			err = 0;
		else if (!err && ring->consumer == before)
			err = -EIO;
		ring_buffer__consume(h->completions);
		settle_rest(h);
		h->done = ring->settled;
	}
	h->longest = 0;
	if (err)
		refuse_queued(h, err);
	return err;
}
