/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the contract is tested: this process in a namespace of its own with
 * two veth pairs into another one, which plays both neighbours.
 *
 *     us:  v0 10.1.0.1/24, w0 10.2.0.1/24     far: v1 10.1.0.2, w1 10.2.0.2
 *          fd01::1/64,     fd02::1/64                fd01::2,   fd02::2
 */
#ifndef XDIVERT_CONTRACT_LAB_H
#define XDIVERT_CONTRACT_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include <xdivert.h>

struct lab {
	char pins[64];
	char far[32];	    /* name of the other namespace */
	uint32_t v0, w0;    /* ifindexes, ours */
	uint32_t v1;	    /* far's */
	int wire_v, wire_w; /* raw sockets on v1 and w1 */
	uint8_t mac_v0[6], mac_w0[6], mac_v1[6];
	struct xdivert *x;
};

extern struct lab lab;

/* cmocka group setup and teardown. */
int lab_open(void **state);
int lab_close(void **state);

/* Everything up, and every neighbour known. */
void lab_neighbours(void);

void sh(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A UDP packet of family 4 or 6 with that text; src and dst are last bytes in
 * net 10.<from>.0 and 10.<to>.0 (fd0<from>::, fd0<to>::).
 */
struct udp {
	int family;
	int from_net, from, to_net, to;
	uint16_t sport, dport;
	uint8_t ttl;
	const char *text;
};
uint32_t lab_build(const struct udp *u, uint8_t *data);
/* Complete the sum of an IPv4 header without options; IPv6 has none. */
void lab_seal(uint8_t *ip);
struct xdivert_packet *lab_packet(struct xdivert_injection *h,
				  const struct udp *u);

/* A raw socket on an interface of this thread's namespace, or -1. */
int lab_wire(const char *ifname);
/* Put an IP packet on the wire from the far end of v0. */
void lab_send(const uint8_t *data, uint32_t len);
/* The next frame on that wire whose end is text; its length, 0 after ms. */
int lab_receive(int wire, const char *text, uint8_t *frame, int ms);

#endif
