/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An injection handle: a UMEM, the injection ring, and the completions. One
 * thread uses a handle at a time.
 */
#ifndef XDIVERT_HANDLE_H
#define XDIVERT_HANDLE_H

#include <stdbool.h>

#include <xdp/xsk.h>

#include "packet.h"
#include "state.h"

struct handle;

/* Called once for each injection, from handle_submit(). */
typedef void (*completion_fn)(void *arg, struct packet *packet,
			      const struct xdv_completion *completion);

/* 0, or -errno with a sentence in err. s must outlive the handle. */
int handle_create(struct handle **handle, const struct state *s,
		  completion_fn fn, void *arg, char *err, size_t errlen);
/* Nothing may be in flight. */
void handle_destroy(struct handle *h);

/* Pin its maps and program, so that bpftool finds them. */
int handle_pin(struct handle *h);
void handle_unpin(struct handle *h);

/* A frame of the UMEM; NULL if all are in use. */
struct packet *packet_alloc(struct handle *h);
void packet_free(struct handle *h, struct packet *p);
uint32_t packets_free(const struct handle *h);
struct packet *packet_of_frame(struct handle *h, uint32_t frame);
void *handle_umem(struct handle *h);
/* ifindex of its device, which is down and receives nothing. */
int handle_port(const struct handle *h);

/*
 * Queue p for the interface. 0: the completion will come, and p is the
 * handle's until then. -ENOBUFS: the ring is full, handle_submit() first;
 * -EMSGSIZE: longer than a frame; p stays the caller's.
 */
int handle_inject(struct handle *h, struct packet *p, uint32_t ifindex,
		  uint64_t context, uint32_t flags);
/* Send what is queued and deliver its completions. -errno if the kernel
 * call itself failed; the injections then completed with that error.
 */
int handle_submit(struct handle *h);

#endif
