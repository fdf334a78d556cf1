// SPDX-License-Identifier: BSD-2-Clause
/* Headers: nothing is read past the end, offsets stay within the packet. */
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "fragment.h"
#include "icmp.h"

#define CHECK(c)                                                               \
	do {                                                                   \
		if (!(c))                                                      \
			abort();                                               \
	} while (0)

/* Most inputs would fail on the length alone. */
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

static void parse(const uint8_t *data, uint32_t len)
{
	struct xdivert_headers h;
	uint8_t icmp[ICMP_MAX];
	struct fragment f;
	int rc;

	if (!xdivert_parse(data, len, &h)) {
		CHECK(h.transport <= len && h.payload <= len);
		CHECK(!h.payload || h.payload > h.transport);
		CHECK(!h.later_fragment || !h.transport);
	}
	rc = fragment_parse(data, len, &f);
	if (rc == 1) {
		CHECK(f.len && f.len + f.header <= len);
		CHECK(f.offset + f.len <= 65535);
		CHECK(f.offset % 8 == 0 && (!f.more || f.len % 8 == 0));
	}
	if (icmp_may_answer(data, len))
		CHECK(icmp_too_big(data, len, 1280, icmp) <= ICMP_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct xdivert_headers h;
	uint8_t *data;

	if (size > XDIVERT_PACKET_MAX)
		return 0;
	/* Its own allocation: ASan sees a byte too far. */
	data = malloc(size ? size : 1);
	memcpy(data, input, size);
	parse(data, size);
	set_length(data, size);
	parse(data, size);
	if (!xdivert_parse(data, size, &h) && h.transport)
		csum_transport(data, size, &h);
	if (!xdivert_parse(data, size, &h))
		csum_complete(data, size, &h);
	free(data);
	return 0;
}
