/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Headers, byte order and maps' types for BPF and user space alike. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <linux/types.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

#ifdef __bpf__
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Headers are summed up and copied by words, whatever they are made of. */
typedef __u16 __attribute__((may_alias)) word16;
typedef __u64 __attribute__((may_alias)) word64;

/* Both architectures that are built for are little-endian. */
#define be16(x) ((__be16)__builtin_bswap16(x))
#define be32(x) ((__be32)__builtin_bswap32(x))

#endif
