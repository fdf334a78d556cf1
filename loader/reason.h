/* SPDX-License-Identifier: BSD-2-Clause */
/* The running kernel's drop reasons (enum skb_drop_reason): their numbers move
 * from version to version, so they go by the names in its BTF.
 */
#ifndef XDIVERT_REASON_H
#define XDIVERT_REASON_H

#include <stdint.h>

/* Without SKB_DROP_REASON_; NULL: no such number. */
const char *reason_of_kernel(uint32_t number);
/* For each number below n the errno of a frame that was dropped so. */
void reason_errnos(uint16_t *table, uint32_t n);

#endif
