/* SPDX-License-Identifier: BSD-2-Clause */
/* SipHash-2-4 (Aumasson, Bernstein): who does not know the key cannot choose
 * inputs that collide.
 */
#ifndef XDIVERT_SIPHASH_H
#define XDIVERT_SIPHASH_H

#include <stdint.h>

uint64_t siphash(const uint8_t key[16], const void *data, uint32_t len);

#endif
