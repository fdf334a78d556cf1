// SPDX-License-Identifier: BSD-2-Clause
/* Header parsing never reads past the end and finds what is there. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <xdivert.h>

#include "unit.h"

#define NEXT_TCP 6
#define NEXT_UDP 17

static const struct {
	const char *name;
	const char *hex; /* of the headers; zeroes follow */
	uint32_t len;
	int rc;
	struct xdivert_headers want;
} cases[] = {
	{"empty", "", 0, -EINVAL, {0}},
	{"version 0", "00", 40, -EINVAL, {0}},
	{"version 5", "55", 40, -EINVAL, {0}},
	{"IPv4, shorter than its header",
	 "450000130000000040fd",
	 19,
	 -EINVAL,
	 {0}},
	{"IPv4, header length 16", "440000140000000040fd", 20, -EINVAL, {0}},
	{"IPv4, total length too long",
	 "450000150000000040fd",
	 20,
	 -EINVAL,
	 {0}},
	{"IPv4, total length too short",
	 "450000140000000040fd",
	 21,
	 -EINVAL,
	 {0}},
	{"IPv4, options past the end",
	 "4f0000140000000040fd",
	 20,
	 -EINVAL,
	 {0}},
	{"IPv4, unknown protocol",
	 "450000180000000040fd",
	 24,
	 0,
	 {4, 253, false, 0, 0}},
	{"IPv4, UDP", "4500001e000000004011", 30, 0, {4, 17, false, 20, 28}},
	{"IPv4, UDP, 7 bytes",
	 "4500001b000000004011",
	 27,
	 0,
	 {4, 17, false, 0, 0}},
	{"IPv4, UDP behind options",
	 "460000220000000040110000"
	 "0000000000000000",
	 34,
	 0,
	 {4, 17, false, 24, 32}},
	{"IPv4, first fragment",
	 "4500001e000020004011",
	 30,
	 0,
	 {4, 17, false, 20, 28}},
	{"IPv4, later fragment",
	 "4500001e000000014011",
	 30,
	 0,
	 {4, 17, true, 0, 0}},
	{"IPv4, ICMP", "4500001d000000004001", 29, 0, {4, 1, false, 20, 28}},
	{"IPv4, TCP, 20 bytes",
	 "45000029000000004006000000000000"
	 "00000000000000000000000000000000"
	 "50",
	 41,
	 0,
	 {4, 6, false, 20, 40}},
	{"IPv4, TCP, data offset past the end",
	 "45000029000000004006000000000000"
	 "00000000000000000000000000000000"
	 "60",
	 41,
	 0,
	 {4, 6, false, 0, 0}},
	{"IPv4, TCP, data offset 4",
	 "45000029000000004006000000000000"
	 "00000000000000000000000000000000"
	 "40",
	 41,
	 0,
	 {4, 6, false, 0, 0}},
	{"IPv4, TCP, 19 bytes",
	 "45000027000000004006",
	 39,
	 0,
	 {4, 6, false, 0, 0}},
	{"IPv6, shorter than its header", "6000000000001140", 39, -EINVAL, {0}},
	{"IPv6, payload length wrong", "6000000000091140", 48, -EINVAL, {0}},
	{"IPv6, UDP", "6000000000081140", 48, 0, {6, 17, false, 40, 48}},
	{"IPv6, no next header",
	 "6000000000003b40",
	 40,
	 0,
	 {6, 59, false, 0, 0}},
	{"IPv6, ICMPv6", "6000000000083a40", 48, 0, {6, 58, false, 40, 48}},
};

static uint32_t from_hex(const char *hex, uint8_t *out, uint32_t size)
{
	char byte[3] = {0};
	uint32_t n = 0;

	memset(out, 0, size);
	for (; *hex && n < size; hex += 2) {
		memcpy(byte, hex, 2);
		out[n++] = strtoul(byte, NULL, 16);
	}
	return n;
}

/* An exact allocation, so that ASan and valgrind see one byte too many. */
static uint8_t *exact(const uint8_t *data, uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, data, len);
	return copy;
}

static void test_parse(void **state)
{
	uint8_t data[128], *copy;
	struct xdivert_headers h;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		from_hex(cases[i].hex, data, sizeof(data));
		copy = exact(data, cases[i].len);
		print_message("%s\n", cases[i].name);
		assert_int_equal(xdivert_parse(copy, cases[i].len, &h),
				 cases[i].rc);
		free(copy);
		if (cases[i].rc)
			continue;
		assert_int_equal(h.version, cases[i].want.version);
		assert_int_equal(h.protocol, cases[i].want.protocol);
		assert_int_equal(h.later_fragment,
				 cases[i].want.later_fragment);
		assert_int_equal(h.transport, cases[i].want.transport);
		assert_int_equal(h.payload, cases[i].want.payload);
	}
}

/* hop-by-hop, routing, destination, fragment, AH, then UDP */
static uint32_t extensions(uint8_t *p, bool later_fragment)
{
	static const uint8_t chain[] = {0, 43, 60, 44, 51, 17};
	uint32_t at = 40;
	size_t i;

	memset(p, 0, 200);
	p[0] = 0x60;
	p[6] = chain[0];
	for (i = 0; i < 5; i++) {
		p[at] = chain[i + 1];
		if (chain[i] == 44)
			p[at + 3] = later_fragment ? 0x08 : 0x01;
		if (chain[i] == 51) {
			p[at + 1] = 4; /* AH counts words of 4, less 2 */
			at += 24;
		} else if (chain[i] == 60) {
			p[at + 1] = 1;
			at += 16;
		} else {
			at += 8;
		}
	}
	at += 8 + 4;
	p[5] = at - 40;
	return at;
}

static void test_extension_headers(void **state)
{
	uint8_t data[200];
	uint32_t len = extensions(data, false);
	struct xdivert_headers h;

	(void)state;
	assert_int_equal(xdivert_parse(data, len, &h), 0);
	assert_int_equal(h.protocol, NEXT_UDP);
	assert_int_equal(h.transport, len - 12);
	assert_int_equal(h.payload, len - 4);
	len = extensions(data, true);
	assert_int_equal(xdivert_parse(data, len, &h), 0);
	assert_true(h.later_fragment);
	assert_int_equal(h.transport, 0);
	assert_int_equal(h.payload, 0);
}

/* Cut anywhere: no transport header rather than one past the end. */
static void test_truncated_extensions(void **state)
{
	uint8_t data[200], *copy;
	uint32_t full = extensions(data, false), len;
	struct xdivert_headers h;

	(void)state;
	for (len = 40; len < full; len++) {
		data[5] = len - 40;
		copy = exact(data, len);
		assert_int_equal(xdivert_parse(copy, len, &h), 0);
		assert_true(h.transport <= len && h.payload <= len);
		if (len < full - 4)
			assert_int_equal(h.payload, 0);
		free(copy);
	}
}

/* Random bytes behind a plausible start: offsets stay inside. */
static void test_random(void **state)
{
	unsigned int seed = 1;
	uint8_t data[256], *copy;
	struct xdivert_headers h;
	uint32_t len, i;
	int round, parsed = 0;

	(void)state;
	for (round = 0; round < 200000; round++) {
		len = rand_r(&seed) % sizeof(data);
		for (i = 0; i < sizeof(data); i++)
			data[i] = rand_r(&seed) >> 8;
		if (round & 1) {
			data[0] = 0x40 | (data[0] & 0xf);
			data[2] = 0;
			data[3] = len;
		} else {
			static const uint8_t next[] = {0,  43, 44, 51,
						       60, 6,  17};

			data[0] = 0x60;
			data[4] = 0;
			data[5] = len - 40;
			data[6] = next[data[6] % sizeof(next)];
			data[40] = next[data[40] % sizeof(next)];
		}
		copy = exact(data, len);
		if (!xdivert_parse(copy, len, &h)) {
			parsed++;
			assert_true(h.transport <= len && h.payload <= len);
		}
		free(copy);
	}
	assert_true(parsed > 50000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_extension_headers),
		cmocka_unit_test(test_truncated_extensions),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests_name("packet", tests, NULL, NULL);
}
