/* SPDX-License-Identifier: BSD-2-Clause */
/* An injection handle, as its own files see it. */
#ifndef XDIVERT_INJECT_H
#define XDIVERT_INJECT_H

#include <pthread.h>

#include <xdivert.h>

#include "digest.h"
#include "idle.h"
#include "packet.h"
#include "port.h"
#include "state.h"

#define CALLOUTS_MAX 16
#define SPARE_MAX    512

struct crew;
struct inject;
struct ring_buffer;
struct queues;

/* A target that cannot transmit XDP frames, as the last one said. */
struct target {
	uint32_t compartment;
	uint32_t ifindex;
	int status;	/* why, 0: it can */
	uint64_t until; /* then it is tried again */
};

/* What an interface's MTU was a moment ago. */
#define KNOWN_MTUS 64
struct known_mtu {
	uint32_t ifindex;
	uint32_t compartment;
	uint32_t mtu;
	uint64_t at; /* ns */
};
struct stack_port;

struct registration {
	xdivert_classify_fn fn;
	void *arg;
};

struct xdivert_injection {
	struct xdivert *x;
	uint64_t id; /* nobody else's on this host */
	int family;
	uint32_t kinds;

	/* pool.c, under lock */
	pthread_mutex_t lock;
	uint8_t *umem;
	struct xdivert_packet *packets;		/* one a frame */
	LIST_HEAD(, xdivert_packet) own_memory; /* those without one */
	uint64_t own_bytes;
	uint32_t *free; /* stack of frames */
	uint32_t free_count;
	/* Frames that the dispatching thread freed and others do not see yet:
	 * it takes no lock for them.
	 */
	uint32_t spare[SPARE_MAX];
	uint32_t spares;

	/* pending.c, the dispatching thread's own: it takes no lock for what
	 * it queues itself, which goes behind what others queued before.
	 */
	struct xdivert_packet *own_first, **own_last;
	uint32_t own_initiated, completed; /* ever; only it writes these */
	bool stuck; /* own_first waits for something to complete */

	/* pending.c, under lock */
	struct xdivert_packet *first, **last; /* queued */
	uint32_t initiated;		      /* by other threads, ever */
	bool closing;
	bool signalled; /* wake is readable */
	int wake;	/* eventfd */

	/* inject.c */
	bool dispatching; /* under lock */
	uint64_t clock;	  /* while a batch is classified: when that began */
	int epoll;
	int alive; /* state_handle_lock() */

	/* home.c */
	bool at_home;  /* the dispatching thread is in our namespace */
	int elsewhere; /* the one that it came from, -1: ours */

	/* tell.c */
	int tell4, tell6;   /* sockets, -1: not yet */
	uint32_t narrowest; /* MTU that we have met, or take for granted */
	struct icmp_limit tell_limit;

	/* parts.c */
	struct xdivert_packet *again, *again_last; /* see inject_again() */
	struct known_mtu mtu[KNOWN_MTUS];

	/* live.c */
	struct inject *skel;
	struct ring_buffer *completions;
	struct port port;
	int link;		/* keeps xdv_inject in the XDP dispatcher */
	struct xdv_desc *descs; /* xdv_inflight */
	uint16_t slots[XDV_INFLIGHT]; /* stack of those that are free */
	uint32_t free_slots;
	unsigned int delivered; /* completions */
	uint32_t finished;	/* all before this position have a completion */
	uint64_t seq;		/* the next of those that are reserved */
	uint32_t reserved;	/* places in the history that are left */
	uint32_t known[64];	/* ifindexes that surely have a stats row */
	bool run_open;		/* the ring holds what live_flush() sends */
	struct request run;	/* of the first of that */
	uint32_t run_longest;

	/* wait.c */
	uint64_t
		sent[XDV_INFLIGHT]; /* by slot: when it was put into the ring */
	uint16_t held[XDV_INFLIGHT]; /* slots, in the order of the packets */
	bool listed[XDV_INFLIGHT];   /* by slot: in held */
	uint32_t held_count;
	bool judged;   /* some of them are over */
	uint64_t look; /* nothing is overdue before */

	/* target.c */
	struct target targets[64];

	/* stack.c */
	struct stack_port *ports; /* into the stacks of compartments */
	int link_changes;	  /* netlink */

	/* seen.c */
	struct xdv_injected *seen;
	uint64_t (*seen_sets)[XDV_INJECTED_WAYS];
	uint64_t seen_keys[DIGEST_KEYS];

	/* serve.c */
	struct queues *q;
	struct crew *crew;
	unsigned int share, shares; /* of the receive queues */
	int changes;		    /* inotify: attach and detach */
	int links;  /* netlink: interfaces come, go and change */
	bool stale; /* something changed since we looked around */
	int busy_tries;
	bool stopped;
	int fragments;	  /* ms until the first is too old, -1: none waits */
	int trouble;	  /* -errno that dispatch still has to tell */
	bool awake;	  /* looks again and again instead of sleeping */
	bool interrupted; /* dispatch shall return */
	struct idle idle;
	uint64_t looked; /* when it last looked for changes; ns */
	unsigned int rounds;
	struct registration callout[CALLOUTS_MAX];
	int callouts;
};

/* inject.c: does this thread dispatch h? */
bool inject_dispatches(const struct xdivert_injection *h);
/* The time; while dispatching, that of the batch under way. */
uint64_t inject_now(const struct xdivert_injection *h);
/* A request's completion; the packet goes back to its owner. */
void inject_complete(struct xdivert_injection *h, struct xdivert_packet *p,
		     const struct xdv_completion *completion);

/* What was queued goes into the ring while the CPU still has it; it is sent
 * with the rest of the round.
 */
void inject_early(struct xdivert_injection *h);
/* Injection id was not sent, for its route's MTU is that, or (0) for it comes
 * behind one of which that is so; it is counted as injected.
 */
void inject_again(struct xdivert_injection *h, struct xdivert_packet *p,
		  uint64_t id, uint32_t mtu);

/* serve.c */
int serve_round(struct xdivert_injection *h);
void serve_end(struct xdivert_injection *h);
int serve_timeout(const struct xdivert_injection *h, int timeout_ms);

#endif
