// SPDX-License-Identifier: BSD-2-Clause
/*
 * Each run of xdv_inject takes one descriptor of the ring. The kernel call is
 * synchronous and ends with a flush of every device, so when it returns the
 * tracepoints have told what became of each frame; but for those that went
 * into the stack (wait.c).
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <xdivert.h>

#include "clock.h"
#include "compartment.h"
#include "device.h"
#include "error.h"
#include "group.h"
#include "home.h"
#include "inject.skel.h"
#include "live.h"
#include "netdev.h"
#include "ring.h"
#include "seen_table.h"
#include "stack.h"
#include "wait.h"

#define ETHERNET_HEADER 14
#define CANCEL_BOUND	1000000000ull /* ns; it takes some microseconds */
#define PORT_MOST	10 /* packets: more are cheaper as live frames */

static int load_with_table(struct xdivert_injection *h)
{
	int lock = seen_table_share(h, h->skel->maps.xdv_injected), rc;

	if (lock < 0)
		return lock;
	rc = inject__load(h->skel);
	if (rc)
		close(lock);
	else
		rc = seen_table_open(h, h->skel->maps.xdv_injected, lock);
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
	if (getrandom(&h->skel->bss->xdv_seed, sizeof(h->skel->bss->xdv_seed),
		      0) < 0)
		return -errno;
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
	int err = port_open(&h->port);

	if (err)
		return err;
	h->link = device_attach_xdp(h->skel->progs.xdv_inject, h->port.ifindex);
	return h->link < 0 ? h->link : 0;
}

static void *map_memory(const struct bpf_map *map, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

/*
 * Run xdv_inject once for each of n descriptors. Its frames begin as long as
 * the longest, for shrinking is cheaper than growing. They seem to arrive on
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

	h->skel->bss->xdv_ring.batch++;
	return bpf_prog_test_run_opts(
		bpf_program__fd(h->skel->progs.xdv_inject), &opts);
}

/* Somebody took the way into the stack away; without it live frames remain. */
static int lose_port(struct xdivert_injection *h, uint32_t compartment,
		     uint32_t *ingress)
{
	stack_forget(h, compartment);
	h->skel->bss->xdv_ring.stack = 0;
	*ingress = 0;
	return 0;
}

/* Empty the ring; this thread is in the compartment. */
static void run_all(struct xdivert_injection *h, uint32_t compartment,
		    uint32_t longest, uint32_t ingress)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t before;
	int err = 0;

	wait_block(h, compartment);
	while (!err && ring->consumer != ring->producer) {
		before = ring->consumer;
		err = run(h, ring->producer - before, longest, ingress);
		/* A signal ends a run early; a run that does nothing would
		 * never end.
		 */
		if (err == -EINTR || err == -EAGAIN)
			err = 0;
		else if (err == -ENODEV && ring->stack == ingress && ingress)
			err = lose_port(h, compartment, &ingress);
		else if (!err && ring->consumer == before)
			err = -EIO;
		ring_settle(h, err);
	}
	if (err)
		ring_refuse(h, err, XDV_REASON_ENGINE);
}

static void set_engine(struct xdivert_injection *h, enum xdv_engine engine)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	uint32_t position;

	for (position = ring->consumer; position != ring->producer; position++)
		ring_desc(h, position)->engine = engine;
}

/*
 * A call with live frames costs as much as several packets through the port,
 * whatever it carries. What the port did not take is left in the ring; true:
 * nothing is left to do.
 */
static bool run_port(struct xdivert_injection *h)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	const struct xdivert_packet *p;
	uint32_t position;

	ring->stack = 0;
	wait_block(h, 0);
	set_engine(h, XDV_ENGINE_PORT);
	while (ring->consumer != ring->producer) {
		position = ring->consumer;
		p = &h->packets[ring_desc(h, position)->frame];
		ring->batch++;
		port_send(&h->port, p->data, p->len);
		if (*(volatile __u32 *)&ring->consumer == position)
			break;
	}
	ring_settle(h, 0);
	set_engine(h, XDV_ENGINE_LIVE);
	return ring->consumer == ring->producer && !h->held_count;
}

/* Out through what stands in the ring, as the stack's port sees it. */
static void run_out(struct xdivert_injection *h, uint32_t compartment,
		    uint32_t longest)
{
	int port = stack_port(h, compartment);

	h->skel->bss->xdv_ring.stack = port;
	run_all(h, compartment, longest, port);
}

/* Then what is held and need not be any longer. Whatever is held needs the
 * stack, or comes behind what needs it.
 */
static void run_held(struct xdivert_injection *h, uint32_t compartment)
{
	uint32_t longest;

	while (wait_ready(h, compartment)) {
		if (!stack_port(h, compartment) && stack_open(h, compartment)) {
			wait_give_up(h, compartment, -EOPNOTSUPP,
				     XDV_REASON_ENGINE);
			return;
		}
		longest = wait_release(h, compartment, false);
		run_out(h, compartment, longest);
	}
}

/* What is over; BPF counts it and writes its completion. */
static void run_judged(struct xdivert_injection *h)
{
	uint32_t longest;

	while (h->judged) {
		longest = wait_release(h, 0, true);
		run_all(h, 0, longest, 0);
	}
}

/* Frames into the receive path need the interface's own address, or a group's.
 */
static int address(struct xdivert_injection *h, uint32_t ifindex)
{
	struct xdv_ring *ring = &h->skel->bss->xdv_ring;
	struct xdv_desc *desc;
	uint32_t position;
	uint8_t mac[6];
	int rc = netdev_mac(ifindex, mac);

	if (rc)
		return rc;
	for (position = ring->consumer; position != ring->producer;
	     position++) {
		desc = ring_desc(h, position);
		if (!group_mac_of(&h->packets[desc->frame], desc->mac))
			memcpy(desc->mac, mac, sizeof(mac));
	}
	return 0;
}

static void send_here(struct xdivert_injection *h, uint32_t longest,
		      const struct request *r)
{
	if (!(r->flags & XDV_DESC_RECEIVE)) {
		run_out(h, r->compartment, longest);
		run_held(h, r->compartment);
	} else if (address(h, r->ifindex)) {
		ring_refuse(h, -ENODEV, XDV_REASON_NO_DEVICE);
	} else if (!netdev_up(r->ifindex)) {
		ring_refuse(h, -ENETDOWN, XDV_REASON_DEVICE_DOWN);
	} else {
		/* An ingress that vanishes is not our way into the stack. */
		h->skel->bss->xdv_ring.stack = 0;
		run_all(h, r->compartment, longest, r->ifindex);
	}
}

/* Of the handle's compartment, out of it, and few enough. */
static bool goes_through_port(struct xdivert_injection *h,
			      const struct request *r)
{
	const struct xdv_ring *ring = &h->skel->bss->xdv_ring;

	return port_usable(&h->port) && !r->compartment &&
	       !(r->flags & XDV_DESC_RECEIVE) &&
	       ring->producer - ring->consumer <= PORT_MOST &&
	       !(ring_desc(h, ring->consumer)->flags & XDV_DESC_VIA_STACK);
}

bool live_same_run(const struct request *a, const struct request *b)
{
	if (a->compartment != b->compartment || a->born != b->born ||
	    (a->flags ^ b->flags) & XDV_DESC_RECEIVE)
		return false;
	return !(a->flags & XDV_DESC_RECEIVE) || a->ifindex == b->ifindex;
}

/* A run into the stack is of a kernel's batch and no longer. */
bool live_joins(const struct xdivert_injection *h, const struct request *r)
{
	return !(r->flags & XDV_DESC_RECEIVE) &&
	       (!h->run_open || live_same_run(&h->run, r));
}

void live_add(struct xdivert_injection *h, struct xdivert_packet *chain)
{
	uint32_t longest;

	if (!live_joins(h, &chain->request))
		live_flush(h);
	if (!h->run_open) {
		/* The first packet's completion may reuse its request. */
		h->run = chain->request;
		h->run_longest = 0;
		h->run_open = true;
	}
	longest = ring_fill(h, chain);
	if (longest > h->run_longest)
		h->run_longest = longest;
}

static void send_run(struct xdivert_injection *h, uint32_t longest,
		     struct request r)
{
	if (goes_through_port(h, &r) && run_port(h))
		return;
	if (home_enter(h)) {
		ring_refuse(h, -ENOTCONN, XDV_REASON_NO_COMPARTMENT);
	} else if (!r.compartment) {
		send_here(h, longest, &r);
	} else if (compartment_switch(r.compartment, r.born)) {
		ring_refuse(h, -ENOTCONN, XDV_REASON_NO_COMPARTMENT);
	} else {
		wait_gone(h, r.compartment, r.born, false);
		send_here(h, longest, &r);
		home_return(h);
	}
	run_judged(h);
}

void live_flush(struct xdivert_injection *h)
{
	if (!h->run_open)
		return;
	h->run_open = false;
	send_run(h, h->run_longest, h->run);
}

void live_send(struct xdivert_injection *h, struct xdivert_packet *chain)
{
	live_add(h, chain);
	live_flush(h);
}

void live_refuse(struct xdivert_injection *h, struct xdivert_packet *chain,
		 int status, enum xdv_reason reason)
{
	ring_fill(h, chain);
	ring_refuse(h, status, reason);
}

static void resume(struct xdivert_injection *h, const struct xdv_desc *next)
{
	uint64_t born = h->packets[next->frame].request.born;
	uint32_t compartment = next->compartment;

	if (home_enter(h)) {
		wait_give_up(h, compartment, -ENOTCONN,
			     XDV_REASON_NO_COMPARTMENT);
	} else if (!compartment) {
		run_held(h, 0);
	} else if (compartment_switch(compartment, born)) {
		wait_gone(h, compartment, born, true);
	} else {
		wait_gone(h, compartment, born, false);
		run_held(h, compartment);
		home_return(h);
	}
}

int live_round(struct xdivert_injection *h)
{
	unsigned int before = h->delivered;
	const struct xdv_desc *next;

	ring_deliver(h);
	stack_look(h);
	while ((next = wait_next(h)))
		resume(h, next);
	wait_expire(h);
	run_judged(h);
	return h->delivered - before;
}

void live_cancel(struct xdivert_injection *h)
{
	uint64_t until = now() + CANCEL_BOUND;

	/* A tracing program may be about to complete what we found waiting. */
	do {
		wait_cancel(h);
		run_judged(h);
		ring_deliver(h);
	} while (h->free_slots != XDV_INFLIGHT && now() < until &&
		 !sched_yield());
}

int live_create(struct xdivert_injection *h)
{
	int rc = load(h);

	if (rc == -EPROTO)
		return error_set(rc,
				 "%s/xdv_injected was made by another version "
				 "of xdivert; stop that one, or 'rm' the file",
				 h->x->root);
	if (rc)
		return error_set(rc, "cannot load the injection program: %s",
				 strerror(-rc));
	rc = keep_in_dispatcher(h);
	if (rc)
		return error_set(rc, "cannot create the device xdv0: %s",
				 strerror(-rc));
	h->umem = map_memory(h->skel->maps.xdv_umem,
			     (size_t)XDV_FRAMES * XDV_FRAME_SIZE);
	if (!h->umem)
		return error_set(-ENOMEM, "cannot map the UMEM: %s",
				 strerror(errno));
	return ring_open(h);
}

void live_destroy(struct xdivert_injection *h)
{
	stack_close(h);
	ring_close(h);
	if (h->link >= 0)
		close(h->link);
	port_close(&h->port);
	if (h->umem)
		munmap(h->umem, (size_t)XDV_FRAMES * XDV_FRAME_SIZE);
	seen_table_close(h);
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
