// SPDX-License-Identifier: BSD-2-Clause
/* Cutting datagrams and putting them together, rule by rule. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "checksum.h"
#include "reassemble.h"
#include "unit.h"

#define MS 1000000ull

/* What a row does not say is 0. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

/* A fragment with payload bytes that its place in the datagram decides. */
struct piece {
	int family;
	uint32_t id, offset, len;
	bool more;
	uint8_t ecn;
	bool df;
	uint8_t fill; /* added to each byte */
};

static int lost_for[REASSEMBLY_LOSSES];

static void lost(void *arg, void *user, enum reassembly_loss why)
{
	(void)arg;
	lost_for[why]++;
	free(user);
}

static struct reassembly *start(uint64_t memory)
{
	struct reassembly_limits limits = {
		.timeout4 = 30000 * MS,
		.timeout6 = 60000 * MS,
		.memory = memory,
		.lost = lost,
	};

	memset(lost_for, 0, sizeof(lost_for));
	return reassembly_new(&limits);
}

static uint8_t *make(const struct piece *p, uint32_t *len)
{
	uint32_t header = p->family == 4 ? 20 : 48, i;
	uint8_t *d = calloc(1, header + p->len);

	*len = header + p->len;
	if (p->family == 4) {
		d[0] = 0x45;
		d[1] = p->ecn;
		put16(d + 2, *len);
		put16(d + 4, p->id);
		put16(d + 6, p->offset / 8 | p->more << 13 | p->df << 14);
		d[8] = 64;
		d[9] = IPPROTO_UDP;
		put32(d + 12, 0x0a000102);
		put32(d + 16, 0x0a000202);
		csum_ipv4(d);
	} else {
		d[0] = 0x60;
		d[1] = p->ecn << 4;
		put16(d + 4, *len - 40);
		d[6] = IPPROTO_FRAGMENT;
		d[7] = 64;
		d[8] = d[24] = 0xfd;
		d[40] = IPPROTO_UDP;
		put16(d + 42, p->offset | p->more);
		put32(d + 44, p->id);
	}
	for (i = 0; i < p->len; i++)
		d[header + i] = (p->offset + i) * 7 + p->fill;
	return d;
}

static enum reassembly_result add(struct reassembly *r, uint64_t now,
				  const struct piece *p, struct group **g)
{
	enum reassembly_result result;
	uint32_t len;
	uint8_t *d = make(p, &len);

	result = reassembly_add(r, now, d, len, d, g);
	if (result != REASSEMBLY_WAITS && result != REASSEMBLY_WHOLE)
		free(d);
	return result;
}

static void finish(struct group *g)
{
	void *user;

	while ((user = group_take(g)))
		free(user);
	group_free(g);
}

/* Each table row: fragments in order of arrival, and what the last one does. */
static const struct {
	const char *name;
	struct piece p[5];
	enum reassembly_result last;
	uint32_t len; /* of the datagram */
	int lost;     /* as INVALID */
} rows[] = {
	{"RFC 791: in order",
	 {{4, 1, 0, 16, true}, {4, 1, 16, 16, true}, {4, 1, 32, 5, false}},
	 REASSEMBLY_WHOLE,
	 20 + 37,
	 0},
	{"RFC 791: in reverse",
	 {{4, 1, 32, 5, false}, {4, 1, 16, 16, true}, {4, 1, 0, 16, true}},
	 REASSEMBLY_WHOLE,
	 20 + 37,
	 0},
	{"RFC 815: holes filled in any order",
	 {{4, 1, 24, 8, true},
	  {4, 1, 0, 8, true},
	  {4, 1, 32, 8, false},
	  {4, 1, 8, 16, true}},
	 REASSEMBLY_WHOLE,
	 20 + 40,
	 0},
	{"RFC 791: another identification is another datagram",
	 {{4, 1, 0, 16, true}, {4, 2, 16, 16, false}},
	 REASSEMBLY_WAITS,
	 0,
	 0},
	{"RFC 8200 4.5: in order",
	 {{6, 1, 0, 16, true}, {6, 1, 16, 16, false}},
	 REASSEMBLY_WHOLE,
	 40 + 32,
	 0},
	{"RFC 8200 4.5: the last one first",
	 {{6, 1, 16, 16, false}, {6, 1, 0, 16, true}},
	 REASSEMBLY_WHOLE,
	 40 + 32,
	 0},
	{"RFC 6946: atomic fragment",
	 {{6, 1, 0, 16, false}},
	 REASSEMBLY_WHOLE,
	 40 + 16,
	 0},
	{"RFC 8200 4.5: exact duplicate is ignored",
	 {{6, 1, 0, 16, true}, {6, 1, 0, 16, true}},
	 REASSEMBLY_DUPLICATE,
	 0,
	 0},
	{"IPv4: exact duplicate is ignored",
	 {{4, 1, 0, 16, true}, {4, 1, 0, 16, true}},
	 REASSEMBLY_DUPLICATE,
	 0,
	 0},
	{"RFC 5722: same place, other bytes",
	 {{6, 1, 0, 16, true}, {6, 1, 0, 16, true, 0, false, 1}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"RFC 5722: overlap of the head",
	 {{6, 1, 0, 24, true}, {6, 1, 16, 16, true}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"RFC 5722: overlap of the tail",
	 {{6, 1, 16, 16, true}, {6, 1, 0, 24, true}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"RFC 5722: one inside another",
	 {{6, 1, 0, 32, true}, {6, 1, 8, 8, true}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"RFC 5722: one around another",
	 {{6, 1, 8, 8, true}, {6, 1, 0, 32, true}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"RFC 5722: nor what is still to come",
	 {{6, 1, 0, 24, true}, {6, 1, 16, 16, true}, {6, 1, 32, 8, false}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"IPv4: overlap discards, as in Linux",
	 {{4, 1, 0, 24, true}, {4, 1, 16, 16, true}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"two ends",
	 {{4, 1, 16, 16, false}, {4, 1, 32, 8, false}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"an end before what is here",
	 {{4, 1, 32, 8, true}, {4, 1, 16, 8, false}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"past the end",
	 {{6, 1, 16, 8, false}, {6, 1, 24, 8, true}},
	 REASSEMBLY_DISCARDED,
	 0,
	 1},
	{"RFC 791: past 65,535 bytes",
	 {{4, 1, 65528, 16, false}},
	 REASSEMBLY_NONE,
	 0,
	 0},
	{"RFC 8200 4.5: no multiple of 8",
	 {{6, 1, 0, 15, true}},
	 REASSEMBLY_NONE,
	 0,
	 0},
	{"RFC 791: no multiple of 8",
	 {{4, 1, 0, 15, true}},
	 REASSEMBLY_NONE,
	 0,
	 0},
	{"nothing in it", {{4, 1, 16, 0, false}}, REASSEMBLY_NONE, 0, 0},
	{"no fragment at all", {{4, 1, 0, 16, false}}, REASSEMBLY_NONE, 0, 0},
	{"RFC 3168 5.3: CE and ECT",
	 {{4, 1, 0, 16, true, 2}, {4, 1, 16, 16, false, 3}},
	 REASSEMBLY_WHOLE,
	 20 + 32,
	 0},
	{"RFC 3168 5.3: CE and no ECT",
	 {{4, 1, 0, 16, true, 0}, {4, 1, 16, 16, false, 3}},
	 REASSEMBLY_WAITS,
	 0,
	 2},
};

static void test_rules(void **state)
{
	struct group *g = NULL;
	struct reassembly *r;
	uint8_t *out;
	size_t i, j;
	int result;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].name);
		r = start(1 << 20);
		result = -1;
		for (j = 0; j < 5 && rows[i].p[j].family; j++) {
			assert_int_not_equal(result, REASSEMBLY_WHOLE);
			result = add(r, 1, &rows[i].p[j], &g);
		}
		assert_int_equal(result, rows[i].last);
		assert_int_equal(lost_for[REASSEMBLY_INVALID], rows[i].lost);
		if (result == REASSEMBLY_WHOLE) {
			uint32_t front = rows[i].p[0].family == 4 ? 20 : 40;
			uint32_t k;

			assert_int_equal(group_len(g), rows[i].len);
			out = malloc(rows[i].len);
			group_build(g, out);
			for (k = front; k < rows[i].len; k++)
				assert_int_equal(out[k],
						 (uint8_t)((k - front) * 7));
			if (front == 20)
				assert_int_equal(xdivert_checksum(out, 20, 0),
						 0);
			else
				assert_int_equal(out[6], IPPROTO_UDP);
			free(out);
			finish(g);
			assert_int_equal(reassembly_memory(r), 0);
		}
		reassembly_free(r);
	}
}

static void test_too_long_with_its_header(void **state)
{
	struct piece p = {4, 1, 65512, 23, false}, q = {4, 1, 0, 65504, true};
	struct piece rest = {4, 1, 65504, 8, true};
	struct reassembly *r = start(1 << 20);
	struct group *g;

	(void)state;
	assert_int_equal(add(r, 1, &p, &g), REASSEMBLY_WAITS);
	assert_int_equal(add(r, 1, &q, &g), REASSEMBLY_WAITS);
	/* 20 + 65,535: nobody can send that on. */
	assert_int_equal(add(r, 1, &rest, &g), REASSEMBLY_WAITS);
	assert_int_equal(lost_for[REASSEMBLY_INVALID], 3);
	reassembly_free(r);
}

static void test_ecn(void **state)
{
	struct piece a = {4, 1, 0, 16, true, 2}, b = {4, 1, 16, 8, false, 3};
	struct reassembly *r = start(1 << 20);
	uint8_t out[64];
	struct group *g;

	(void)state;
	add(r, 1, &a, &g);
	assert_int_equal(add(r, 1, &b, &g), REASSEMBLY_WHOLE);
	group_build(g, out);
	assert_int_equal(out[1], 3);
	finish(g);
	reassembly_free(r);
}

static void test_times(void **state)
{
	struct piece four = {4, 1, 0, 16, true}, six = {6, 1, 0, 16, true};
	struct piece second = {4, 1, 16, 16, true};
	struct reassembly *r = start(1 << 20);
	struct group *g;

	(void)state;
	assert_int_equal(reassembly_next(r, 5), -1);
	add(r, 0, &four, &g);
	add(r, 0, &six, &g);
	assert_int_equal(reassembly_next(r, 10 * MS), 29990 * MS);
	/* A later fragment does not prolong it. */
	add(r, 29999 * MS, &second, &g);
	assert_int_equal(lost_for[REASSEMBLY_EXPIRED], 0);
	reassembly_expire(r, 30000 * MS);
	assert_int_equal(lost_for[REASSEMBLY_EXPIRED], 2);
	assert_int_equal(reassembly_next(r, 30000 * MS), 30000 * MS);
	reassembly_expire(r, 60000 * MS);
	assert_int_equal(lost_for[REASSEMBLY_EXPIRED], 3);
	assert_int_equal(reassembly_memory(r), 0);
	assert_int_equal(reassembly_waiting(r), 0);
	reassembly_free(r);
}

/* A million first fragments: memory stays bounded, the oldest go, and a group
 * that is being filled meanwhile becomes whole.
 */
static void test_flood(void **state)
{
	struct piece junk = {4, 0, 0, 16, true}, good = {6, 7, 0, 16, true};
	struct reassembly *r = start(4 << 20);
	struct group *g = NULL;
	uint64_t i;

	(void)state;
	for (i = 0; i < 1000000; i++) {
		junk.family = i % 2 ? 4 : 6;
		junk.id = i >> 1;
		if (junk.family == 4 && i >> 1 >= 65536)
			junk.family = 6;
		junk.fill = 3;
		if (junk.family == 6)
			junk.id = 1000 + i;
		assert_int_equal(add(r, i, &junk, &g), REASSEMBLY_WAITS);
		assert_true(reassembly_memory(r) <= 4 << 20);
		if (i % 500 == 0) {
			good.more = good.offset < 1600;
			assert_int_equal(add(r, i, &good, &g),
					 good.more ? REASSEMBLY_WAITS
						   : REASSEMBLY_WHOLE);
			if (!good.more) {
				finish(g);
				good.id++;
			}
			good.offset = good.more ? good.offset + 16 : 0;
		}
	}
	assert_true(lost_for[REASSEMBLY_EVICTED] > 900000);
	assert_int_equal(lost_for[REASSEMBLY_EXPIRED], 0);
	reassembly_free(r);
}

static void check_pieces(const uint8_t *d, uint32_t len, uint32_t mtu,
			 const struct fragments *was, const uint32_t *want,
			 unsigned int n)
{
	static uint8_t out[65535];
	struct split s;
	unsigned int i;

	assert_int_equal(split_begin(&s, d, len, mtu, was), 0);
	assert_int_equal(split_count(&s), n);
	for (i = 0; i < n; i++)
		assert_int_equal(split_next(&s, out), want[i]);
	assert_int_equal(split_next(&s, out), 0);
}

static void test_cuts(void **state)
{
	struct piece p = {4, 9, 0, 2972, false};
	struct piece six = {6, 9, 0, 2972, false};
	struct fragments *was = calloc(1, 200);
	uint32_t len;
	uint8_t *d = make(&p, &len);

	(void)state;
	/* RFC 791: 1480 bytes a fragment, the rest in the last. */
	check_pieces(d, len, 1500, NULL, (uint32_t[]){1500, 1500, 32}, 3);
	check_pieces(d, len, len, NULL, (uint32_t[]){len}, 1);
	/* 576 - 20 is no multiple of 8. */
	check_pieces(d, len, 576, NULL,
		     (uint32_t[]){572, 572, 572, 572, 572, 232}, 6);
	/* As it was, and as it was as far as that fits. */
	*was = (struct fragments){
		.max = 1000, .count = 4, .payload = 2972, .id = 9};
	memcpy(was->one,
	       (struct xdivert_fragment[]){
		       {820, 0}, {1000, 800}, {1000, 1780 - 4}, {216, 2756}},
	       4 * sizeof(was->one[0]));
	check_pieces(d, len, 1500, was, (uint32_t[]){820, 996, 1000, 236}, 4);
	check_pieces(d, len, 900, was, (uint32_t[]){900, 900, 900, 352}, 4);
	was->payload = 2980;
	check_pieces(d, len, 1500, was, (uint32_t[]){996, 996, 996, 64}, 4);
	free(d);
	/* IPv6 has a fragment header in each, and none where it fits. */
	d = make(&six, &len);
	memmove(d + 40, d + 48, len - 48);
	len -= 8;
	put16(d + 4, len - 40);
	d[6] = IPPROTO_UDP;
	check_pieces(d, len, 1500, NULL, (uint32_t[]){1496, 1496, 124}, 3);
	check_pieces(d, len, len, NULL, (uint32_t[]){len}, 1);
	*was = (struct fragments){.max = len + 8,
				  .count = 1,
				  .payload = 2972,
				  .id = 9,
				  .header = 40};
	/* An atomic fragment is one again. */
	check_pieces(d, len, len + 8, was, (uint32_t[]){len + 8}, 1);
	free(was);
	free(d);
}

static void test_cuts_that_cannot_be(void **state)
{
	struct piece p = {4, 9, 0, 2972, false}, six = {6, 9, 8, 2976, true};
	struct split s;
	uint32_t len;
	uint8_t *d = make(&p, &len);

	(void)state;
	assert_int_equal(split_begin(&s, d, len, 27, NULL), -EMSGSIZE);
	assert_int_equal(split_begin(&s, d, len, 28, NULL), 0);
	assert_int_equal(split_begin(&s, d, len - 1, 1500, NULL), -EINVAL);
	free(d);
	/* A fragment of IPv6 stays one. */
	d = make(&six, &len);
	assert_int_equal(split_begin(&s, d, len, 1500, NULL), -EMSGSIZE);
	assert_int_equal(split_begin(&s, d, len, len, NULL), 0);
	free(d);
	/* One of IPv4 is cut further. */
	p = (struct piece){4, 9, 80, 1600, true};
	d = make(&p, &len);
	check_pieces(d, len, 1500, NULL, (uint32_t[]){1500, 140}, 2);
	free(d);
}

/* RFC 791 3.1: the copied flag of an option. */
static void test_options(void **state)
{
	uint8_t d[44 + 3000] = {0x4b, 0, 0, 0, 0, 1, 0, 0, 64, IPPROTO_UDP},
		       out[1500];
	/* Record route (7) is not copied, security (130) and RA (148) are. */
	static const uint8_t options[24] = {7,	7, 4,	 0, 0, 0, 0, 130,
					    11, 1, 2,	 3, 4, 5, 6, 7,
					    8,	9, 0x94, 4, 0, 0, 1, 0};
	struct split s;

	(void)state;
	put16(d + 2, sizeof(d));
	memcpy(d + 20, options, sizeof(options));
	csum_ipv4(d);
	assert_int_equal(split_begin(&s, d, sizeof(d), 1500, NULL), 0);
	assert_true(split_next(&s, out) > 0);
	assert_memory_equal(out + 20, options, 24);
	assert_true(split_next(&s, out) > 0);
	assert_memory_equal(out + 20, "\1\1\1\1\1\1\1", 7);
	assert_memory_equal(out + 27, options + 7, 17);
	assert_int_equal(xdivert_checksum(out, 44, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_too_long_with_its_header),
		cmocka_unit_test(test_ecn),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_cuts_that_cannot_be),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests_name("fragments", tests, NULL, NULL);
}
