// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "checksum.h"
#include "fragment.h"
#include "ip.h"

#define IP_RESERVED 0x8000
#define IP_DF	    0x4000
#define IP_MF	    0x2000
#define IP_OFFSET   0x1fff

static int check(const struct fragment *f)
{
	if (!f->len || (f->more && f->len % 8) || f->offset + f->len > 65535)
		return -EINVAL;
	return 1;
}

static int parse4(const uint8_t *data, uint32_t len, struct fragment *f)
{
	uint32_t bits;

	if (len < 20 || be16(data + 2) != len)
		return -EINVAL;
	f->header = (data[0] & 0xf) * 4;
	if (f->header < 20 || f->header > len)
		return -EINVAL;
	bits = be16(data + 6);
	f->id = be16(data + 4);
	f->offset = (bits & IP_OFFSET) * 8;
	f->len = len - f->header;
	f->more = bits & IP_MF;
	f->df = bits & IP_DF;
	return f->more || f->offset ? check(f) : 0;
}

static int parse6(const uint8_t *data, uint32_t len, struct fragment *f)
{
	uint32_t at, field, bits;

	if (len < 40 || be16(data + 4) + 40u != len)
		return -EINVAL;
	if (!ip6_walk(data, len, &at, &field))
		return -EINVAL;
	if (data[field] != IPPROTO_FRAGMENT)
		return 0;
	if (at + IP6_FRAGMENT_HEADER > len)
		return -EINVAL;
	bits = be16(data + at + 2);
	f->header = at;
	f->next_field = field;
	f->next = data[at];
	f->offset = bits & 0xfff8;
	f->more = bits & 1;
	f->id = be32(data + at + 4);
	f->len = len - at - IP6_FRAGMENT_HEADER;
	return check(f);
}

int fragment_parse(const uint8_t *data, uint32_t len, struct fragment *f)
{
	*f = (struct fragment){0};
	if (len && data[0] >> 4 == 4)
		return parse4(data, len, f);
	if (len && data[0] >> 4 == 6)
		return parse6(data, len, f);
	return -EINVAL;
}

/* ---- cutting ---- */

static uint32_t payload_of(const struct split *s)
{
	return s->len - s->header;
}

/* Payload that one fragment takes; all but the last are multiples of 8. */
static uint32_t room_of(const struct split *s)
{
	return (s->mtu - s->header - s->own) & ~7u;
}

/* Payload of a piece when the datagram is cut as it was. */
static uint32_t was_size(const struct fragments *was, unsigned int i)
{
	uint32_t end =
		i + 1u < was->count ? was->one[i + 1].offset : was->payload;

	return end - was->one[i].offset;
}

static bool still_fits(const struct split *s, const struct fragments *was)
{
	unsigned int i;

	if (payload_of(s) != was->payload)
		return false;
	for (i = 0; i < was->count; i++)
		if (s->header + s->own + was_size(was, i) > s->mtu)
			return false;
	return true;
}

static int begin4(struct split *s)
{
	uint32_t bits;

	if (s->len < 20 || be16(s->data + 2) != s->len)
		return -EINVAL;
	s->header = (s->data[0] & 0xf) * 4;
	if (s->header < 20 || s->header > s->len)
		return -EINVAL;
	bits = be16(s->data + 6);
	s->base = (bits & IP_OFFSET) * 8;
	s->more = bits & IP_MF;
	return s->base + payload_of(s) > 65535 ? -EINVAL : 0;
}

/*
 * RFC 8200 4.5: up to the routing header, if there is one, or the hop-by-hop
 * header is not fragmented; or what was not before.
 */
static int begin6(struct split *s, const struct fragments *was)
{
	uint32_t at = 40, field = 6;
	uint8_t type;

	if (s->len < 40 || be16(s->data + 4) + 40u != s->len)
		return -EINVAL;
	s->header = 40;
	s->next_field = 6;
	for (;;) {
		type = s->data[field];
		if (type != IPPROTO_HOPOPTS && type != IPPROTO_ROUTING &&
		    type != IPPROTO_DSTOPTS)
			break;
		if (at + 8 > s->len || at + (s->data[at + 1] + 1) * 8 > s->len)
			return -EINVAL;
		field = at;
		at += (s->data[at + 1] + 1) * 8;
		if (type == IPPROTO_DSTOPTS && !(was && at <= was->header))
			continue;
		s->header = at;
		s->next_field = field;
	}
	s->next = s->data[s->next_field];
	/* Nobody cuts an IPv6 fragment again. */
	if (s->next == IPPROTO_FRAGMENT && s->len > s->mtu)
		return -EMSGSIZE;
	s->own = IP6_FRAGMENT_HEADER;
	s->id = was ? was->id : 0;
	return 0;
}

int split_begin(struct split *s, const uint8_t *data, uint32_t len,
		uint32_t mtu, const struct fragments *was)
{
	bool v4 = len && data[0] >> 4 == 4;
	int rc;

	*s = (struct split){.data = data, .len = len, .mtu = mtu};
	if (!len || (!v4 && data[0] >> 4 != 6))
		return -EINVAL;
	rc = v4 ? begin4(s) : begin6(s, was);
	if (rc)
		return rc;
	if (was && still_fits(s, was))
		s->shape = was;
	else if (was && was->max < s->mtu)
		s->mtu = was->max;
	/* A whole packet that fits needs no fragment header (RFC 8021). */
	if (!v4 && !s->shape && len <= s->mtu)
		s->own = 0;
	if (len > s->mtu && s->mtu < s->header + s->own + 8)
		return -EMSGSIZE;
	return 0;
}

unsigned int split_count(const struct split *s)
{
	if (s->shape)
		return s->shape->count;
	if (s->len <= s->mtu)
		return 1;
	/* The last one may have a few bytes more than a multiple of 8. */
	return (payload_of(s) - (s->mtu - s->header - s->own) + room_of(s) -
		1) / room_of(s) +
	       1;
}

/* Payload of the piece that is next. */
static uint32_t next_size(const struct split *s)
{
	uint32_t left = payload_of(s) - s->at;

	if (s->shape)
		return was_size(s->shape, s->piece);
	if (s->header + s->own + left <= s->mtu)
		return left;
	return room_of(s);
}

/* Options that are not for every fragment become NOPs, as the kernel does. */
static void keep_copied_options(uint8_t *header, uint32_t size)
{
	uint32_t at = 20, len;

	while (at < size && header[at] != 0) {
		len = 1;
		if (header[at] != 1) {
			len = at + 1 < size ? header[at + 1] : 0;
			if (len < 2 || at + len > size)
				return;
			if (!(header[at] & 0x80))
				memset(header + at, 1, len);
		}
		at += len;
	}
}

static void write4(const struct split *s, uint8_t *out, uint32_t payload,
		   bool last)
{
	uint32_t bits = be16(s->data + 6) & (IP_RESERVED | IP_DF);

	memcpy(out, s->data, s->header);
	if (s->at)
		keep_copied_options(out, s->header);
	bits |= (s->base + s->at) / 8;
	if (!last || s->more)
		bits |= IP_MF;
	put16(out + 2, s->header + payload);
	put16(out + 6, bits);
	csum_ipv4(out);
}

static void write6(const struct split *s, uint8_t *out, uint32_t payload,
		   bool last)
{
	uint8_t *own = out + s->header;

	memcpy(out, s->data, s->header);
	put16(out + 4, s->header - 40 + s->own + payload);
	if (!s->own)
		return;
	out[s->next_field] = IPPROTO_FRAGMENT;
	own[0] = s->next;
	own[1] = 0;
	put16(own + 2, s->at | !last);
	put32(own + 4, s->id);
}

uint32_t split_next(struct split *s, uint8_t *out)
{
	uint32_t payload;
	bool last;

	if (s->at && s->at == payload_of(s))
		return 0;
	if (s->piece && !payload_of(s))
		return 0;
	payload = next_size(s);
	last = s->at + payload == payload_of(s);
	if (s->data[0] >> 4 == 4)
		write4(s, out, payload, last);
	else
		write6(s, out, payload, last);
	memcpy(out + s->header + s->own, s->data + s->header + s->at, payload);
	s->at += payload;
	s->piece++;
	return s->header + s->own + payload;
}
