// SPDX-License-Identifier: BSD-2-Clause
/* Full and incremental checksums agree with each other and with RFC 1071. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <stdbool.h>
#include <string.h>

#include "checksum.h"
#include "packet.h"
#include "unit.h"

static void test_rfc1071_example(void **state)
{
	static const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03,
				       0xf4, 0xf5, 0xf6, 0xf7};

	(void)state;
	assert_int_equal(csum_fold(csum_add(0, data, 8)), htons(0x220d));
	/* An odd byte counts as the upper half of a word. */
	assert_int_equal(csum_fold(csum_add(0, data, 7)),
			 htons((uint16_t)~0xdcfb));
}

static void test_ipv4_header(void **state)
{
	/* The usual example: 192.168.0.1 to 192.168.0.199, UDP */
	uint8_t ip[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40,
			0x00, 0x40, 0x11, 0xaa, 0xaa, 0xc0, 0xa8,
			0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};

	(void)state;
	csum_ipv4(ip);
	assert_int_equal(ip[10], 0xb8);
	assert_int_equal(ip[11], 0x61);
}

static void random_packet(unsigned int *seed, uint8_t *ip, uint32_t len,
			  uint8_t protocol, struct xdivert_headers *h)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		ip[i] = rand_r(seed) >> 8;
	ip[0] = 0x45;
	ip[2] = len >> 8;
	ip[3] = len;
	ip[6] = ip[7] = 0;
	ip[9] = protocol;
	if (protocol == IPPROTO_TCP)
		ip[32] = 0x50;
	assert_int_equal(xdivert_parse(ip, len, h), 0);
}

static uint16_t sum_of_all(const uint8_t *ip, uint32_t len,
			   const struct xdivert_headers *h)
{
	uint32_t left = len - h->transport;

	return csum_fold(csum_add(
		h->protocol == IPPROTO_ICMP ? 0 : csum_pseudo(ip, h, left),
		ip + h->transport, left));
}

/* Summing a packet with its checksum gives zero. */
static void test_transport(void **state)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP,
					    IPPROTO_ICMP};
	unsigned int seed = 2;
	struct xdivert_headers h;
	uint8_t ip[300];
	uint32_t len;
	int round;

	(void)state;
	for (round = 0; round < 3000; round++) {
		len = 60 + rand_r(&seed) % 200;
		random_packet(&seed, ip, len, protocols[round % 3], &h);
		csum_transport(ip, len, &h);
		assert_int_equal(sum_of_all(ip, len, &h), 0);
	}
}

static void test_udp_without_checksum_stays_so(void **state)
{
	unsigned int seed = 3;
	struct xdivert_headers h;
	uint8_t ip[100];

	(void)state;
	random_packet(&seed, ip, sizeof(ip), IPPROTO_UDP, &h);
	ip[26] = ip[27] = 0;
	csum_transport(ip, sizeof(ip), &h);
	assert_int_equal(ip[26] | ip[27], 0);
}

static void test_incremental_equals_full(void **state)
{
	unsigned int seed = 4;
	struct xdivert_headers h;
	uint8_t ip[120], to[16];
	uint32_t at, len, i;
	int round;

	(void)state;
	for (round = 0; round < 20000; round++) {
		random_packet(&seed, ip, sizeof(ip), IPPROTO_TCP, &h);
		csum_transport(ip, sizeof(ip), &h);
		len = 2 + 2 * (rand_r(&seed) % 8);
		at = 40 + 2 * (rand_r(&seed) % 20);
		for (i = 0; i < len; i++)
			to[i] = round % 5 ? rand_r(&seed) >> 8 : 0;
		xdivert_checksum_update(ip + 36, ip + at, to, len);
		memcpy(ip + at, to, len);
		assert_int_equal(sum_of_all(ip, sizeof(ip), &h), 0);
	}
}

/* After an edit: lengths and sums are made right, IPv4 and IPv6. */
static void test_finish(void **state)
{
	static const uint8_t v4[] = {0x45, 0, 0,  0, 0, 7, 0,  0, 9, 17,
				     1,	   2, 10, 0, 0, 1, 10, 0, 0, 2,
				     0,	   5, 0,  6, 0, 8, 3,  4};
	static const uint8_t v6[] = {
		0x60,	  0,	    0, 0, 0, 0, 17, 9, [8] = 0xfd, [24] = 0xfd,
		[39] = 1, [40] = 0, 5, 0, 6, 0, 8,  0, 0};
	uint8_t ip[120] = {0};
	struct xdivert_packet p = {.data = ip, .len = 41};
	struct xdivert_headers h;

	(void)state;
	memcpy(ip, v4, sizeof(v4));
	memcpy(ip + 28, "edited longer", 13);
	assert_int_equal(xdivert_packet_finish(&p), 0);
	assert_int_equal(ip[3], 41);
	assert_int_equal(ip[25], 21);
	assert_int_equal(csum_fold(csum_add(0, ip, 20)), 0);
	assert_int_equal(xdivert_parse(ip, p.len, &h), 0);
	assert_int_equal(sum_of_all(ip, p.len, &h), 0);
	/* None stays none over IPv4; over IPv6 there must be one. */
	ip[26] = ip[27] = 0;
	assert_int_equal(xdivert_packet_finish(&p), 0);
	assert_int_equal(ip[26] | ip[27], 0);
	memset(ip, 0, sizeof(ip));
	memcpy(ip, v6, sizeof(v6));
	memcpy(ip + 48, "text", 4);
	p.len = 52;
	assert_int_equal(xdivert_packet_finish(&p), 0);
	assert_int_equal(ip[5], 12);
	assert_int_equal(ip[45], 12);
	assert_true(ip[46] | ip[47]);
	assert_int_equal(xdivert_parse(ip, p.len, &h), 0);
	assert_int_equal(sum_of_all(ip, p.len, &h), 0);
	/* A sum that comes out as 0 is written as all ones. */
	ip[50] = ip[46];
	ip[51] = ip[47];
	memcpy(ip + 48, "te", 2);
	ip[46] = ip[47] = 0;
	assert_int_equal(xdivert_packet_finish(&p), 0);
	assert_true(ip[46] | ip[47]);
	p.len = 39;
	assert_int_equal(xdivert_packet_finish(&p), -EINVAL);
}

/* Of a first fragment the sum is over what is not here. */
static void test_finish_first_fragment(void **state)
{
	uint8_t ip[48] = {0x45, 0, 0,  0, 0, 7, 0x20, 0,   9, 17,
			  1,	2, 10, 0, 0, 1, 10,   0,   0, 2,
			  0,	5, 0,  6, 9, 9, 0x12, 0x34};
	uint8_t six[72] = {0x60,      0, 0, 0, 0, 0, 44,   9,	[8] = 0xfd,
			   [40] = 17, 0, 0, 1, 0, 0, 0,	   7, /* more follow */
			   0,	      5, 0, 6, 9, 9, 0x12, 0x34};
	struct xdivert_packet p = {.data = ip, .len = sizeof(ip)};

	(void)state;
	assert_int_equal(xdivert_packet_finish(&p), 0);
	assert_int_equal(ip[3], sizeof(ip));
	assert_int_equal(csum_fold(csum_add(0, ip, 20)), 0);
	assert_memory_equal(ip + 24, ((uint8_t[]){9, 9, 0x12, 0x34}), 4);
	p = (struct xdivert_packet){.data = six, .len = sizeof(six)};
	assert_int_equal(xdivert_packet_finish(&p), 0);
	assert_int_equal(six[5], sizeof(six) - 40);
	assert_memory_equal(six + 52, ((uint8_t[]){9, 9, 0x12, 0x34}), 4);
}

/* CHECKSUM_PARTIAL: the field holds the pseudo header's sum alone. */
static void test_complete(void **state)
{
	unsigned int seed = 5;
	uint8_t ip[100], good[100];
	struct xdivert_headers h;
	uint16_t pseudo;

	(void)state;
	random_packet(&seed, ip, sizeof(ip), IPPROTO_TCP, &h);
	pseudo = csum_pseudo(ip, &h, sizeof(ip) - h.transport);
	memcpy(ip + 36, &pseudo, 2);
	csum_complete(ip, sizeof(ip), &h);
	assert_int_equal(sum_of_all(ip, sizeof(ip), &h), 0);
	/* A complete one, and a wrong one, stay as they are. */
	memcpy(good, ip, sizeof(ip));
	csum_complete(ip, sizeof(ip), &h);
	assert_memory_equal(ip, good, sizeof(ip));
	ip[36] ^= 0x55;
	memcpy(good, ip, sizeof(ip));
	csum_complete(ip, sizeof(ip), &h);
	assert_memory_equal(ip, good, sizeof(ip));
}

/* A first fragment's checksum is of the whole datagram, whatever it looks
 * like.
 */
static void test_fragments_are_complete(void **state)
{
	uint8_t ip[60] = {0x45, 0, 0, 60, 0, 1, 0x20, 0, 64, IPPROTO_UDP};
	uint8_t ip6[88] = {0x60, 0, 0, 0, 0, 48, IPPROTO_FRAGMENT, 64};
	uint8_t before[88];
	struct xdivert_headers h;
	uint16_t pseudo;

	(void)state;
	assert_int_equal(xdivert_parse(ip, sizeof(ip), &h), 0);
	pseudo = csum_pseudo(ip, &h, sizeof(ip) - h.transport);
	memcpy(ip + 26, &pseudo, 2);
	memcpy(before, ip, sizeof(ip));
	csum_complete(ip, sizeof(ip), &h);
	assert_memory_equal(ip, before, sizeof(ip));
	ip[6] = 0;
	csum_complete(ip, sizeof(ip), &h);
	assert_memory_not_equal(ip + 26, before + 26, 2);

	ip6[40] = IPPROTO_UDP;
	ip6[43] = 1; /* more fragments follow */
	assert_int_equal(xdivert_parse(ip6, sizeof(ip6), &h), 0);
	assert_int_equal(h.transport, 48);
	pseudo = csum_pseudo(ip6, &h, sizeof(ip6) - h.transport);
	memcpy(ip6 + 54, &pseudo, 2);
	memcpy(before, ip6, sizeof(ip6));
	csum_complete(ip6, sizeof(ip6), &h);
	assert_memory_equal(ip6, before, sizeof(ip6));
}

/* A sum of 0 would say "none". */
static void test_complete_udp_zero(void **state)
{
	uint8_t ip[30] = {0x45, 0, 0, 30, 0, 1, 0, 0, 64, IPPROTO_UDP};
	struct xdivert_headers h;
	uint16_t pseudo, all;

	(void)state;
	ip[15] = ip[19] = 9;
	assert_int_equal(xdivert_parse(ip, sizeof(ip), &h), 0);
	pseudo = csum_pseudo(ip, &h, 10);
	all = csum_fold(csum_add(pseudo, ip + 20, 10));
	memcpy(ip + 28, &all, 2); /* now everything adds up to 0 */
	memcpy(ip + 26, &pseudo, 2);
	csum_complete(ip, sizeof(ip), &h);
	assert_int_equal(ip[26], 0xff);
	assert_int_equal(ip[27], 0xff);
}

static uint32_t put(uint8_t *to, uint32_t at, const void *from, uint32_t len)
{
	memcpy(to + at, from, len);
	return at + len;
}

/* Each tunnel around a packet whose checksum is not finished, and not around
 * one of which no more is known than where it might be.
 */
static void test_complete_in_tunnels(void **state)
{
	static const uint8_t vxlan[] = "\0\1\x12\xb5\0\0\0\0\x8\0\0\0\0\0\x8\0";
	static const uint8_t geneve[] =
		"\0\1\x17\xc1\0\0\0\0\1\0\x65\x58\0\0\x8\0opts";
	static const uint8_t frame[] = "DDDDDDSSSSSS\x8\0";
	static const uint8_t tagged[] = "DDDDDDSSSSSS\x81\0\0\5\x8\0";
	static const struct {
		int protocol;
		const uint8_t *head;
		uint32_t head_len;
		const uint8_t *eth;
		uint32_t eth_len;
		bool known;
	} tunnels[] = {
		{IPPROTO_IPIP, NULL, 0, NULL, 0, true},
		{IPPROTO_GRE, (void *)"\0\0\x8\0", 4, NULL, 0, true},
		{IPPROTO_GRE, (void *)"\x20\0\x65\x58keyk", 8, frame, 14, true},
		{IPPROTO_GRE, (void *)"\0\1\x8\0", 4, NULL, 0, false},
		{IPPROTO_UDP, vxlan, 16, frame, 14, true},
		{IPPROTO_UDP, vxlan, 16, tagged, 18, true},
		{IPPROTO_UDP, geneve, 20, frame, 14, true},
		{IPPROTO_UDP, (void *)"\0\1\0\2\0\0\0\0\x8\0\0\0\0\0\x8\0", 16,
		 frame, 14, false},
	};
	uint8_t inner[60], ip[200];
	struct xdivert_headers h, hi;
	uint32_t at, len;
	uint16_t pseudo;
	unsigned int seed = 4;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(tunnels); i++) {
		random_packet(&seed, inner, sizeof(inner), IPPROTO_TCP, &hi);
		pseudo = csum_pseudo(inner, &hi, sizeof(inner) - hi.transport);
		memcpy(inner + 36, &pseudo, 2);
		memset(ip, 0, 20);
		ip[0] = 0x45;
		ip[8] = 64;
		ip[9] = tunnels[i].protocol;
		len = 20;
		if (tunnels[i].head_len)
			len = put(ip, len, tunnels[i].head,
				  tunnels[i].head_len);
		if (tunnels[i].eth_len)
			len = put(ip, len, tunnels[i].eth, tunnels[i].eth_len);
		at = len;
		len = put(ip, len, inner, sizeof(inner));
		ip[3] = len;
		assert_int_equal(xdivert_parse(ip, len, &h), 0);
		csum_complete(ip, len, &h);
		if (tunnels[i].known)
			assert_int_equal(
				sum_of_all(ip + at, sizeof(inner), &hi), 0);
		else
			assert_memory_equal(ip + at, inner, sizeof(inner));
	}
}

/* Whoever summed up the tunnel's bytes as they are meant them so. */
static void test_a_sound_tunnel_is_left_alone(void **state)
{
	uint8_t ip[20 + 16 + 14 + 60] = {0x45, 0, 0, sizeof(ip), 0,
					 0,    0, 0, 64,	 IPPROTO_UDP},
				  before[sizeof(ip)], *inner = ip + 50;
	struct xdivert_headers h, hi;
	unsigned int seed = 5;
	uint16_t pseudo;

	(void)state;
	memcpy(ip + 20, "\0\1\x12\xb5\0\x5a\1\1\x8\0\0\0\0\0\x8\0", 16);
	memcpy(ip + 36, "DDDDDDSSSSSS\x8\0", 14);
	random_packet(&seed, inner, 60, IPPROTO_TCP, &hi);
	pseudo = csum_pseudo(inner, &hi, 60 - hi.transport);
	memcpy(inner + 36, &pseudo, 2);
	assert_int_equal(xdivert_parse(ip, sizeof(ip), &h), 0);
	csum_transport(ip, sizeof(ip), &h);
	memcpy(before, ip, sizeof(ip));
	csum_complete(ip, sizeof(ip), &h);
	assert_memory_equal(ip, before, sizeof(ip));
	/* As a kernel would have computed it. */
	csum_transport(inner, 60, &hi);
	csum_transport(ip, sizeof(ip), &h);
	memcpy(before, ip, sizeof(ip));
	memcpy(inner + 36, &pseudo, 2);
	csum_complete(ip, sizeof(ip), &h);
	assert_memory_equal(ip, before, sizeof(ip));
}

static void test_complete_sctp(void **state)
{
	/* Built by scapy, which fills in the CRC32c. */
	static const uint8_t whole[] = {
		0x45, 0x00, 0x00, 0x38, 0x00, 0x01, 0x00, 0x00, 0x40, 0x84,
		0x66, 0x3f, 0x0a, 0x00, 0x00, 0x01, 0x0a, 0x00, 0x00, 0x02,
		0x00, 0x01, 0x00, 0x02, 0x01, 0x02, 0x03, 0x04, 0x1d, 0x8b,
		0xf0, 0xd2, 0x00, 0x00, 0x00, 0x18, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x67, 0x6f,
		0x70, 0x68, 0x65, 0x72, 0x21, 0x21};
	uint8_t ip[sizeof(whole)];
	struct xdivert_headers h;

	(void)state;
	memcpy(ip, whole, sizeof(ip));
	memset(ip + 28, 0, 4);
	assert_int_equal(xdivert_parse(ip, sizeof(ip), &h), 0);
	csum_complete(ip, sizeof(ip), &h);
	assert_memory_equal(ip, whole, sizeof(ip));
	ip[28] ^= 1;
	csum_complete(ip, sizeof(ip), &h);
	assert_int_equal(ip[28], whole[28] ^ 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc1071_example),
		cmocka_unit_test(test_ipv4_header),
		cmocka_unit_test(test_transport),
		cmocka_unit_test(test_udp_without_checksum_stays_so),
		cmocka_unit_test(test_incremental_equals_full),
		cmocka_unit_test(test_complete),
		cmocka_unit_test(test_fragments_are_complete),
		cmocka_unit_test(test_complete_udp_zero),
		cmocka_unit_test(test_complete_in_tunnels),
		cmocka_unit_test(test_a_sound_tunnel_is_left_alone),
		cmocka_unit_test(test_complete_sctp),
		cmocka_unit_test(test_finish),
		cmocka_unit_test(test_finish_first_fragment),
	};

	return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
