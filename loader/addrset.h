/* SPDX-License-Identifier: BSD-2-Clause */
/* A set of addresses: a file with a prefix a line, and tries in the kernel. */
#ifndef XDIVERT_ADDRSET_H
#define XDIVERT_ADDRSET_H

#include <stdbool.h>

#include <linux/types.h>

/* Keys of BPF_MAP_TYPE_LPM_TRIE. */
struct prefix4 {
	__u32 len;
	__u8 address[4];
};

struct prefix6 {
	__u32 len;
	__u8 address[16];
};

/* No prefix lies within another; in order. */
struct addrset {
	struct prefix4 *v4;
	struct prefix6 *v6;
	int n4, n6;
};

/*
 * IPv4 and IPv6 mixed, # begins a comment, an address alone is a host. 0, or
 * -errno after error_set() with file and line.
 */
int addrset_read(const char *path, struct addrset *set);
void addrset_free(struct addrset *set);

/* New tries with the set, [0] IPv4 and [1] IPv6; 0 or -errno. */
int addrset_load(const struct addrset *set, int map[2]);

/* Is the packet's source or destination address in it? */
bool addrset_matches(const struct addrset *set, bool source, int link_type,
		     const void *packet, __u32 len);

#endif
