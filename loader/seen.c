// SPDX-License-Identifier: BSD-2-Clause
/*
 * A table indexed by a digest of the whole packet but what forwarding changes.
 * Writers do not lock: an entry carries a sum of its words, and one that two
 * writers mixed is not believed. A fresh repetition of a packet that we
 * forwarded has the TTL that the first had, one more than what we sent: a
 * packet returns only with a TTL that is not above the one that left.
 *
 * The entry of a packet is its last injection. When another handle injects it
 * again, the entry before is kept under a digest of packet and handle, so that
 * each handle finds its own, however many came after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "seen.h"

#define REMEMBERED 10000000000ull /* ns */
#define PRIME1	   0x9e3779b185ebca87ull
#define PRIME2	   0xc2b2ae3d27d4eb4full

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t mix(uint64_t lane, uint64_t word)
{
	lane = (lane ^ word) * PRIME1;
	return lane ^ lane >> 29;
}

static uint64_t load(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, 8);
	return word;
}

/* Of fewer than 32 bytes; the last word may overlap what was before it. */
static uint64_t hash_tail(uint64_t *lane, const uint8_t *p, uint32_t len)
{
	const uint8_t *end = p + len;
	int i;

	for (i = 0; len >= 8; len -= 8, p += 8, i++)
		lane[i] = mix(lane[i], load(p));
	return len ? load(end - 8) : 0;
}

/* Four lanes, for one would wait for its own multiplications. In front of p
 * there are at least 8 bytes of the packet.
 */
static uint64_t hash(uint64_t key, const uint8_t *p, uint32_t len)
{
	uint64_t lane[4] = {key, key + PRIME1, key + PRIME2, key ^ PRIME2};
	uint64_t size = len, tail;
	int i;

	for (; len >= 32; len -= 32, p += 32)
		for (i = 0; i < 4; i++)
			lane[i] = mix(lane[i], load(p + 8 * i));
	tail = hash_tail(lane, p, len);
	return mix(mix(mix(mix(mix(lane[0], lane[1]), lane[2]), lane[3]), tail),
		   size);
}

/* TTL and checksum of IPv4 are not part of it, nor is IPv6's hop limit. */
static const uint8_t kept4[8] = {0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff};
static const uint8_t kept6[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0};

static uint64_t digest(uint64_t key, const uint8_t *data, uint32_t len)
{
	bool v4 = data[0] >> 4 == 4;
	uint64_t first, second;

	/* Its owner may have spoilt the packet since it was checked. */
	if (len < (v4 ? 20 : 40))
		return mix(key, len);
	first = load(data);
	second = load(data + 8);
	if (v4)
		second &= load(kept4);
	else
		first &= load(kept6);
	return hash(mix(mix(key, first), second), data + 16, len - 16);
}

static uint64_t check_of(const struct xdv_injected *e)
{
	return e->digest ^ e->handle * 3 ^ e->previous * 5 ^ e->context * 7 ^
	       e->time * 11 ^ e->ttl * 13 ^ PRIME1;
}

static struct xdv_injected *entry_of(const struct xdivert_injection *h,
				     uint64_t sum)
{
	return &h->seen[1 + sum % (XDV_INJECTED - 1)];
}

/* Under this, a handle's injection is kept when another one's follows. */
static uint64_t digest_for(uint64_t sum, uint64_t handle)
{
	return mix(sum, handle);
}

static void store(struct xdivert_injection *h, struct xdv_injected *e)
{
	e->check = check_of(e);
	*entry_of(h, e->digest) = *e;
}

/* The entry of a packet that is now seen with that TTL; false if none. */
static bool find(const struct xdivert_injection *h, uint64_t sum,
		 unsigned int ttl, struct xdv_injected *e)
{
	const struct xdv_injected *entry = entry_of(h, sum);

	if (__atomic_load_n(&entry->digest, __ATOMIC_RELAXED) != sum)
		return false;
	*e = *entry;
	return e->digest == sum && e->check == check_of(e) && ttl <= e->ttl &&
	       now() - e->time <= REMEMBERED;
}

void seen_prepare_record(struct xdivert_injection *h, struct xdivert_packet *p)
{
	p->request.digest = digest(h->seen->digest, p->data, p->len);
	__builtin_prefetch(entry_of(h, p->request.digest), 1);
}

void seen_record(struct xdivert_injection *h, const struct xdivert_packet *p,
		 uint64_t time, unsigned int ttl)
{
	uint64_t sum = p->request.digest;
	struct xdv_injected e = {
		.digest = sum,
		.handle = h->id,
		.context = p->request.context,
		.time = time,
		.ttl = ttl,
	};
	struct xdv_injected last;

	if (find(h, sum, ttl, &last) && last.handle != h->id) {
		e.previous = last.handle;
		last.digest = digest_for(sum, last.handle);
		store(h, &last);
	}
	store(h, &e);
}

void seen_prepare_lookup(const struct xdivert_injection *h,
			 struct xdivert_packet *p)
{
	p->origin = (struct origin){
		.digest = digest(h->seen->digest, p->data, p->len),
		.ttl = p->data[0] >> 4 == 4 ? p->data[8] : p->data[7],
	};
	__builtin_prefetch(entry_of(h, p->origin.digest));
}

void seen_lookup(const struct xdivert_injection *h, struct xdivert_packet *p)
{
	struct origin *o = &p->origin;
	struct xdv_injected e;

	if (find(h, o->digest, o->ttl, &e)) {
		o->handle = e.handle;
		o->previous = e.previous;
		o->context = e.context;
	}
}

enum xdivert_injection_state seen_state(const struct xdivert_injection *h,
					const struct origin *o,
					uint64_t *context)
{
	struct xdv_injected e;

	*context = 0;
	if (!o->handle)
		return XDIVERT_NOT_INJECTED;
	if (o->handle == h->id) {
		*context = o->context;
		return XDIVERT_INJECTED_BY_SELF;
	}
	if (find(h, digest_for(o->digest, h->id), o->ttl, &e) &&
	    e.handle == h->id) {
		*context = e.context;
		return XDIVERT_PREVIOUSLY_INJECTED_BY_SELF;
	}
	return o->previous ? XDIVERT_PREVIOUSLY_INJECTED_BY_OTHER
			   : XDIVERT_INJECTED_BY_OTHER;
}

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

/* Of another version, it has another size: then libbpf refuses it. */
int seen_share(struct xdivert_injection *h, struct bpf_map *map)
{
	int lock = lock_root(h), fd, rc = 0;
	char path[320];

	if (lock < 0)
		return lock;
	pin_path(h, path, sizeof(path));
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		rc = bpf_map__reuse_fd(map, fd);
		close(fd);
	}
	if (rc) {
		close(lock);
		return rc;
	}
	return lock;
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

int seen_open(struct xdivert_injection *h, struct bpf_map *map, int lock)
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
	table = mmap(NULL, XDV_INJECTED * sizeof(*h->seen),
		     PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (table == MAP_FAILED)
		return -errno;
	h->seen = table;
	return 0;
}

void seen_close(struct xdivert_injection *h)
{
	if (h->seen)
		munmap(h->seen, XDV_INJECTED * sizeof(*h->seen));
}
