// SPDX-License-Identifier: BSD-2-Clause
/*
 * A table of digests of whole packets but what forwarding changes. It is
 * indexed by a tag, which is of a packet's head alone: of the many packets that
 * were not injected no more is read than that. The digest is of all the rest
 * too, so that nobody can make a packet that passes for another.
 *
 * Writers do not lock: an entry carries a sum of its words, and one that two
 * writers mixed is not believed. A packet returns only with a TTL that is not
 * above the one that left. A fresh repetition of what was diverted has the TTL
 * that the first had, whatever a callout made of that.
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
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "clock.h"
#include "digest.h"
#include "seen.h"

#define REMEMBERED 10000000000ull /* ns */
#define PRIME1	   0x9e3779b185ebca87ull

static uint64_t mix(uint64_t lane, uint64_t word)
{
	lane = (lane ^ word) * PRIME1;
	return lane ^ lane >> 29;
}

static uint64_t check_of(const struct xdv_injected *e)
{
	return e->tag * 17 ^ e->digest ^ e->handle * 3 ^ e->previous * 5 ^
	       e->context * 7 ^ e->time * 11 ^
	       ((uint64_t)e->received << 32 | e->ttl) * 13 ^ PRIME1;
}

static struct xdv_injected *entry_of(const struct xdivert_injection *h,
				     uint64_t tag)
{
	return &h->seen[1 + tag % (XDV_INJECTED - 1)];
}

/* Under this, a handle's injection is kept when another one's follows. */
static uint64_t tag_for(uint64_t tag, uint64_t handle)
{
	return mix(tag, handle);
}

static void store(struct xdivert_injection *h, struct xdv_injected *e)
{
	e->check = check_of(e);
	*entry_of(h, e->tag) = *e;
}

/* A copy of the entry with that tag; false if there is none. */
static bool find(const struct xdivert_injection *h, uint64_t tag,
		 struct xdv_injected *e)
{
	const struct xdv_injected *entry = entry_of(h, tag);

	if (__atomic_load_n(&entry->tag, __ATOMIC_RELAXED) != tag)
		return false;
	*e = *entry;
	return e->tag == tag && e->check == check_of(e);
}

/* Is it the entry of that packet, now seen with that TTL? */
static bool matches(const struct xdv_injected *e, uint64_t digest,
		    unsigned int ttl)
{
	return e->digest == digest && ttl <= e->ttl && ttl != e->received &&
	       now() - e->time <= REMEMBERED;
}

static unsigned int ttl_of(const struct xdivert_packet *p)
{
	return p->data[0] >> 4 == 4 ? p->data[8] : p->data[7];
}

/* What comes back from the stack has passed a hop there. */
static unsigned int ttl_sent(const struct xdivert_packet *p)
{
	unsigned int ttl = ttl_of(p);

	return ttl && p->request.flags & (XDV_DESC_DECREMENT_TTL |
					  XDV_DESC_RECEIVE)
		       ? ttl - 1
		       : ttl;
}

/* The CPU fetches the packet after the next while it digests this one. */
static void prefetch(const struct xdivert_packet *p)
{
	uint32_t at;

	for (at = 0; p && at < p->len; at += 64)
		__builtin_prefetch(p->data + at);
}

void seen_prepare_record(struct xdivert_injection *h, struct xdivert_packet *p)
{
	struct request *r = &p->request;

	if (r->next)
		prefetch(r->next->request.next);
	r->tag = digest_head(h->seen_keys, packet_bytes(p), p->len);
	__builtin_prefetch(entry_of(h, r->tag), 1);
	r->digest = digest_all(h->seen_keys, r->tag, packet_bytes(p), p->len);
}

void seen_record(struct xdivert_injection *h, const struct xdivert_packet *p,
		 uint64_t time)
{
	const struct request *r = &p->request;
	unsigned int ttl = ttl_sent(p);
	struct xdv_injected e = {
		.tag = r->tag,
		.digest = r->digest,
		.handle = h->id,
		.context = r->context,
		.time = time,
		.ttl = ttl,
		.received = p->origin.ttl,
	};
	struct xdv_injected last;

	if (find(h, r->tag, &last) && matches(&last, r->digest, ttl) &&
	    last.handle != h->id) {
		e.previous = last.handle;
		last.tag = tag_for(r->tag, last.handle);
		store(h, &last);
	}
	store(h, &e);
}

void seen_forget(struct xdivert_injection *h, const struct xdivert_packet *p)
{
	const struct request *r = &p->request;
	struct xdv_injected e, last;

	if (!find(h, r->tag, &e) || e.handle != h->id || e.digest != r->digest)
		return;
	if (e.previous && find(h, tag_for(r->tag, e.previous), &last)) {
		last.tag = r->tag;
		store(h, &last);
		return;
	}
	*entry_of(h, r->tag) = (struct xdv_injected){0};
}

void seen_prepare_lookup(const struct xdivert_injection *h,
			 struct xdivert_packet *p)
{
	p->origin = (struct origin){
		.tag = digest_head(h->seen_keys, p->data, p->len),
		.ttl = ttl_of(p),
	};
	__builtin_prefetch(entry_of(h, p->origin.tag));
}

void seen_lookup(const struct xdivert_injection *h, struct xdivert_packet *p)
{
	struct origin *o = &p->origin;
	struct xdv_injected e;

	if (!find(h, o->tag, &e))
		return;
	o->digest = digest_all(h->seen_keys, o->tag, p->data, p->len);
	if (matches(&e, o->digest, o->ttl)) {
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
	if (find(h, tag_for(o->tag, h->id), &e) && e.handle == h->id &&
	    matches(&e, o->digest, o->ttl)) {
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

static bool same_shape(const struct bpf_map *map, int fd)
{
	struct bpf_map_info info = {0};
	__u32 size = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &size) &&
	       info.value_size == bpf_map__value_size(map) &&
	       info.max_entries == bpf_map__max_entries(map);
}

int seen_share(struct xdivert_injection *h, struct bpf_map *map)
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
	digest_keys(h->seen_keys, h->seen->digest);
	return 0;
}

void seen_close(struct xdivert_injection *h)
{
	if (h->seen)
		munmap(h->seen, XDV_INJECTED * sizeof(*h->seen));
}
