/* SPDX-License-Identifier: BSD-2-Clause */
/* The sentence behind a negative errno: what xdivert_error() returns. */
#ifndef XDIVERT_ERROR_H
#define XDIVERT_ERROR_H

/* Remember a sentence for this thread; returns code. */
int error_set(int code, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
