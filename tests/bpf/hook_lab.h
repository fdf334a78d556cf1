/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hook over BPF_PROG_TEST_RUN. It is attached for real, to a veth in a
 * network namespace of this process; packets are handed to it by the kernel's
 * test runner, and what the TC hook sends into its tap is handed on to the
 * program at the tap's far end.
 *
 *     in0 10.0.1.1/24, out0 10.0.2.1/24; a route to each and no default
 */
#ifndef XDIVERT_TESTS_HOOK_LAB_H
#define XDIVERT_TESTS_HOOK_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/bpf.h>

#include "inject.h"
#include "state.h"
#include "unit.h"

#define FRAME_MAX 4000

struct hook_lab {
	char pins[64];
	struct xdivert *x;
	struct xdivert_injection *h;
	unsigned int hook; /* enum xdv_hook */
	int prog;	   /* its entry */
	int tap;	   /* TC: the program at the tap's far end */
	uint32_t in, out;
	uint8_t mac[6]; /* of in0 */
	bool refused;	/* the runner's answer to the last frame */
};
extern struct hook_lab lab;

struct frame {
	uint32_t len;
	uint8_t data[FRAME_MAX];
};

enum verdict {
	PASSED,
	DIVERTED,
	DROPPED,
};

/* cmocka's fixture, with in0 attached (the hook is *state) and served. */
int lab_set_up(void **state);
int lab_tear_down(void **state);
void lab_attach(unsigned int fail);
void lab_detach(void);
/* Attached anew: wait until it is served again. */
void lab_serve_again(void);
/* The occupancy of what serves in0. */
struct xdv_queue *lab_queue(void);

void sh(const char *command);
/* Run the hook over a frame; what precedes the frame in its AF_XDP queue goes
 * to meta (may be NULL).
 */
enum verdict run(const struct frame *f, struct xdv_meta *meta);
/* TC: the same with a context of one's own, and another entry program. */
enum verdict run_skb(int prog, const struct frame *f, struct __sk_buff *in,
		     struct xdv_meta *meta);
/* Run an XDP program over a frame; what it left in front goes to meta. */
uint32_t run_xdp(int prog, const uint8_t *data, uint32_t len,
		 struct xdv_meta *meta);
struct xdivert_stats stats(void);
void add_rule(const char *name, const char *filter, const char *oif);
void flush_rules(void);

/* IPv4's header checksum, where the frame is long enough to have one. */
void set_sum(struct frame *f);
/* hex is the frame from its EtherType on; it is addressed to in0. */
void from_hex(struct frame *f, const char *hex, uint32_t pad_to);
/* An IPv4 packet of that length. */
void make_big(struct frame *f, uint32_t len);

#define IP4(len, ttl, dst)                                                     \
	"0800 4500 " len " 0000 0000 " ttl "11 0000 0a000102 " dst
#define UDP " 0fa01388 000c0000 61626364"
#define IP6(len, hlim, dst)                                                    \
	"86dd 60000000 " len " 11 " hlim                                       \
	" fd000001000000000000000000000002 " dst
#define SERVER4 "0a000202"
#define SERVER6 "fd000002000000000000000000000002"

/* hook_cases.c: what must hold of both hooks; failures. */
int run_hook_cases(const char *name, unsigned int hook);

/* hook_flows.c */
void test_flows(void **state);
void test_flow_errors(void **state);

#endif
