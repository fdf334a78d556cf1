// SPDX-License-Identifier: BSD-2-Clause
/*
 * reassemble(fragment(p)) == p, for any packet, MTU and order; and cutting it
 * again by the group's shape gives the same pieces.
 *
 * Input: 2 bytes MTU, 4 bytes seed, 1 byte options; the packet's bytes, which
 * are repeated up to a length that the seed chooses.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "checksum.h"
#include "reassemble.h"

#define CHECK(c)                                                               \
	do {                                                                   \
		if (!(c))                                                      \
			abort();                                               \
	} while (0)

struct piece {
	uint8_t *data;
	uint32_t len;
};

static void lost(void *arg, void *user, enum reassembly_loss why)
{
	(void)arg;
	(void)user;
	(void)why;
	abort();
}

/* A header that makes it a packet; what follows is the input's. */
static void make_packet(uint8_t *p, uint32_t len, bool v6, bool df)
{
	if (v6) {
		p[0] = 0x60 | (p[0] & 0xf);
		put16(p + 4, len - 40);
		return;
	}
	p[0] = 0x40 | (5 + (p[0] & 0xf) % 11);
	if ((p[0] & 0xf) * 4u > len)
		p[0] = 0x45;
	put16(p + 2, len);
	put16(p + 6, df ? 0x4000 : 0);
	csum_ipv4(p);
}

/* Header options may become NOPs in later pieces, never in the first. */
static uint32_t cut(const uint8_t *p, uint32_t len, uint32_t mtu,
		    const struct fragments *was, struct piece **pieces)
{
	struct split s;
	uint32_t n, i, total, one;
	uint8_t *out;

	if (split_begin(&s, p, len, mtu, was))
		return 0;
	n = split_count(&s);
	CHECK(n > 0 && n < 70000);
	*pieces = calloc(n, sizeof(**pieces));
	for (i = 0, total = 0; i < n; i++) {
		out = malloc(mtu > len + 8 ? len + 8 : mtu);
		one = split_next(&s, out);
		CHECK(one && one <= mtu);
		(*pieces)[i] = (struct piece){out, one};
		total += one;
	}
	CHECK(!split_next(&s, p ? (uint8_t[1]){0} : NULL));
	CHECK(total >= len);
	return n;
}

static void free_pieces(struct piece *pieces, uint32_t n)
{
	while (n)
		free(pieces[--n].data);
	free(pieces);
}

static void again(const uint8_t *p, uint32_t len, uint32_t mtu,
		  const struct piece *pieces, uint32_t n,
		  const struct fragments *shape)
{
	struct piece *second = NULL;
	uint32_t i;

	CHECK(cut(p, len, mtu, shape, &second) == n);
	for (i = 0; i < n; i++) {
		CHECK(second[i].len == pieces[i].len);
		/* IPv6's identification of the first cut was 0, as here. */
		CHECK(!memcmp(second[i].data, pieces[i].data, pieces[i].len));
	}
	free_pieces(second, n);
}

static void join(const uint8_t *p, uint32_t len, uint32_t mtu,
		 const struct piece *pieces, uint32_t n, unsigned int seed)
{
	struct reassembly_limits limits = {
		.timeout4 = 1,
		.timeout6 = 1,
		.memory = 1 << 26,
		.lost = lost,
	};
	struct reassembly *r = reassembly_new(&limits);
	uint32_t *order = calloc(n, sizeof(*order)), i, j, swap;
	enum reassembly_result result;
	struct group *g = NULL;
	struct fragments *shape;
	uint8_t *out;

	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = n - 1; i; i--) {
		j = rand_r(&seed) % (i + 1);
		swap = order[i];
		order[i] = order[j];
		order[j] = swap;
	}
	for (i = 0; i < n; i++) {
		result = reassembly_add(r, 1, pieces[order[i]].data,
					pieces[order[i]].len,
					pieces[order[i]].data, &g);
		CHECK(result ==
		      (i + 1 < n ? REASSEMBLY_WAITS : REASSEMBLY_WHOLE));
		if (i + 1 < n)
			CHECK(reassembly_add(r, 1, pieces[order[i]].data,
					     pieces[order[i]].len, NULL,
					     &g) == REASSEMBLY_DUPLICATE);
	}
	CHECK(group_len(g) == len);
	out = malloc(len);
	group_build(g, out);
	CHECK(!memcmp(out, p, len));
	shape = group_shape(g);
	again(p, len, mtu, pieces, n, shape);
	free(shape);
	free(out);
	group_free(g);
	free(order);
	reassembly_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct piece *pieces = NULL;
	uint32_t len, mtu, n, i;
	unsigned int seed;
	uint8_t *p;
	bool v6;

	if (size < 8)
		return 0;
	mtu = 28 + be16(input) % 9000;
	seed = be32(input + 2);
	v6 = input[6] & 1;
	if (v6)
		mtu += 60;
	len = (v6 ? 40 : 20) + (input[6] & 2 ? seed % 65000 : seed % 3000);
	p = malloc(len);
	for (i = 0; i < len; i++)
		p[i] = input[7 + i % (size - 7)];
	make_packet(p, len, v6, input[6] & 4);
	n = cut(p, len, mtu, NULL, &pieces);
	if (n > 1)
		join(p, len, mtu, pieces, n, seed);
	free_pieces(pieces, n);
	free(p);
	return 0;
}
