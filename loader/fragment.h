/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IP fragments: what a header says of them, and how a datagram is cut into
 * some. No input or output: bytes in, bytes out.
 */
#ifndef XDIVERT_FRAGMENT_H
#define XDIVERT_FRAGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include <xdivert.h>

#define IP6_FRAGMENT_HEADER 8

struct fragment {
	uint32_t id;
	uint16_t header;     /* size of what each fragment has in front */
	uint16_t next_field; /* IPv6: where it says "fragment header" */
	uint16_t offset;     /* of the payload in the datagram's, bytes */
	uint16_t len;	     /* of the payload */
	uint8_t next;	     /* IPv6: what the fragment header is followed by */
	bool more;
	bool df;
};

/*
 * 1: a fragment, an atomic one (RFC 6946) included; 0: none; -EINVAL: one that
 * no datagram can have (RFC 791, RFC 8200 4.5): nothing in it, not the last
 * and no multiple of 8 bytes, past 65,535 bytes, or headers cut short.
 */
int fragment_parse(const uint8_t *data, uint32_t len, struct fragment *f);

/* A group that was put together, for cutting it again. */
struct fragments {
	uint32_t id;
	uint16_t header; /* IPv6: of the part that is not fragmented */
	uint16_t max;	 /* the longest fragment, an IP packet */
	uint16_t count;
	uint32_t payload;	       /* of them all */
	struct xdivert_fragment one[]; /* by offset */
};

/* A datagram that is being cut. */
struct split {
	const uint8_t *data;
	uint32_t len, mtu;
	uint32_t header; /* in front of each fragment, without IPv6's own */
	uint32_t own;	 /* IPv6: size of the fragment header, or 0 */
	uint32_t at;	 /* payload that is done */
	uint32_t base;	 /* offset of the payload, if it is a fragment */
	uint32_t id;
	uint16_t next_field;
	uint8_t next;
	bool more;		       /* a fragment, and not the last */
	const struct fragments *shape; /* cut as it was; NULL: by MTU */
	unsigned int piece;
};

/*
 * Begin to cut an IP packet to an MTU; what it was before (NULL: one piece)
 * decides identification and sizes, as far as they still fit. DF is not
 * asked: the caller knows. -EMSGSIZE: the MTU leaves no room for 8 bytes,
 * -EINVAL: not a sound IP packet. data must stay until the last piece.
 */
int split_begin(struct split *s, const uint8_t *data, uint32_t len,
		uint32_t mtu, const struct fragments *was);
/* How many pieces there are in all. */
unsigned int split_count(const struct split *s);
/* None is longer. */
static inline uint32_t split_longest(const struct split *s)
{
	return s->len < s->mtu ? s->len : s->mtu;
}
/* Write the next piece, at most mtu bytes; its length, 0 if there is none. */
uint32_t split_next(struct split *s, uint8_t *out);

#endif
