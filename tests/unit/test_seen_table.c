// SPDX-License-Identifier: BSD-2-Clause
/* The table of injections: what it finds, forgets and does not believe. */
#include <stdlib.h>
#include <string.h>

#include "seen_table.h"
#include "unit.h"

static struct xdivert_injection h;

static int set_up(void **state)
{
	(void)state;
	h.seen = aligned_alloc(64, XDV_INJECTED_ELEMENTS * sizeof(*h.seen));
	if (!h.seen)
		return -1;
	memset(h.seen, 0, XDV_INJECTED_ELEMENTS * sizeof(*h.seen));
	h.seen_sets = (void *)&h.seen[1 + XDV_INJECTED];
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(h.seen);
	return 0;
}

/* splitmix64: as well mixed as a digest. */
static uint64_t tag_of(uint64_t n)
{
	uint64_t z = n * 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void enter(uint64_t n)
{
	struct xdv_injected *e =
		seen_table_enter(&h, tag_of(n), seen_table_places(&h, 1));

	e->digest = n;
	e->handle = ~n;
	e->previous = n * 3;
	e->context = n * 5;
	e->time = n * 7;
	e->ttl = n % 255;
	e->received = n % 251;
	seen_table_seal(e);
}

/* Found, it is what was entered. */
static bool found(uint64_t n)
{
	struct xdv_injected e;

	if (!seen_table_find(&h, tag_of(n), &e))
		return false;
	assert_true(e.digest == n && e.handle == ~n && e.previous == n * 3 &&
		    e.context == n * 5 && e.time == n * 7);
	return true;
}

/* Of n that came before `end`, how many are found? */
static uint64_t count_found(uint64_t end, uint64_t n)
{
	uint64_t i, count = 0;

	for (i = end - n; i < end; i++)
		count += found(i);
	return count;
}

static void test_empty(void **state)
{
	struct xdv_injected e;

	(void)state;
	assert_false(found(1));
	assert_false(seen_table_find(&h, 0, &e));
	assert_null(seen_table_word(&h, UINT64_MAX));
}

/* As many as the header says, also past the end of the places' numbers. */
static void test_it_remembers(void **state)
{
	const uint64_t starts[] = {0, SEEN_PLACE - 2 * XDV_INJECTED,
				   SEEN_PLACE - 500};
	uint64_t n, end;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(starts); i++) {
		h.seen->context = starts[i];
		end = (i + 1) * 10000000 + 3 * XDV_INJECTED;
		for (n = (i + 1) * 10000000; n < end; n++)
			enter(n);
		assert_true(count_found(end, 1000) == 1000);
		assert_true(count_found(end, 10000) >= 9980);
		/* One in 300 of those that 10,000 others followed. */
		assert_true(count_found(end - 10000, 1000) >= 985);
		assert_true(count_found(end - XDV_INJECTED + 1000, 1000) >=
			    350);
		/* The place of these is taken. */
		assert_true(count_found(end - XDV_INJECTED, 1000) == 0);
	}
}

static void test_again_and_removed(void **state)
{
	uint64_t i, *word;

	(void)state;
	h.seen->context = 0;
	for (i = 0; i < 10; i++)
		enter(42);
	assert_true(found(42));
	/* In one place. */
	word = seen_table_word(&h, tag_of(42));
	assert_non_null(word);
	assert_true((*word & SEEN_PLACE) == 9);
	seen_table_remove(&h, tag_of(42));
	assert_false(found(42));
	assert_null(seen_table_word(&h, tag_of(42)));
	seen_table_remove(&h, tag_of(42));
}

/* Whatever word of an entry another writer spoils. */
static void test_mixed_entries_are_not_believed(void **state)
{
	uint64_t *words, *word;
	size_t i;

	(void)state;
	enter(7);
	word = seen_table_word(&h, tag_of(7));
	words = (uint64_t *)seen_table_entry(&h, *word & SEEN_PLACE);
	for (i = 0; i < sizeof(struct xdv_injected) / 8; i++) {
		words[i] ^= 1ull << (i * 7);
		assert_false(found(7));
		words[i] ^= 1ull << (i * 7);
		assert_true(found(7));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_it_remembers),
		cmocka_unit_test(test_again_and_removed),
		cmocka_unit_test(test_mixed_entries_are_not_believed),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
