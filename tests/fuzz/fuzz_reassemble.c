// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fragments of any kind in any order: memory stays within its bound, every
 * fragment comes back exactly once, and a datagram that comes out is covered
 * by what went in.
 *
 * Input: records of 2 bytes length, 1 byte of milliseconds, and a packet.
 */
#include <stdlib.h>
#include <string.h>

#include "reassemble.h"

#define CHECK(c)                                                               \
	do {                                                                   \
		if (!(c))                                                      \
			abort();                                               \
	} while (0)
#define MEMORY (64 * 1024)

static int outside;

static void lost(void *arg, void *user, enum reassembly_loss why)
{
	(void)arg;
	CHECK(why < REASSEMBLY_LOSSES);
	outside--;
	free(user);
}

static void set_length(uint8_t *data, uint32_t len)
{
	if (len >= 20 && data[0] >> 4 == 4) {
		data[2] = len >> 8;
		data[3] = len;
	} else if (len >= 40 && data[0] >> 4 == 6) {
		data[4] = (len - 40) >> 8;
		data[5] = len - 40;
	}
}

static void finish(struct group *g)
{
	struct fragments *shape = group_shape(g);
	uint32_t len = group_len(g), i, payload = 0;
	uint8_t *out = malloc(len);
	struct fragment f;
	void *user;

	CHECK(len <= XDIVERT_PACKET_MAX && shape && shape->count);
	group_build(g, out);
	CHECK(fragment_parse(out, len, &f) != 1 || out[0] >> 4 == 6);
	CHECK(group_first(g));
	for (i = 0; i < shape->count; i++) {
		CHECK(shape->one[i].offset == payload);
		payload = i + 1 < shape->count ? shape->one[i + 1].offset
					       : shape->payload;
	}
	while ((user = group_take(g))) {
		outside--;
		free(user);
	}
	group_free(g);
	free(shape);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct reassembly_limits limits = {
		.timeout4 = 30000000,
		.timeout6 = 60000000,
		.memory = MEMORY,
		.lost = lost,
	};
	struct reassembly *r = reassembly_new(&limits);
	struct group *g;
	uint64_t now = 0;
	uint8_t *data;
	uint32_t len;

	outside = 0;
	while (size > 3) {
		len = input[0] << 8 | input[1];
		now += input[2] * 1000000ull;
		input += 3;
		size -= 3;
		if (len > size)
			len = size;
		data = malloc(len ? len : 1);
		memcpy(data, input, len);
		set_length(data, len);
		input += len;
		size -= len;
		outside++;
		switch (reassembly_add(r, now, data, len, data, &g)) {
		case REASSEMBLY_WAITS:
			break;
		case REASSEMBLY_WHOLE:
			finish(g);
			break;
		default:
			outside--;
			free(data);
		}
		CHECK(outside == (int)reassembly_waiting(r));
		/* One group may be as big as a datagram can be. */
		CHECK(reassembly_memory(r) <= MEMORY + 8192 * 600);
		CHECK(reassembly_next(r, now) != 0);
	}
	reassembly_free(r);
	CHECK(!outside);
	return 0;
}
