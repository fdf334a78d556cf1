/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The frames of the benchmark: made by gen, edited on the way, read by sink. */
#ifndef BENCH_FRAME_H
#define BENCH_FRAME_H

#include "net.h"

#define FRAME_MAGIC 0x78647662u
#define FRAME_PORT  9000 /* destination; rules of the scale tests know it */
#define FRAME_MIN   64
#define FRAME_MAX   1514
#define FRAME_CPUS  64
/* A flow is one of this many source ports of a source address. */
#define FRAME_PORTS 4096

struct stamp {
	__u32 magic;
	__u32 seq;
	__u64 time; /* CLOCK_MONOTONIC, ns; 0: not to be measured */
};

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct stamp stamp;
	__u8 zeroes[6];
} __attribute__((packed));
_Static_assert(sizeof(struct frame) == FRAME_MIN, "copied by words");

struct frame_config {
	struct frame frame __attribute__((aligned(8))); /* but what differs */
	__u32 size; /* of the frame, without FCS */
	__u32 flows;
	__u32 saddr; /* of the first flow; host byte order, low 12 bits 0 */
	__u32 ip_sum, udp_sum; /* over what does not differ */
	__u32 ifindex;
	__u32 stamped;
	__u32 pad;
};

static __always_inline __u16 frame_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u32 frame_sum(const void *data, int words)
{
	const word16 *word = data;
	__u32 sum = 0;
	int i;

#pragma GCC unroll 16
	for (i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

static __always_inline __u32 frame_sum32(__u32 value)
{
	return (value & 0xffff) + (value >> 16);
}

/* The first FRAME_MIN bytes of a frame; the rest of it are zeroes. */
static __always_inline void frame_fill(void *to,
				       const volatile struct frame_config *c,
				       __u32 seq, __u64 time)
{
	struct stamp *stamp = to + sizeof(struct ethhdr) +
			      sizeof(struct iphdr) + sizeof(struct udphdr);
	struct udphdr *udp = to + sizeof(struct ethhdr) + sizeof(struct iphdr);
	struct iphdr *ip = to + sizeof(struct ethhdr);
	const volatile word64 *from = (const volatile void *)c;
	__u32 flow = seq % c->flows, saddr, i;
	__u16 sport, check;

#pragma GCC unroll 8
	for (i = 0; i < FRAME_MIN / 8; i++)
		((word64 *)to)[i] = from[i];
	saddr = be32(c->saddr + flow / FRAME_PORTS);
	sport = be16(1024 + flow % FRAME_PORTS);
	ip->id = seq;
	ip->saddr = saddr;
	ip->check = ~frame_fold(c->ip_sum + frame_sum32(saddr) + (__u16)seq);
	udp->source = sport;
	stamp->seq = seq;
	stamp->time = time;
	check = ~frame_fold(c->udp_sum + frame_sum32(saddr) + sport +
			    frame_sum32(seq) + frame_sum32(time) +
			    frame_sum32(time >> 32));
	/* Zero would say that there is none. */
	udp->check = check ? check : 0xffff;
}

#endif
