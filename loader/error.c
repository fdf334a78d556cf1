// SPDX-License-Identifier: BSD-2-Clause
#include <stdarg.h>
#include <stdio.h>

#include <xdivert.h>

#include "error.h"

static _Thread_local char text[512];

int error_set(int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return code;
}

const char *xdivert_error(void)
{
	return text;
}
