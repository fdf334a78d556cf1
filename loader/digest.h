/* SPDX-License-Identifier: BSD-2-Clause */
/* Keyed digests of IP packets, but for what forwarding changes. */
#ifndef XDIVERT_DIGEST_H
#define XDIVERT_DIGEST_H

#include <stdint.h>

#define DIGEST_HEAD 64 /* bytes */
#define DIGEST_KEYS 18

/* From a secret, so that nobody who does not know it finds two packets with one
 * digest.
 */
void digest_keys(uint64_t *keys, uint64_t secret);
/* Of the first DIGEST_HEAD bytes and the length. */
uint64_t digest_head(const uint64_t *keys, const uint8_t *data, uint32_t len);
/* Of all of it, from the digest of its head. */
uint64_t digest_all(const uint64_t *keys, uint64_t head, const uint8_t *data,
		    uint32_t len);

#endif
