/* SPDX-License-Identifier: BSD-2-Clause */
/* The AF_XDP sockets, as the files see them that open and that read them. */
#ifndef XDIVERT_QUEUES_H
#define XDIVERT_QUEUES_H

#include <xdp/xsk.h>

#include "queue.h"
#include "tap.h"

#define QUEUES_MAX 128

struct queue {
	struct xsk_socket *xsk;
	struct xsk_ring_cons rx;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons unused; /* completion ring: we never send here */
	uint32_t ifindex;
	uint64_t serial; /* of the attachment */
	uint32_t row;	 /* in xdv_queues and xdv_xsks */
	uint32_t lent;	 /* frames that the kernel has */
	bool open;	 /* to the hook */
	bool wanted;
	bool tap; /* at the far end of ours, not at an interface */
};

struct queues {
	const struct xdivert *s;
	struct xdivert_injection *h;
	struct xsk_umem *umem;
	struct xsk_ring_prod umem_fill;
	struct xsk_ring_cons umem_unused;
	struct queue anchor;
	struct queue *queue[QUEUES_MAX];
	unsigned int count;
	unsigned int next; /* to receive from: every queue gets its turn */
	struct tap *tap;   /* if an interface has the TC hook */
	bool owes;	   /* the tap: pages, if what is to come is lost */
	bool starved;	   /* some queue has less than half its share */
	uint16_t lent_to[XDV_FRAMES]; /* row + 1 of the queue, 0: ours */
};

#endif
