/* SPDX-License-Identifier: BSD-2-Clause */
/* A packet in user space: IP header first, room before and behind it. */
#ifndef XDIVERT_PACKET_H
#define XDIVERT_PACKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct packet {
	uint8_t *data; /* the IP header */
	uint32_t len;  /* IP packet, in bytes; link padding is not part of it */
	uint32_t frame;
	uint8_t *base; /* the frame around it, XDV_FRAME_SIZE bytes */
	uint32_t iif;
	uint32_t oif;
	uint32_t rule;
	uint64_t received; /* CLOCK_MONOTONIC ns */
};

/* Where things are in a packet; offsets from the IP header. */
struct headers {
	uint8_t version;     /* 4 or 6 */
	uint8_t protocol;    /* of the transport header; extensions skipped */
	bool later_fragment; /* not the first: it has no transport header */
	uint16_t transport;  /* offset, 0 if there is none */
	uint16_t payload;    /* offset of the bytes behind TCP, UDP or ICMP */
};

/*
 * Parse an IP packet. 0, or -EINVAL if the IP header is malformed, or its
 * length is not len. A packet whose transport header is truncated or unknown
 * is valid, with transport (or payload) 0.
 */
int packet_parse(const uint8_t *data, uint32_t len, struct headers *h);

/* The one's complement sum of a TCP/UDP/ICMPv6 pseudo header, not inverted. */
uint32_t csum_pseudo(const uint8_t *ip, const struct headers *h, uint32_t len);
uint32_t csum_add(uint32_t sum, const void *data, uint32_t len);
uint16_t csum_fold(uint32_t sum);
/* RFC 1624: *sum (network order) after `len` (even) bytes changed. */
void csum_update(uint8_t *sum, const void *from, const void *to, uint32_t len);
/* Compute and store the transport checksum; UDP over IPv4 with 0 stays 0. */
void csum_transport(uint8_t *ip, uint32_t len, const struct headers *h);
void csum_ipv4(uint8_t *ip);
/*
 * A sender on a veth leaves checksums to "hardware" (CHECKSUM_PARTIAL): the
 * field then holds the bare pseudo header sum. Complete such a checksum.
 */
void csum_complete(uint8_t *ip, uint32_t len, const struct headers *h);

#endif
