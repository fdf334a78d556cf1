/* SPDX-License-Identifier: BSD-2-Clause */
/* cmocka needs these before it, in this order. */
#ifndef XDIVERT_UNIT_H
#define XDIVERT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

#endif
