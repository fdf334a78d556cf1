/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets for tests that compare answers about packets. */
#ifndef XDIVERT_TRAFFIC_H
#define XDIVERT_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>

#define PACKET_MAX 200

struct packet_data {
	uint32_t len;
	uint8_t data[PACKET_MAX];
};

/*
 * Real-looking headers with random fields from a small choice, so that
 * expressions match now and then; then cut anywhere, or noise. Always the
 * same for a seed.
 */
void traffic_make(struct packet_data *packets, int n, unsigned int seed);

/* BPF_PROG_TEST_RUN makes no sk_buff of an IP header cut short. */
bool makes_skb(const uint8_t *data, uint32_t len);

#endif
