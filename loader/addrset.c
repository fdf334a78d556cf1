// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "addrset.h"
#include "error.h"
#include "libpcap.h"

#define LINE_MAX_LEN 256
#define BATCH	     65536

/* ---- reading ---- */

static int bad(const char *path, int line, const char *text, const char *why)
{
	return error_set(-EINVAL,
			 "%s:%d: expected an IPv4 or IPv6 prefix, not '%s'%s",
			 path, line, text, why);
}

/* Bits behind the prefix, which must not be set. */
static bool host_bits(const __u8 *address, unsigned int size, unsigned int len)
{
	unsigned int i = len / 8;

	if (i < size && (__u8)(address[i] << len % 8))
		return true;
	while (++i < size)
		if (address[i])
			return true;
	return false;
}

static void *grow(void *list, int n, size_t size)
{
	/* At powers of two. */
	return n & (n - 1) ? list : realloc(list, (n ? 2 * n : 1) * size);
}

static int add4(struct addrset *set, const __u8 *address, unsigned int len)
{
	struct prefix4 *more = grow(set->v4, set->n4, sizeof(*more));

	if (!more)
		return error_set(-ENOMEM, "out of memory");
	set->v4 = more;
	more[set->n4].len = len;
	memcpy(more[set->n4++].address, address, 4);
	return 0;
}

static int add6(struct addrset *set, const __u8 *address, unsigned int len)
{
	struct prefix6 *more = grow(set->v6, set->n6, sizeof(*more));

	if (!more)
		return error_set(-ENOMEM, "out of memory");
	set->v6 = more;
	more[set->n6].len = len;
	memcpy(more[set->n6++].address, address, 16);
	return 0;
}

static int add(struct addrset *set, const char *path, int line, char *text)
{
	char whole[LINE_MAX_LEN], *slash, *end;
	bool v6 = strchr(text, ':');
	unsigned int size = v6 ? 16 : 4;
	unsigned long len = 8 * size;
	__u8 address[16];

	snprintf(whole, sizeof(whole), "%s", text);
	slash = strchr(text, '/');
	if (slash) {
		*slash = 0;
		len = strtoul(slash + 1, &end, 10);
		if (!isdigit((unsigned char)slash[1]) || *end || len > 8 * size)
			return bad(path, line, whole, "");
	}
	if (inet_pton(v6 ? AF_INET6 : AF_INET, text, address) != 1)
		return bad(path, line, whole, "");
	if (host_bits(address, size, len))
		return bad(path, line, whole,
			   ": bits behind the prefix are set");
	return v6 ? add6(set, address, len) : add4(set, address, len);
}

static int read_line(struct addrset *set, const char *path, int line,
		     char *text)
{
	size_t len;

	text[strcspn(text, "#\n")] = 0;
	while (isspace((unsigned char)*text))
		text++;
	len = strlen(text);
	while (len && isspace((unsigned char)text[len - 1]))
		text[--len] = 0;
	return len ? add(set, path, line, text) : 0;
}

/* A prefix in front of those that lie within it. */
static int by_address4(const void *a, const void *b)
{
	const struct prefix4 *x = a, *y = b;
	int order = memcmp(x->address, y->address, 4);

	return order ? order : (int)x->len - (int)y->len;
}

static int by_address6(const void *a, const void *b)
{
	const struct prefix6 *x = a, *y = b;
	int order = memcmp(x->address, y->address, 16);

	return order ? order : (int)x->len - (int)y->len;
}

static bool covers(const __u8 *prefix, unsigned int len, const __u8 *address)
{
	unsigned int rest = len % 8;

	return !memcmp(prefix, address, len / 8) &&
	       (!rest || !((prefix[len / 8] ^ address[len / 8]) >> (8 - rest)));
}

static void tidy(struct addrset *set)
{
	int i, n;

	if (set->n4)
		qsort(set->v4, set->n4, sizeof(*set->v4), by_address4);
	for (i = n = 0; i < set->n4; i++)
		if (!n || !covers(set->v4[n - 1].address, set->v4[n - 1].len,
				  set->v4[i].address))
			set->v4[n++] = set->v4[i];
	set->n4 = n;
	if (set->n6)
		qsort(set->v6, set->n6, sizeof(*set->v6), by_address6);
	for (i = n = 0; i < set->n6; i++)
		if (!n || !covers(set->v6[n - 1].address, set->v6[n - 1].len,
				  set->v6[i].address))
			set->v6[n++] = set->v6[i];
	set->n6 = n;
}

/* It is read again later, so it must be one that stays. */
static int open_file(const char *path, FILE **file)
{
	struct stat st;

	if (stat(path, &st))
		return error_set(-errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(-EINVAL, "%s is not a file", path);
	*file = fopen(path, "re");
	return *file ? 0 : error_set(-errno, "%s: %s", path, strerror(errno));
}

int addrset_read(const char *path, struct addrset *set)
{
	char text[LINE_MAX_LEN];
	int line = 0, rc = 0;
	FILE *file;

	*set = (struct addrset){0};
	rc = open_file(path, &file);
	if (rc)
		return rc;
	while (!rc && fgets(text, sizeof(text), file)) {
		line++;
		if (!strchr(text, '\n') && !feof(file))
			rc = bad(path, line, "a long line", "");
		else
			rc = read_line(set, path, line, text);
	}
	if (!rc && ferror(file))
		rc = error_set(-EIO, "%s: %s", path, strerror(errno));
	fclose(file);
	if (rc)
		addrset_free(set);
	else
		tidy(set);
	return rc;
}

void addrset_free(struct addrset *set)
{
	free(set->v4);
	free(set->v6);
	*set = (struct addrset){0};
}

/* ---- the kernel's tries ---- */

static int fill_one_by_one(int map, const char *keys, int n, size_t size)
{
	const __u8 one = 1;
	int i, rc = 0;

	for (i = 0; i < n && !rc; i++)
		rc = bpf_map_update_elem(map, keys + i * size, &one, BPF_ANY);
	return rc;
}

/* In few calls, where the kernel takes batches for tries. */
static int fill(int map, const char *keys, int n, size_t size)
{
	__u8 *ones = malloc(n ? n : 1);
	__u32 count;
	int at, rc = 0;

	if (!ones)
		return -ENOMEM;
	memset(ones, 1, n);
	for (at = 0; at < n && !rc; at += count) {
		count = n - at < BATCH ? n - at : BATCH;
		rc = bpf_map_update_batch(map, keys + at * size, ones, &count,
					  NULL);
	}
	free(ones);
	return rc ? fill_one_by_one(map, keys, n, size) : 0;
}

static int make_trie(const void *keys, int n, size_t size)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	int map = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "xdv_set", size, 1,
				 n ? n : 1, &opts);
	int rc = map < 0 ? map : fill(map, keys, n, size);

	if (!rc)
		return map;
	if (map >= 0)
		close(map);
	return rc;
}

int addrset_load(const struct addrset *set, int map[2])
{
	map[0] = make_trie(set->v4, set->n4, sizeof(*set->v4));
	if (map[0] < 0)
		return map[0];
	map[1] = make_trie(set->v6, set->n6, sizeof(*set->v6));
	if (map[1] >= 0)
		return 0;
	close(map[0]);
	return map[1];
}

/* ---- without the kernel ---- */

static bool contains4(const struct addrset *set, const __u8 *address)
{
	int low = 0, high = set->n4, mid;

	/* The last prefix that begins no later than the address. */
	while (low < high) {
		mid = (low + high) / 2;
		if (memcmp(set->v4[mid].address, address, 4) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low &&
	       covers(set->v4[low - 1].address, set->v4[low - 1].len, address);
}

static bool contains6(const struct addrset *set, const __u8 *address)
{
	int low = 0, high = set->n6, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (memcmp(set->v6[mid].address, address, 16) <= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low &&
	       covers(set->v6[low - 1].address, set->v6[low - 1].len, address);
}

/* Where the IP header is, behind at most two VLAN tags; its version, or 0. */
static unsigned int find_ip(const __u8 *p, __u32 len, int link_type, __u32 *at)
{
	unsigned int type;

	*at = 0;
	if (link_type == DLT_RAW)
		return len ? p[0] >> 4 : 0;
	for (*at = 14; *at <= 22 && *at <= len; *at += 4) {
		type = p[*at - 2] << 8 | p[*at - 1];
		if (type != 0x8100 && type != 0x88a8)
			return type == 0x0800 ? 4 : type == 0x86dd ? 6 : 0;
	}
	return 0;
}

bool addrset_matches(const struct addrset *set, bool source, int link_type,
		     const void *packet, __u32 len)
{
	const __u8 *p = packet;
	__u32 at;
	unsigned int version = find_ip(p, len, link_type, &at);

	if (version == 4) {
		at += source ? 12 : 16;
		return at + 4 <= len && contains4(set, p + at);
	}
	at += source ? 8 : 24;
	return version == 6 && at + 16 <= len && contains6(set, p + at);
}
