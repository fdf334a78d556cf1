// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sums of products of words with secret keys (NH, as in UMAC and VMAC): whoever
 * does not know the keys makes two blocks with one sum by luck alone, one in
 * 2^64. The products do not wait for each other. What has come so far and the
 * sum of the next block are multiplied, which nobody can predict either.
 */
#include <stdbool.h>
#include <string.h>

#include "digest.h"

#define BLOCK 128 /* bytes: two keys for 16 of them */

typedef unsigned __int128 sum;

static uint64_t load(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, 8);
	return word;
}

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

void digest_keys(uint64_t *keys, uint64_t secret)
{
	int i;

	for (i = 0; i < DIGEST_KEYS; i++)
		keys[i] = next(&secret);
}

static sum product(const uint64_t *keys, uint64_t a, uint64_t b)
{
	return (sum)(a + keys[0]) * (b + keys[1]);
}

static uint64_t join(const uint64_t *keys, uint64_t before, sum block)
{
	sum both = (sum)(before ^ (uint64_t)block) *
		   ((uint64_t)(block >> 64) ^ keys[DIGEST_KEYS - 1]);

	return (uint64_t)both ^ (uint64_t)(both >> 64);
}

/* At most a block less 8 bytes. What is left of a word is read as the last 8
 * bytes: in front of p there are at least as many.
 */
static sum rest(const uint64_t *keys, const uint8_t *p, uint32_t len)
{
	const uint8_t *end = p + len;
	sum s = 0;

	for (; end - p >= 16; p += 16, keys += 2)
		s += product(keys, load(p), load(p + 8));
	return s + product(keys, end - p >= 8 ? load(p) : 0,
			   (end - p) % 8 ? load(end - 8) : 0);
}

static sum block(const uint64_t *keys, const uint8_t *p)
{
	sum s = 0;
	int i;

	for (i = 0; i < BLOCK / 8; i += 2)
		s += product(&keys[i], load(p + i * 8), load(p + i * 8 + 8));
	return s;
}

/* TTL and checksum of IPv4 are not part of it, nor is IPv6's hop limit. */
static const uint8_t kept4[8] = {0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff};
static const uint8_t kept6[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0};

uint64_t digest_head(const uint64_t *keys, const uint8_t *data, uint32_t len)
{
	bool v4 = data[0] >> 4 == 4;
	uint64_t first, second;

	/* Its owner may have spoilt the packet since it was checked. */
	if (len < (v4 ? 20 : 40))
		return join(keys, len, 0);
	first = load(data);
	second = load(data + 8);
	if (v4)
		second &= load(kept4);
	else
		first &= load(kept6);
	return join(keys, len,
		    product(keys, first, second) +
			    rest(keys + 2, data + 16,
				 (len < DIGEST_HEAD ? len : DIGEST_HEAD) - 16));
}

uint64_t digest_all(const uint64_t *keys, uint64_t head, const uint8_t *data,
		    uint32_t len)
{
	const uint8_t *p = data + DIGEST_HEAD, *end = data + len;

	if (len <= DIGEST_HEAD)
		return head;
	for (; end - p >= BLOCK; p += BLOCK)
		head = join(keys, head, block(keys, p));
	return join(keys, head, rest(keys, p, end - p));
}
