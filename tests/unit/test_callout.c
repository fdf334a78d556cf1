// SPDX-License-Identifier: BSD-2-Clause
/* Words of --do, and callouts on packets that are short or strange. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "packet.h"
#include "unit.h"

static const struct {
	const char *text;
	const char *error; /* part of it; NULL: accepted */
} words[] = {
	{"drop", NULL},
	{"  pass  ", NULL},
	{"set ip.dscp 46", NULL},
	{"set ip.dscp ef", NULL},
	{"set ip.dscp 0x2e", NULL},
	{"set 'ip.src' \"10.0.0.1\"", NULL},
	{"set ip.dst fd00::1", NULL},
	{"replace a b", NULL},
	{"replace 'a b' \"c d\"", NULL},
	{"replace '\\x00\\n' ab", NULL},
	{"", "empty"},
	{"   ", "empty"},
	{"'", "quote"},
	{"nothing", "'nothing'"},
	{"drop it", "no arguments"},
	{"pass it", "no arguments"},
	{"set", "field"},
	{"set ip.ttl", "field"},
	{"set ip.ttl 0", "1 to 255"},
	{"set ip.ttl 256", "1 to 255"},
	{"set ip.ttl 1x", "1 to 255"},
	{"set ip.ttl 99999999999999999999", "1 to 255"},
	{"set ip.nothing 1", "ip.nothing"},
	{"set ip.src fd00::zz", "not an address"},
	{"replace a", "'OLD'"},
	{"replace a bc", "same length"},
	{"replace '' ''", "empty"},
	{"replace \\q a", "escape"},
	{"replace \\x1 a", "escape"},
	{"replace a b c d e f g h i j k l m n o p q", "quote"},
};

static void test_parse(void **state)
{
	struct xdivert_callout *callout;
	size_t i;
	int rc;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		print_message("%s\n", words[i].text);
		rc = xdivert_callout_parse(words[i].text, &callout);
		if (words[i].error) {
			assert_int_equal(rc, -EINVAL);
			assert_non_null(
				strstr(xdivert_error(), words[i].error));
		} else {
			assert_int_equal(rc, 0);
			xdivert_callout_free(callout);
		}
	}
}

static void test_too_long(void **state)
{
	struct xdivert_callout *callout;
	char text[3000];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "replace ", 8);
	text[1500] = ' ';
	text[sizeof(text) - 1] = 0;
	assert_int_equal(xdivert_callout_parse(text, &callout), -EINVAL);
}

static struct xdivert_callout *make(const char *text)
{
	struct xdivert_callout *callout = NULL;

	assert_int_equal(xdivert_callout_parse(text, &callout), 0);
	return callout;
}

static void test_verdicts(void **state)
{
	uint8_t data[20] = {0x45, 0, 0, 20};
	struct xdivert_packet p = {.data = data, .len = sizeof(data)};
	struct xdivert_callout *drop = make("drop"), *pass = make("pass");

	(void)state;
	assert_int_equal(xdivert_callout_run(drop, &p), XDIVERT_DROP);
	assert_int_equal(xdivert_callout_run(pass, &p), XDIVERT_INJECT);
	xdivert_callout_free(drop);
	xdivert_callout_free(pass);
}

/* Any callout on any packet stays inside it and keeps a good checksum. */
static void test_random_packets(void **state)
{
	static const char *const texts[] = {
		"set ip.src 1.2.3.4", "set ip.dst fd00::1",
		"set ip.dscp 63",     "set ip.ttl 1",
		"set tcp.sport 1",    "set tcp.dport 65535",
		"set udp.sport 1",    "set udp.dport 0",
		"replace a b",	      "replace '\\x00' '\\xff'",
	};
	struct xdivert_callout *callouts[ARRAY_SIZE(texts)];
	unsigned int seed = 6;
	struct xdivert_packet p;
	uint32_t i, len;
	int round;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(texts); i++)
		callouts[i] = make(texts[i]);
	for (round = 0; round < 50000; round++) {
		len = 20 + rand_r(&seed) % 60;
		p = (struct xdivert_packet){.data = malloc(len), .len = len};
		assert_non_null(p.data);
		for (i = 0; i < len; i++)
			p.data[i] = rand_r(&seed) >> 8;
		p.data[0] = round & 1 ? 0x45 : 0x60;
		p.data[round & 1 ? 2 : 4] = 0;
		p.data[round & 1 ? 3 : 5] = round & 1 ? len : len - 40;
		p.data[round & 1 ? 9 : 6] = round & 2 ? 6 : 17;
		for (i = 0; i < ARRAY_SIZE(texts); i++)
			assert_int_equal(xdivert_callout_run(callouts[i], &p),
					 XDIVERT_CONTINUE);
		assert_int_equal(p.len, len);
		free(p.data);
	}
	for (i = 0; i < ARRAY_SIZE(texts); i++)
		xdivert_callout_free(callouts[i]);
}

/* A UDP checksum that comes out as zero is sent as ffff (RFC 768). */
static void test_udp_zero(void **state)
{
	uint8_t data[30] = {0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17};
	struct xdivert_packet p = {.data = data, .len = sizeof(data)};
	struct xdivert_callout *callout;
	char text[40];
	struct xdivert_headers h;
	int port;

	(void)state;
	data[25] = 10;
	for (port = 0; port < 65536; port++) {
		snprintf(text, sizeof(text), "set udp.sport %d", port);
		callout = make(text);
		if (!port) {
			assert_int_equal(xdivert_parse(data, 30, &h), 0);
			data[26] = 1;
			csum_transport(data, 30, &h);
		}
		xdivert_callout_run(callout, &p);
		xdivert_callout_free(callout);
		assert_true(data[26] || data[27]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_random_packets),
		cmocka_unit_test(test_udp_zero),
	};

	return cmocka_run_group_tests_name("callout", tests, NULL, NULL);
}
