// SPDX-License-Identifier: BSD-2-Clause
/* Internet checksums, RFC 1071; incremental ones, RFC 1624. */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "ip.h"
#include "checksum.h"
#include "packet.h"
#include "tunnel.h"

/* Sums are of 16-bit words in memory order, so byte order does not matter. */
uint32_t csum_add(uint32_t sum, const void *data, uint32_t len)
{
	const uint8_t *p = data;
	uint64_t total = sum;
	uint32_t word;

	/* Sums of longer words fold into the same. */
	for (; len >= 4; len -= 4, p += 4) {
		memcpy(&word, p, 4);
		total += word;
	}
	word = 0;
	memcpy(&word, p, len);
	total += word;
	while (total >> 32)
		total = (total & 0xffffffff) + (total >> 32);
	return total;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

uint16_t csum_fold(uint32_t sum)
{
	return ~fold(sum);
}

uint32_t csum_pseudo(const uint8_t *ip, const struct xdivert_headers *h,
		     uint32_t len)
{
	uint32_t words[2] = {htonl(len), htonl(h->protocol)};
	uint32_t sum = h->version == 4 ? csum_add(0, ip + 12, 8)
				       : csum_add(0, ip + 8, 32);

	return fold(csum_add(sum, words, sizeof(words)));
}

void xdivert_checksum_update(void *sum, const void *from, const void *to,
			     uint32_t len)
{
	uint16_t check;
	uint32_t total, i;
	uint16_t word;

	memcpy(&check, sum, 2);
	total = (uint16_t)~check;
	for (i = 0; i < len; i += 2) {
		memcpy(&word, (const uint8_t *)from + i, 2);
		total = fold(total + (uint16_t)~word);
		memcpy(&word, (const uint8_t *)to + i, 2);
		total = fold(total + word);
	}
	check = ~total;
	memcpy(sum, &check, 2);
}

void csum_ipv4(uint8_t *ip)
{
	uint16_t check;

	memset(ip + 10, 0, 2);
	check = csum_fold(csum_add(0, ip, (ip[0] & 0xf) * 4));
	memcpy(ip + 10, &check, 2);
}

/* Where the transport checksum is, NULL if there is none to speak of. */
static uint8_t *field(uint8_t *ip, const struct xdivert_headers *h)
{
	if (!h->transport)
		return NULL;
	switch (h->protocol) {
	case IPPROTO_TCP:
		return ip + h->transport + 16;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
		return ip + h->transport + 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return ip + h->transport + 2;
	}
	return NULL;
}

void csum_transport(uint8_t *ip, uint32_t len, const struct xdivert_headers *h)
{
	uint32_t left = len - h->transport;
	uint8_t *at = field(ip, h);
	uint16_t check;

	if (!at)
		return;
	memcpy(&check, at, 2);
	if (h->protocol == IPPROTO_UDP && h->version == 4 && !check)
		return;
	memset(at, 0, 2);
	check = csum_fold(csum_add(
		h->protocol == IPPROTO_ICMP ? 0 : csum_pseudo(ip, h, left),
		ip + h->transport, left));
	if (h->protocol == IPPROTO_UDP && !check)
		check = 0xffff;
	memcpy(at, &check, 2);
}

void csum_edit(uint8_t *ip, const struct xdivert_headers *h, const uint8_t *at,
	       const uint8_t *to, uint32_t len)
{
	uint8_t *sum = field(ip, h), from_word[2], to_word[2];
	/* Words are counted from the transport header, or the address. */
	const uint8_t *start = at < ip + h->transport ? at : ip + h->transport;
	uint32_t i, odd = (at - start) & 1;

	if (!sum || (h->protocol == IPPROTO_UDP && !sum[0] && !sum[1]))
		return;
	/* One byte at a time, beside a zero: sums are linear. */
	for (i = 0; i < len; i++) {
		from_word[(i + odd) & 1] = at[i];
		from_word[(i + odd + 1) & 1] = 0;
		to_word[(i + odd) & 1] = to[i];
		to_word[(i + odd + 1) & 1] = 0;
		xdivert_checksum_update(sum, from_word, to_word, 2);
	}
	if (h->protocol == IPPROTO_UDP && !sum[0] && !sum[1])
		sum[0] = sum[1] = 0xff;
}

/* A checksum is finished before a packet is fragmented. */
static bool is_fragment(const uint8_t *ip, const struct xdivert_headers *h)
{
	uint32_t at = 40;
	uint8_t next = ip[6];

	if (h->version == 4)
		return (ip[6] & 0x3f) | ip[7];
	/* xdivert_parse() came through these. */
	while (at < h->transport) {
		if (next == IPPROTO_FRAGMENT)
			return true;
		next = ip[at];
		at += (ip[at + 1] + 1) * 8;
	}
	return false;
}

/* CRC32c as SCTP has it: bit-reflected, little-endian in the packet. */
static uint32_t crc32c(const uint8_t *p, uint32_t len)
{
	uint32_t crc = ~0u;
	int bit;

	for (; len; len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* What a device would have to fill in is 0. */
static void complete_sctp(uint8_t *ip, uint32_t len,
			  const struct xdivert_headers *h)
{
	uint32_t at = h->version == 4 ? (ip[0] & 0xf) * 4 : 40, crc;

	/* Extension headers of IPv6 are not looked for. */
	if (len < at + 12 || ip[h->version == 4 ? 9 : 6] != IPPROTO_SCTP)
		return;
	memcpy(&crc, ip + at + 8, 4);
	if (crc)
		return;
	crc = htole32(crc32c(ip + at, len - at));
	memcpy(ip + at + 8, &crc, 4);
}

/* Is it the sum of the pseudo-header alone? A device was to add the rest. */
static bool unfinished(uint8_t *ip, uint32_t len,
		       const struct xdivert_headers *h)
{
	uint16_t check;

	if (!h->transport ||
	    (h->protocol != IPPROTO_TCP && h->protocol != IPPROTO_UDP))
		return false;
	memcpy(&check, field(ip, h), 2);
	return check && check == csum_pseudo(ip, h, len - h->transport);
}

static bool sums_up(const uint8_t *ip, uint32_t len,
		    const struct xdivert_headers *h)
{
	uint32_t left = len - h->transport;

	return !csum_fold(
		csum_add(csum_pseudo(ip, h, left), ip + h->transport, left));
}

/*
 * A kernel that leaves the inner checksum to a device gives the outer one the
 * value that is right when that is done. One that is right already was computed
 * by somebody else, over what is there.
 */
static void complete_inner(uint8_t *ip, uint32_t len,
			   const struct xdivert_headers *outer)
{
	uint32_t at = tunnel_inner(ip, len);
	/* Padding of a short frame may follow it. */
	uint32_t inner = ip_claims(ip + at, len - at);
	struct xdivert_headers h;

	if (!at || inner > len - at || xdivert_parse(ip + at, inner, &h) ||
	    is_fragment(ip + at, &h) || !unfinished(ip + at, inner, &h))
		return;
	if (outer->protocol == IPPROTO_UDP && be16(field(ip, outer)) &&
	    sums_up(ip, len, outer))
		return;
	csum_transport(ip + at, inner, &h);
}

void csum_complete(uint8_t *ip, uint32_t len, const struct xdivert_headers *h)
{
	if (is_fragment(ip, h))
		return;
	if (h->protocol == IPPROTO_SCTP)
		complete_sctp(ip, len, h);
	if (unfinished(ip, len, h))
		csum_transport(ip, len, h);
	complete_inner(ip, len, h);
}

uint16_t xdivert_checksum(const void *data, uint32_t len, uint32_t sum)
{
	return csum_fold(csum_add(sum, data, len));
}

static void set_length(struct xdivert_packet *p)
{
	bool v4 = p->data[0] >> 4 == 4;
	uint32_t len = v4 ? p->len : p->len - 40;

	p->data[v4 ? 2 : 4] = len >> 8;
	p->data[v4 ? 3 : 5] = len;
}

static void set_udp_length(uint8_t *udp, uint32_t len)
{
	udp[4] = len >> 8;
	udp[5] = len;
}

int xdivert_packet_finish(struct xdivert_packet *p)
{
	struct xdivert_headers h;

	if (p->len < 20 || (p->data[0] >> 4 == 6 && p->len < 40))
		return -EINVAL;
	set_length(p);
	if (xdivert_parse(p->data, p->len, &h))
		return -EINVAL;
	if (h.version == 4)
		csum_ipv4(p->data);
	/* The rest of a datagram is elsewhere. */
	if (is_fragment(p->data, &h))
		return 0;
	if (h.protocol == IPPROTO_UDP && h.transport)
		set_udp_length(p->data + h.transport, p->len - h.transport);
	csum_transport(p->data, p->len, &h);
	return 0;
}
