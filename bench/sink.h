/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the sink's two halves share. */
#ifndef BENCH_SINK_H
#define BENCH_SINK_H

#include <linux/types.h>

/* Latencies: 32 buckets for each power of two, so an error of 3 % at most. */
#define SUB_BITS 5
#define SUB	 (1 << SUB_BITS)
#define BUCKETS	 (64 * SUB)

/* Values below SUB have a bucket each. */
static inline __u32 bucket_of(__u64 ns)
{
	__u32 power = 0, high;

	if (ns < SUB)
		return ns;
#ifdef __bpf__
	high = ns >> 32;
	power = high ? 32 : 0;
	high = high ? high : (__u32)ns;
	if (high >> 16) {
		power += 16;
		high >>= 16;
	}
	if (high >> 8) {
		power += 8;
		high >>= 8;
	}
	if (high >> 4) {
		power += 4;
		high >>= 4;
	}
	if (high >> 2) {
		power += 2;
		high >>= 2;
	}
	power += high >> 1;
#else
	(void)high;
	power = 63 - __builtin_clzll(ns);
#endif
	return (power - SUB_BITS + 1) * SUB +
	       ((ns >> (power - SUB_BITS)) & (SUB - 1));
}

/* The middle of a bucket. */
static inline __u64 bucket_value(__u32 bucket)
{
	__u32 power = bucket / SUB + SUB_BITS - 1;

	if (bucket < SUB)
		return bucket;
	return (1ull << power) +
	       (((__u64)(bucket % SUB) * 2 + 1) << (power - SUB_BITS) >> 1);
}

struct expectation {
	__u8 tos;
	__u8 ttl;
};

struct tally {
	__u64 packets;
	__u64 bad;  /* not edited as expected */
	__u64 late; /* behind a packet that was sent after it */
	__u64 last;
};

#endif
