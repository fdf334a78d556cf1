// SPDX-License-Identifier: BSD-2-Clause
/* The hash that attackers may feed: it is SipHash, and who does not know the
 * key cannot fill one bucket.
 */
#include <string.h>

#include "siphash.h"
#include "unit.h"

#define BUCKETS	 4096
#define ATTACK	 2000
#define KEY_SIZE 40 /* as long as that of a group of fragments */

/* From the reference implementation's vectors: key 00 01 02 ..., data 00 01 ...
 */
static void test_vectors(void **state)
{
	static const struct {
		uint32_t len;
		uint64_t sum;
	} vectors[] = {
		{0, 0x726fdb47dd0e0e31},  {1, 0x74f839c593dc67fd},
		{7, 0xab0200f58b01d137},  {8, 0x93f5f5799a932462},
		{15, 0xa129ca6149be45e5}, {16, 0x3f2acc7f57c29bdb},
	};
	uint8_t key[16], data[16];
	size_t i;

	(void)state;
	for (i = 0; i < 16; i++)
		key[i] = data[i] = i;
	for (i = 0; i < ARRAY_SIZE(vectors); i++)
		assert_true(siphash(key, data, vectors[i].len) ==
			    vectors[i].sum);
}

/* Inputs that all collide under one key, as found by who knows that. */
static void find_collisions(const uint8_t *key, uint8_t (*data)[KEY_SIZE])
{
	uint32_t found = 0, n;

	for (n = 0; found < ATTACK; n++) {
		memset(data[found], 0, KEY_SIZE);
		memcpy(data[found], &n, sizeof(n));
		found += siphash(key, data[found], KEY_SIZE) % BUCKETS == 0;
	}
}

static void test_collisions_do_not_carry_over(void **state)
{
	static uint8_t data[ATTACK][KEY_SIZE];
	static uint32_t bucket[BUCKETS];
	uint8_t theirs[16] = {1}, ours[16] = {2};
	uint32_t i, most = 0, n;

	(void)state;
	find_collisions(theirs, data);
	for (i = 0; i < ATTACK; i++) {
		n = ++bucket[siphash(ours, data[i], KEY_SIZE) % BUCKETS];
		if (n > most)
			most = n;
	}
	assert_true(most < 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_collisions_do_not_carry_over),
	};

	return cmocka_run_group_tests_name("siphash", tests, NULL, NULL);
}
