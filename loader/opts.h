/* SPDX-License-Identifier: BSD-2-Clause */
/* Structs of options that grow: a program may know fewer or more than we. */
#ifndef XDIVERT_OPTS_H
#define XDIVERT_OPTS_H

#include <stddef.h>

/*
 * Copy a caller's options, which begin with their size_t sz and may be NULL,
 * into ours: what the caller does not know is 0. -EINVAL after error_set():
 * the caller asks for something that we do not know.
 */
int opts_take(void *to, size_t size, const void *from);

#endif
