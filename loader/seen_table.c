// SPDX-License-Identifier: BSD-2-Clause
/*
 * Writers do not lock. An entry carries a sum of its words, and one that two
 * writers mixed is not believed; of two that take the same word of a set at the
 * same time, one is forgotten.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "digest.h"
#include "seen_table.h"

#define SIZE (XDV_INJECTED_ELEMENTS * sizeof(struct xdv_injected))

/* ---- entries ---- */

static uint64_t check_of(const struct xdv_injected *e)
{
	return e->tag * 17 ^ e->digest ^ e->handle * 3 ^ e->previous * 5 ^
	       e->context * 7 ^ e->time * 11 ^
	       ((uint64_t)e->received << 32 | e->ttl) * 13 ^
	       0x9e3779b185ebca87ull;
}

void seen_table_seal(struct xdv_injected *e)
{
	e->check = check_of(e);
}

bool seen_table_find(const struct xdivert_injection *h, uint64_t tag,
		     struct xdv_injected *e)
{
	const uint64_t *word = seen_table_word(h, tag);

	if (!word)
		return false;
	*e = *seen_table_entry(h, *word & SEEN_PLACE);
	return e->tag == tag && e->check == check_of(e);
}

uint64_t seen_table_places(struct xdivert_injection *h, uint32_t n)
{
	return __atomic_fetch_add(&h->seen->context, n, __ATOMIC_RELAXED);
}

/* The oldest of a set. */
static uint64_t *oldest(uint64_t *set, uint64_t place)
{
	uint64_t most = 0, age;
	int i, at = 0;

#pragma GCC unroll 4
	for (i = 0; i < XDV_INJECTED_WAYS; i++) {
		age = (place - set[i]) & SEEN_PLACE;
		if (age >= most) {
			most = age;
			at = i;
		}
	}
	return &set[at];
}

struct xdv_injected *seen_table_enter(struct xdivert_injection *h, uint64_t tag,
				      uint64_t place)
{
	uint64_t *word = seen_table_word(h, tag);
	struct xdv_injected *e = seen_table_entry(h, place);

	if (!word)
		word = oldest(seen_table_set(h, tag), place);
	__atomic_store_n(word, (tag & ~SEEN_PLACE) | (place & SEEN_PLACE),
			 __ATOMIC_RELAXED);
	e->tag = tag;
	return e;
}

void seen_table_remove(struct xdivert_injection *h, uint64_t tag)
{
	uint64_t *word = seen_table_word(h, tag);

	if (word)
		__atomic_store_n(word, 0, __ATOMIC_RELAXED);
}

/* ---- the map ---- */

static int lock_root(const struct xdivert_injection *h)
{
	int fd = open(h->x->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX)) {
		close(fd);
		return -errno;
	}
	return fd < 0 ? -errno : fd;
}

static void pin_path(const struct xdivert_injection *h, char *path, size_t size)
{
	snprintf(path, size, "%s/xdv_injected", h->x->root);
}

static bool same_shape(const struct bpf_map *map, int fd)
{
	struct bpf_map_info info = {0};
	__u32 size = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &size) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map);
}

int seen_table_share(struct xdivert_injection *h, struct bpf_map *map)
{
	int lock = lock_root(h), fd, rc = 0;
	char path[320];

	if (lock < 0)
		return lock;
	pin_path(h, path, sizeof(path));
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		rc = same_shape(map, fd) ? bpf_map__reuse_fd(map, fd) : -EPROTO;
		close(fd);
	}
	if (!rc)
		return lock;
	close(lock);
	return rc;
}

static int start_table(const struct bpf_map *map)
{
	struct xdv_injected first = {0};
	__u32 zero = 0;

	if (getrandom(&first.digest, sizeof(first.digest), 0) !=
	    (ssize_t)sizeof(first.digest))
		return -errno;
	return bpf_map_update_elem(bpf_map__fd(map), &zero, &first, BPF_ANY);
}

int seen_table_open(struct xdivert_injection *h, struct bpf_map *map, int lock)
{
	char path[320];
	void *table;
	int rc = 0;

	pin_path(h, path, sizeof(path));
	if (access(path, F_OK)) {
		rc = start_table(map);
		if (!rc && bpf_obj_pin(bpf_map__fd(map), path))
			rc = -errno;
	}
	close(lock);
	if (rc)
		return rc;
	table = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     bpf_map__fd(map), 0);
	if (table == MAP_FAILED)
		return -errno;
	h->seen = table;
	h->seen_sets = (void *)&h->seen[1 + XDV_INJECTED];
	digest_keys(h->seen_keys, h->seen->digest);
	return 0;
}

void seen_table_close(struct xdivert_injection *h)
{
	if (h->seen)
		munmap(h->seen, SIZE);
}
