// SPDX-License-Identifier: BSD-2-Clause
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "bytes.h"
#include "checksum.h"
#include "icmp.h"

#define NS 1000000000ull

static bool error4(uint8_t type)
{
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH ||
	       type == ICMP_REDIRECT || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

static bool may_answer4(const uint8_t *data, uint32_t len)
{
	uint32_t source, target, header;

	if (len < 20)
		return false;
	header = (data[0] & 0xf) * 4;
	source = be32(data + 12);
	target = be32(data + 16);
	if (!(source >> 24) || source >> 24 == 127 || source >> 28 >= 14 ||
	    target >> 28 == 14 || target == 0xffffffff)
		return false;
	if (be16(data + 6) & 0x1fff || header < 20 || header > len)
		return false;
	if (data[9] != IPPROTO_ICMP)
		return true;
	return header < len && !error4(data[header]);
}

static bool may_answer6(const uint8_t *data, uint32_t len)
{
	static const uint8_t none[16];
	uint32_t at = 40, size;
	uint8_t next;

	if (len < 40 || data[8] == 0xff || data[24] == 0xff ||
	    !memcmp(data + 8, none, sizeof(none)))
		return false;
	next = data[6];
	while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT) {
		if (at + 8 > len)
			return false;
		if (next == IPPROTO_FRAGMENT && be16(data + at + 2) & 0xfff8)
			return false;
		size = next == IPPROTO_FRAGMENT ? 8 : (data[at + 1] + 1) * 8;
		next = data[at];
		at += size;
	}
	if (next != IPPROTO_ICMPV6)
		return true;
	return at < len && data[at] >= ICMP6_INFOMSG_MASK &&
	       data[at] != 137; /* redirect */
}

bool icmp_may_answer(const uint8_t *data, uint32_t len)
{
	if (!len)
		return false;
	if (data[0] >> 4 == 4)
		return may_answer4(data, len);
	return data[0] >> 4 == 6 && may_answer6(data, len);
}

uint32_t icmp_too_big(const uint8_t *data, uint32_t len, uint32_t mtu,
		      uint8_t *out)
{
	uint32_t quote = len < ICMP_QUOTE ? len : ICMP_QUOTE;
	uint16_t check;

	memset(out, 0, 8);
	memcpy(out + 8, data, quote);
	if (data[0] >> 4 == 6) {
		out[0] = ICMP6_PACKET_TOO_BIG;
		put32(out + 4, mtu);
		return 8 + quote;
	}
	out[0] = ICMP_DEST_UNREACH;
	out[1] = ICMP_FRAG_NEEDED;
	put16(out + 6, mtu < 65535 ? mtu : 65535);
	check = csum_fold(csum_add(0, out, 8 + quote));
	memcpy(out + 2, &check, 2);
	return 8 + quote;
}

/* A bucket of ICMP_BURST, filled at ICMP_RATE. */
bool icmp_allowed(struct icmp_limit *limit, uint64_t now)
{
	const uint64_t each = NS / ICMP_RATE;

	if (limit->full < now)
		limit->full = now;
	if (limit->full + each > now + ICMP_BURST * each)
		return false;
	limit->full += each;
	return true;
}
