// SPDX-License-Identifier: BSD-2-Clause
/* Digests tell packets apart, but not by what forwarding changes. */
#include <string.h>

#include "digest.h"
#include "unit.h"

#define LONGEST 400

static uint64_t keys[DIGEST_KEYS];

static uint64_t digest(const uint8_t *data, uint32_t len)
{
	return digest_all(keys, digest_head(keys, data, len), data, len);
}

static void make(uint8_t *data, int version)
{
	int i;

	for (i = 0; i < LONGEST; i++)
		data[i] = i * 7;
	data[0] = version == 4 ? 0x45 : 0x60;
	digest_keys(keys, 1);
}

static void test_a_hop_changes_nothing(void **state)
{
	uint8_t data[LONGEST];
	uint64_t before;

	(void)state;
	make(data, 4);
	before = digest(data, LONGEST);
	data[8]--;
	data[10] ^= 0xff;
	data[11] ^= 0xff;
	assert_true(digest(data, LONGEST) == before);
	make(data, 6);
	before = digest(data, LONGEST);
	data[7]--;
	assert_true(digest(data, LONGEST) == before);
}

/* Every other bit counts, at every length. */
static void test_every_bit_counts(void **state)
{
	uint8_t data[LONGEST];
	uint64_t before;
	uint32_t len, at;

	(void)state;
	make(data, 4);
	for (len = 20; len <= LONGEST; len++) {
		before = digest(data, len);
		for (at = 1; at < len; at++) {
			if (at == 8 || at == 10 || at == 11)
				continue;
			data[at] ^= 0x80;
			assert_true(digest(data, len) != before);
			data[at] ^= 0x80;
		}
	}
}

static void test_length_and_secret_count(void **state)
{
	uint8_t data[LONGEST] = {0x45};
	uint32_t len;
	uint64_t one;

	(void)state;
	digest_keys(keys, 1);
	for (len = 20; len < LONGEST; len++)
		assert_true(digest(data, len) != digest(data, len + 1));
	one = digest(data, LONGEST);
	digest_keys(keys, 2);
	assert_true(digest(data, LONGEST) != one);
}

/* Two differences, some words apart, that would cancel each other in a chain of
 * multiplications with a number that everybody knows, whatever the secret.
 */
static void test_differences_do_not_cancel(void **state)
{
	uint8_t data[LONGEST];
	uint64_t before;
	int at, distance;

	(void)state;
	make(data, 4);
	before = digest(data, LONGEST);
	for (distance = 8; distance <= 64; distance += 8) {
		for (at = 64; at + distance + 8 <= LONGEST; at += 8) {
			data[at + 7] ^= 0x80;
			data[at + distance + 7] ^= 0x80;
			data[at + distance + 4] ^= 0x04;
			assert_true(digest(data, LONGEST) != before);
			data[at + 7] ^= 0x80;
			data[at + distance + 7] ^= 0x80;
			data[at + distance + 4] ^= 0x04;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_hop_changes_nothing),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_length_and_secret_count),
		cmocka_unit_test(test_differences_do_not_cancel),
	};

	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
