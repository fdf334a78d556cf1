/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers in network order, at any address. */
#ifndef XDIVERT_BYTES_H
#define XDIVERT_BYTES_H

#include <stdint.h>

static inline uint16_t be16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static inline uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

static inline void put16(uint8_t *p, uint16_t value)
{
	p[0] = value >> 8;
	p[1] = value;
}

static inline void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

#endif
