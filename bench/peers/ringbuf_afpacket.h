/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef BENCH_RINGBUF_AFPACKET_H
#define BENCH_RINGBUF_AFPACKET_H

#include <linux/types.h>

#define RECORD_MAX 2048

struct record {
	__u32 len;
	__u32 from; /* 0: IN */
	__u8 bytes[];
};

#endif
