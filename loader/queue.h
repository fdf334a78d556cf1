/* SPDX-License-Identifier: BSD-2-Clause */
/* The AF_XDP sockets of the attached interfaces, one a receive queue. */
#ifndef XDIVERT_QUEUE_H
#define XDIVERT_QUEUE_H

#include "inject.h"

struct queues;

int queues_create(struct queues **queues, struct xdivert_injection *h);
void queues_destroy(struct queues *q);

/* Serve what is attached now and nothing else; call again when it changed. */
int queues_update(struct queues *q);
/* Pass new packets to nobody any more: from now on they are unserved. */
void queues_stop(struct queues *q);

/* Update again in a moment: frames are being taken back from idle queues. */
bool queues_starved(const struct queues *q);
/* Receive again in a second, though nothing may have come. */
bool queues_owed(const struct queues *q);
/* Up to max packets of all queues; they are the caller's. One that waits makes
 * the handle's descriptor readable.
 */
unsigned int queues_receive(struct queues *q, struct xdivert_packet **packets,
			    unsigned int max);
/* Awake for nothing: close what went, or has been drained. */
void queues_close_idle(struct queues *q);
/* Hand free frames to the kernel. */
void queues_refill(struct queues *q);

#endif
