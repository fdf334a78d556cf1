// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>

#include "queue.h"

#define RING 2048
#define QUEUES_MAX 128

struct queue {
	struct xsk_socket *xsk;
	struct xsk_ring_cons rx;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons unused; /* completion ring: we never send here */
	uint32_t ifindex;
	uint32_t row; /* in xdv_queues and xdv_xsks */
	uint32_t lent; /* frames that the kernel has */
	bool wanted;
	/* libxdp binds the first socket of a UMEM to these rings. */
};

struct queues {
	const struct state *s;
	struct handle *h;
	struct xsk_umem *umem;
	struct xsk_ring_prod umem_fill;
	struct xsk_ring_cons umem_unused;
	struct queue *queue[QUEUES_MAX];
	unsigned int count;
	unsigned int next; /* to receive from: every queue gets its turn */
	int epoll;
};

int queues_create(struct queues **queues, const struct state *s,
		  struct handle *h, char *err, size_t errlen)
{
	struct xsk_umem_config config = {
		.fill_size = RING,
		.comp_size = 64,
		.frame_size = XDV_FRAME_SIZE,
	};
	struct queues *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return -ENOMEM;
	q->s = s;
	q->h = h;
	q->epoll = epoll_create1(EPOLL_CLOEXEC);
	rc = xsk_umem__create(&q->umem, handle_umem(h),
			      (uint64_t)XDV_FRAMES * XDV_FRAME_SIZE,
			      &q->umem_fill, &q->umem_unused, &config);
	if (rc) {
		snprintf(err, errlen, "cannot register the UMEM: %s",
			 strerror(-rc));
		close(q->epoll);
		free(q);
		return rc;
	}
	*queues = q;
	return 0;
}

static void close_queue(struct queues *q, struct queue *queue)
{
	__u32 row = queue->row;

	bpf_map_delete_elem(q->s->xsks, &row);
	xsk_socket__delete(queue->xsk);
	free(queue);
}

static int serve(struct queues *q, const struct xdv_iface *iface, __u32 id)
{
	struct xsk_socket_config config = {
		.rx_size = RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.xdp_flags = iface->mode == XDV_MODE_NATIVE ?
				     XDP_FLAGS_DRV_MODE :
				     XDP_FLAGS_SKB_MODE,
		.bind_flags = XDP_USE_NEED_WAKEUP,
	};
	struct epoll_event event = {.events = EPOLLIN};
	struct xdv_queue *occupancy;
	struct queue *queue;
	int rc, fd;

	if (q->count == QUEUES_MAX)
		return -ENOSPC;
	queue = calloc(1, sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	queue->ifindex = iface->ifindex;
	queue->row = iface->slot * XDV_MAX_QUEUES + id;
	queue->wanted = true;
	rc = xsk_socket__create_shared(&queue->xsk, iface->name, id, q->umem,
				       &queue->rx, NULL, &queue->fill,
				       &queue->unused, &config);
	if (rc) {
		free(queue);
		return rc;
	}
	q->queue[q->count++] = queue;
	queues_refill(q);
	occupancy = &q->s->occupancy[queue->row];
	occupancy->produced = 0;
	occupancy->lost = 0;
	occupancy->consumed = 0;
	occupancy->limit = queue->lent;
	fd = xsk_socket__fd(queue->xsk);
	epoll_ctl(q->epoll, EPOLL_CTL_ADD, fd, &event);
	return bpf_map_update_elem(q->s->xsks, &queue->row, &fd, BPF_ANY);
}

static bool serving(const struct queues *q, __u32 ifindex)
{
	unsigned int i;
	bool found = false;

	for (i = 0; i < q->count; i++)
		if (q->queue[i]->ifindex == ifindex) {
			q->queue[i]->wanted = true;
			found = true;
		}
	return found;
}

static void drop_unwanted(struct queues *q)
{
	unsigned int i = 0;

	while (i < q->count) {
		if (q->queue[i]->wanted) {
			i++;
			continue;
		}
		close_queue(q, q->queue[i]);
		q->queue[i] = q->queue[--q->count];
	}
}

int queues_update(struct queues *q, char *err, size_t errlen)
{
	__u32 key, *previous = NULL, id;
	struct xdv_iface iface;
	unsigned int i;
	int rc = 0;

	for (i = 0; i < q->count; i++)
		q->queue[i]->wanted = false;
	while (!bpf_map_get_next_key(q->s->ifaces, previous, &key)) {
		previous = &key;
		if (bpf_map_lookup_elem(q->s->ifaces, &key, &iface) ||
		    serving(q, key))
			continue;
		for (id = 0; id < iface.queues && !rc; id++)
			rc = serve(q, &iface, id);
		if (rc)
			snprintf(err, errlen,
				 "%s: cannot open an AF_XDP socket: %s",
				 iface.name, strerror(-rc));
	}
	drop_unwanted(q);
	return rc;
}

void queues_stop(struct queues *q)
{
	unsigned int i;

	for (i = 0; i < q->count; i++)
		bpf_map_delete_elem(q->s->xsks, &q->queue[i]->row);
}

void queues_destroy(struct queues *q)
{
	if (!q)
		return;
	while (q->count)
		close_queue(q, q->queue[--q->count]);
	xsk_umem__delete(q->umem);
	close(q->epoll);
	free(q);
}

unsigned int queues_count(const struct queues *q)
{
	return q->count;
}

int queues_fd(const struct queues *q)
{
	return q->epoll;
}

static void refill(struct queues *q, struct queue *queue, uint32_t share)
{
	uint32_t want = share > queue->lent ? share - queue->lent : 0, i, n;
	uint32_t at;

	if (want > packets_free(q->h))
		want = packets_free(q->h);
	n = want ? xsk_prod_nb_free(&queue->fill, want) : 0;
	if (n > want)
		n = want;
	if (!n || xsk_ring_prod__reserve(&queue->fill, n, &at) != n)
		return;
	for (i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&queue->fill, at + i) =
			(uint64_t)packet_alloc(q->h)->frame * XDV_FRAME_SIZE;
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
	/* A quarter stays with user space, for what is being injected. */
	share = XDV_FRAMES / 4 * 3 / q->count;
	if (share > RING)
		share = RING;
	for (i = 0; i < q->count; i++)
		refill(q, q->queue[i], share);
}

static struct packet *take(struct queues *q, struct queue *queue,
			   const struct xdp_desc *desc)
{
	uint64_t frame = desc->addr / XDV_FRAME_SIZE;
	struct packet *p = packet_of_frame(q->h, frame);
	uint8_t *start = p->base + desc->addr % XDV_FRAME_SIZE;
	const struct xdv_meta *meta = (const void *)(start - sizeof(*meta));

	p->data = start + meta->l3_offset;
	p->len = desc->len - meta->l3_offset;
	p->iif = meta->iif;
	p->oif = meta->oif;
	p->rule = meta->rule;
	p->received = meta->timestamp;
	queue->lent--;
	return p;
}

static unsigned int receive(struct queues *q, struct queue *queue,
			    struct packet **packets, unsigned int max)
{
	uint32_t at, i, n = xsk_ring_cons__peek(&queue->rx, max, &at);

	for (i = 0; i < n; i++)
		packets[i] = take(q, queue,
				  xsk_ring_cons__rx_desc(&queue->rx, at + i));
	if (n) {
		xsk_ring_cons__release(&queue->rx, n);
		__atomic_add_fetch(&q->s->occupancy[queue->row].consumed, n,
				   __ATOMIC_RELEASE);
	}
	return n;
}

unsigned int queues_receive(struct queues *q, struct packet **packets,
			    unsigned int max)
{
	unsigned int i, n = 0;

	for (i = 0; i < q->count && n < max; i++)
		n += receive(q, q->queue[(q->next + i) % q->count],
			     packets + n, max - n);
	q->next++;
	return n;
}
