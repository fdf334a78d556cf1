/* SPDX-License-Identifier: BSD-2-Clause */
/* A packet, and the frame of the UMEM or the memory of its own that it lies in.
 */
#ifndef XDIVERT_PACKET_H
#define XDIVERT_PACKET_H

#include <sys/queue.h>

#include <xdivert.h>

#include "icmp.h"

/* As a packet's frame: it is too big for one, or waits, and has its own memory.
 */
#define NO_FRAME UINT32_MAX

struct fragments;
struct parts;

enum packet_state {
	PACKET_FREE,
	PACKET_OURS,   /* the caller's */
	PACKET_QUEUED, /* the library's, until its completion */
	PACKET_LENT,   /* its frame is the kernel's, to receive into */
};

/* What xdivert_query_injection_state() answers from. */
struct origin {
	uint64_t handle; /* 0: not injected */
	uint64_t previous;
	uint64_t context;
	uint64_t tag;
	uint64_t digest; /* if it was injected */
	uint32_t ttl;
};

/* An injection that was initiated. */
struct request {
	struct xdivert_packet *next;
	uint64_t context;
	uint64_t submitted;   /* ns */
	uint64_t tag, digest; /* seen.c's, while it is being sent */
	uint32_t compartment;
	uint32_t ifindex;
	uint64_t born;	/* when the compartment was made, unless it is ours */
	uint32_t flags; /* XDV_DESC_ */
	uint32_t mtu;	/* of the route, once the kernel has told; else 0 */
	xdivert_completion_fn fn;
	void *arg;
	uint64_t id; /* see inject_again() */
};

#define CACHE_LINE 64

/* Thousands of them take turns, so none is in the cache: what every packet
 * needs comes first, and receive.c fetches that.
 */
struct xdivert_packet {
	struct xdivert_injection *h;
	uint8_t *base; /* room bytes, those of the frame */
	uint8_t *data; /* the IP header in it */
	uint32_t len;  /* of the IP packet; link padding is not part of it */
	uint32_t frame;
	uint32_t flags; /* XDIVERT_PACKET_ */
	uint32_t state; /* enum packet_state */
	uint32_t room;
	uint32_t weight; /* diverted packets that it stands for, 1 or more */
	bool diverted;	 /* and not yet decided */
	bool summed;	 /* received with its checksums complete */
	bool fragment;	 /* from the hook, to be put together */
	uint8_t quote_len;
	struct fragments *shape;      /* it was a group of fragments */
	struct parts *parts;	      /* while it leaves in parts */
	struct xdivert_packet *whole; /* it is a part of that one */
	uint8_t *big; /* all of a part whose frame holds the beginning */
	struct xdivert_metadata meta;
	struct origin origin;
	struct request request;

	LIST_ENTRY(xdivert_packet) own_memory;
	uint8_t quote[ICMP_QUOTE]; /* its first bytes as it came */
} __attribute__((aligned(CACHE_LINE)));

/* All len bytes of it. */
static inline uint8_t *packet_bytes(const struct xdivert_packet *p)
{
	return p->big ? p->big : p->data;
}

#endif
