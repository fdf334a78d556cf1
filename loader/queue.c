// SPDX-License-Identifier: BSD-2-Clause
/* Which queues have an AF_XDP socket, and the frames that these have. */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/membarrier.h>
#include <xdp/xsk.h>

#include "compartment.h"
#include "error.h"
#include "live.h"
#include "multibuf.h"
#include "pair.h"
#include "pool.h"
#include "queues.h"
#include "tap.h"

#define RING	    2048
/* What user space may be busy with while the kernel fills the rest. */
#define SLACK	    64
#define DRAIN_TRIES 1000 /* of 100 us */

/* Of the frames, for one queue; a quarter stays with user space. */
static uint32_t share_of(const struct queues *q)
{
	uint32_t share = XDV_FRAMES / 4 * 3 / (q->count ? q->count : 1);

	return share < RING ? share : RING;
}

/* Whether packets may take several frames, the first socket says for all. */
static int open_socket(struct queues *q, struct queue *queue,
		       const char *ifname, __u32 id, __u32 xdp_flags)
{
	struct xsk_socket_config config = {
		.rx_size = RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.xdp_flags = xdp_flags,
		.bind_flags = XDP_USE_NEED_WAKEUP |
			      (multibuf_works() ? XDP_USE_SG : 0),
	};

	return xsk_socket__create_shared(&queue->xsk, ifname, id, q->umem,
					 &queue->rx, NULL, &queue->fill,
					 &queue->unused, &config);
}

/*
 * The first socket of a UMEM lives as long as the UMEM (libxdp gives it the
 * UMEM's own descriptor), so it must not be one that serves an interface.
 * Bind it to our own device, where nothing arrives.
 */
static int open_anchor(struct queues *q)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname(live_port(q->h), name))
		return -errno;
	return open_socket(q, &q->anchor, name, 0, XDP_FLAGS_DRV_MODE);
}

static int open_umem(struct queues *q)
{
	struct xsk_umem_config config = {
		.fill_size = RING,
		.comp_size = 64,
		.frame_size = XDV_FRAME_SIZE,
	};
	int rc = xsk_umem__create(&q->umem, q->h->umem,
				  (uint64_t)XDV_FRAMES * XDV_FRAME_SIZE,
				  &q->umem_fill, &q->umem_unused, &config);

	return rc ? rc : open_anchor(q);
}

int queues_create(struct queues **queues, struct xdivert_injection *h)
{
	struct queues *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return -ENOMEM;
	q->s = h->x;
	q->h = h;
	rc = open_umem(q);
	if (rc) {
		queues_destroy(q);
		return error_set(rc, "cannot register the UMEM: %s",
				 strerror(-rc));
	}
	*queues = q;
	return 0;
}

/* Wait until no CPU runs the hook with what it looked up before. */
static void wait_for_hooks(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static void stop_queue(const struct queues *q, struct queue *queue)
{
	if (!queue->open)
		return;
	queue->open = false;
	q->s->occupancy[queue->row].limit = 0;
	bpf_map_delete_elem(q->s->xsks, &queue->row);
}

/* Close the socket and take back the frames that the kernel had of us. */
static void close_queue(struct queues *q, struct queue *queue)
{
	uint32_t frame;

	stop_queue(q, queue);
	xsk_socket__delete(queue->xsk);
	for (frame = 0; frame < XDV_FRAMES; frame++) {
		if (q->lent_to[frame] != queue->row + 1)
			continue;
		q->lent_to[frame] = 0;
		pool_return(q->h, frame);
	}
	free(queue);
}

/* Once it has frames, the hook puts packets into it. */
static int open_queue(struct queues *q, struct queue *queue)
{
	struct xdv_queue *occupancy = &q->s->occupancy[queue->row];
	struct epoll_event event = {.events = EPOLLIN};
	int fd = xsk_socket__fd(queue->xsk), rc;

	occupancy->produced = 0;
	occupancy->lost = 0;
	occupancy->consumed = 0;
	occupancy->left = occupancy->entered;
	occupancy->serial = queue->serial;
	rc = bpf_map_update_elem(q->s->xsks, &queue->row, &fd, BPF_ANY);
	if (!rc && epoll_ctl(q->h->epoll, EPOLL_CTL_ADD, fd, &event))
		rc = -errno;
	queue->open = true;
	return rc;
}

/* Open a queue like model, at receive queue id of an interface. */
static int serve(struct queues *q, const struct queue *model,
		 const char *ifname, __u32 id, __u32 xdp_flags)
{
	struct queue *queue;
	int rc;

	if (q->count == QUEUES_MAX)
		return -ENOSPC;
	queue = malloc(sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	*queue = *model;
	queue->wanted = true;
	rc = open_socket(q, queue, ifname, id, xdp_flags);
	if (rc) {
		free(queue);
		return rc;
	}
	rc = open_queue(q, queue);
	if (rc)
		close_queue(q, queue);
	else
		q->queue[q->count++] = queue;
	return rc;
}

static int serve_iface(struct queues *q, const struct xdv_iface *iface,
		       __u32 id)
{
	struct queue model = {
		.ifindex = iface->ifindex,
		.serial = iface->serial,
		.row = iface->slot * XDV_MAX_QUEUES + id,
	};
	char ifname[IF_NAMESIZE];

	if (!if_indextoname(iface->ifindex, ifname))
		return -errno;
	return serve(q, &model, ifname, id,
		     iface->mode == XDV_MODE_NATIVE ? XDP_FLAGS_DRV_MODE
						    : XDP_FLAGS_SKB_MODE);
}

static struct queue *find_queue(const struct queues *q, uint32_t row)
{
	unsigned int i;

	for (i = 0; i < q->count; i++)
		if (q->queue[i]->row == row)
			return q->queue[i];
	return NULL;
}

/* Every queue of the interface that is ours and not served yet. -EBUSY: the
 * row's last user is still being drained, or the kernel still has its socket.
 */
static int serve_all(struct queues *q, const struct xdv_iface *iface)
{
	struct queue *queue;
	int rc = 0, one;
	__u32 id, row;

	for (id = 0; id < iface->queues; id++) {
		row = iface->slot * XDV_MAX_QUEUES + id;
		if (XDV_SHARE_OF(row, q->h->shares) != q->h->share)
			continue;
		queue = find_queue(q, row);
		if (!queue)
			one = serve_iface(q, iface, id);
		else
			one = queue->wanted ? 0 : -EBUSY;
		rc = rc ? rc : one;
	}
	return rc;
}

/* The tap that interfaces with the TC hook share. */
static int serve_tap(struct queues *q, uint32_t longest)
{
	struct queue model = {.tap = true}, *queue;
	int rc = 0, home;

	if (!q->tap)
		rc = tap_open(&q->tap, q->h->x, q->h->share, q->h->shares,
			      longest);
	if (rc)
		return rc;
	model.row = tap_row(q->tap);
	queue = find_queue(q, model.row);
	if (queue)
		return queue->wanted ? 0 : -EBUSY;
	home = netns_enter(tap_netns(q->tap));
	if (home < 0)
		return home;
	q->s->occupancy[model.row].rests = tap_pages(q->tap);
	rc = serve(q, &model, PAIR_FAR, 0, XDP_FLAGS_DRV_MODE);
	netns_leave(home);
	return rc;
}

/* The device went away under the socket. */
static bool gone(const struct queue *queue)
{
	struct pollfd fd = {.fd = xsk_socket__fd(queue->xsk)};

	return poll(&fd, 1, 0) == 1 && fd.revents & (POLLERR | POLLHUP);
}

static bool empty(struct queue *queue)
{
	uint32_t at;

	if (!xsk_ring_cons__peek(&queue->rx, 1, &at))
		return true;
	xsk_ring_cons__cancel(&queue->rx, 1);
	return false;
}

/* Close what is not wanted any more, once its last packet was received. */
void queues_close_idle(struct queues *q)
{
	unsigned int i = 0;

	while (i < q->count) {
		struct queue *queue = q->queue[i];

		if (queue->wanted && gone(queue))
			queue->wanted = false;
		if (queue->wanted || !empty(queue)) {
			i++;
			continue;
		}
		q->queue[i] = q->queue[--q->count];
		close_queue(q, queue);
	}
}

/* Nothing more goes into our tap; let what is in it come out. */
static void drain_tap(const struct queues *q, const struct queue *queue)
{
	struct xdv_queue *occupancy = &q->s->occupancy[queue->row];
	int tries;

	occupancy->limit = 0;
	wait_for_hooks();
	for (tries = 0; tries < DRAIN_TRIES; tries++) {
		if (__atomic_load_n(&occupancy->left, __ATOMIC_ACQUIRE) ==
		    __atomic_load_n(&occupancy->entered, __ATOMIC_ACQUIRE))
			break;
		usleep(100);
	}
}

/* From now on nothing new reaches the queues that are not wanted. */
static void stop_unwanted(struct queues *q)
{
	unsigned int i, stopped = 0;

	for (i = 0; i < q->count; i++) {
		if (q->queue[i]->wanted || !q->queue[i]->open)
			continue;
		if (q->queue[i]->tap)
			drain_tap(q, q->queue[i]);
		stop_queue(q, q->queue[i]);
		stopped++;
	}
	if (stopped)
		wait_for_hooks();
}

/* More than its share, and idle: others wait for these frames. */
static bool hoards(const struct queues *q, struct queue *queue)
{
	return q->starved && queue->lent > share_of(q) + SLACK && empty(queue);
}

/* The longest packet of the interfaces with the TC hook, 0: there is none. */
static uint32_t tap_needed(const struct queues *q)
{
	__u32 key, *previous = NULL;
	struct xdv_iface iface;
	uint32_t longest = 0;

	while (!bpf_map_get_next_key(q->s->ifaces, previous, &key)) {
		previous = &key;
		if (!bpf_map_lookup_elem(q->s->ifaces, &key, &iface) &&
		    iface.hook == XDV_HOOK_TC && iface.longest > longest)
			longest = iface.longest;
	}
	return longest;
}

/* Is the tap alive, and does it do for what is attached? */
static bool tap_wanted(const struct queues *q)
{
	uint32_t longest = tap_needed(q);

	return longest && tap_alive(q->tap) && tap_takes(q->tap, longest);
}

/* Does the interface that this queue was opened for still have its slot? */
static bool wanted(const struct queues *q, struct queue *queue)
{
	__u32 ifindex = queue->ifindex;
	struct xdv_iface iface;

	if (!queue->open || hoards(q, queue))
		return false;
	if (queue->tap)
		return tap_wanted(q);
	return !bpf_map_lookup_elem(q->s->ifaces, &ifindex, &iface) &&
	       iface.serial == queue->serial &&
	       iface.slot == queue->row / XDV_MAX_QUEUES;
}

/* One that somebody deleted is replaced, and one that takes too little. */
static int update_tap(struct queues *q)
{
	uint32_t longest = tap_needed(q);

	if (q->tap && !find_queue(q, tap_row(q->tap)) && !tap_wanted(q)) {
		tap_close(q->tap);
		q->tap = NULL;
	}
	return longest ? serve_tap(q, longest) : 0;
}

int queues_update(struct queues *q)
{
	__u32 key, *previous = NULL;
	struct xdv_iface iface;
	unsigned int i;
	int rc = 0, one;

	for (i = 0; i < q->count; i++)
		q->queue[i]->wanted = wanted(q, q->queue[i]);
	stop_unwanted(q);
	queues_close_idle(q);
	while (!bpf_map_get_next_key(q->s->ifaces, previous, &key)) {
		previous = &key;
		if (bpf_map_lookup_elem(q->s->ifaces, &key, &iface))
			continue;
		one = serve_all(q, &iface);
		if (!one)
			continue;
		rc = error_set(one, "%s: cannot open an AF_XDP socket: %s",
			       iface.name, strerror(-one));
	}
	one = update_tap(q);
	if (one)
		rc = error_set(one,
			       "cannot make the devices of the TC hook: %s",
			       strerror(-one));
	/* All are open: each gets its share. */
	queues_refill(q);
	return rc;
}

bool queues_starved(const struct queues *q)
{
	return q->starved;
}

bool queues_owed(const struct queues *q)
{
	return q->owes;
}

void queues_stop(struct queues *q)
{
	unsigned int i;

	for (i = 0; i < q->count; i++)
		q->queue[i]->wanted = false;
	stop_unwanted(q);
}

void queues_destroy(struct queues *q)
{
	if (!q)
		return;
	while (q->count)
		close_queue(q, q->queue[--q->count]);
	tap_close(q->tap);
	if (q->anchor.xsk)
		xsk_socket__delete(q->anchor.xsk);
	if (q->umem)
		xsk_umem__delete(q->umem);
	free(q);
}

/* The hook stops before the kernel is out of frames. */
static void set_limit(struct queues *q, struct queue *queue)
{
	uint32_t limit =
		queue->lent > 2 * SLACK ? queue->lent - SLACK : queue->lent / 2;

	if (queue->open)
		__atomic_store_n(&q->s->occupancy[queue->row].limit, limit,
				 __ATOMIC_RELEASE);
}

static void refill(struct queues *q, struct queue *queue, uint32_t share)
{
	uint32_t want = share > queue->lent ? share - queue->lent : 0, i, n;
	uint32_t frames[RING], at;

	n = want ? xsk_prod_nb_free(&queue->fill, want) : 0;
	n = pool_lend(q->h, frames, n < want ? n : want);
	if (!n || xsk_ring_prod__reserve(&queue->fill, n, &at) != n)
		return;
	for (i = 0; i < n; i++) {
		q->lent_to[frames[i]] = queue->row + 1;
		*xsk_ring_prod__fill_addr(&queue->fill, at + i) =
			(uint64_t)frames[i] * XDV_FRAME_SIZE;
	}
	xsk_ring_prod__submit(&queue->fill, n);
	queue->lent += n;
	if (xsk_ring_prod__needs_wakeup(&queue->fill))
		recvfrom(xsk_socket__fd(queue->xsk), NULL, 0, MSG_DONTWAIT,
			 NULL, NULL);
}

void queues_refill(struct queues *q)
{
	uint32_t share;
	unsigned int i;

	if (!q->count)
		return;
	share = share_of(q);
	q->starved = false;
	for (i = 0; i < q->count; i++) {
		if (!q->queue[i]->wanted)
			continue;
		refill(q, q->queue[i], share);
		set_limit(q, q->queue[i]);
		if (q->queue[i]->lent < share / 2)
			q->starved = true;
	}
}
