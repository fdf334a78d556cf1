/* SPDX-License-Identifier: BSD-2-Clause */
/* What completions did in one test, and the calls that every test makes. */
#ifndef XDIVERT_CONTRACT_TALLY_H
#define XDIVERT_CONTRACT_TALLY_H

#include <pthread.h>

#include "lab.h"

#define BOTH (XDIVERT_KIND_FORWARD | XDIVERT_KIND_RECEIVE)

struct tally {
	struct xdivert_injection *h;
	int called, ok, failed;
	int engine[XDV_ENGINE_NEIGH + 1]; /* how many took which */
	struct xdv_completion last;
	pthread_t thread;
	int again; /* inject so often from the completion */
	int rc;
};

/* Made here and sent to far's end of w; received from far's end of v. */
extern const struct udp plain, through;

/* A completion_fn: count it in the struct tally that is arg, free the packet.
 */
void completed(void *arg, struct xdivert_packet *p,
	       const struct xdv_completion *c);

struct xdivert_injection *create(int family, uint32_t kinds);
/* Initiate; context 77. On failure the packet is freed. */
int inject(struct xdivert_injection *h, const struct udp *u, uint32_t ifindex,
	   struct tally *t);

/* Dispatch until so many were called; the stack takes its time. */
void wait_called(struct xdivert_injection *h, const struct tally *t, int n);

void expect_on(int wire, const char *text);
void expect_nothing_on(int wire, const char *text);
void drain_wire(int wire);

/* The counters of everything that has happened so far close. */
void check_books(void);
/* They do so after every test. */
int close_books(void **state);
#define contract_test(f) cmocka_unit_test_teardown(f, close_books)

/* A handle that serves one rule; what arrives for it; its end. */
struct xdivert_injection *serve(const char *filter, uint32_t layer);
void receive_one(struct xdivert_injection *h, struct xdivert_packet **p);
void end_serving(struct xdivert_injection *h);
void send_from_far(const struct udp *u);

#endif
