// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <string.h>

#include "error.h"
#include "opts.h"

int opts_take(void *to, size_t size, const void *from)
{
	const char *bytes = from;
	size_t theirs = 0, i;

	memset(to, 0, size);
	if (from)
		memcpy(&theirs, from, sizeof(theirs));
	if (from && theirs < sizeof(theirs))
		return error_set(-EINVAL, "options without their size, sz");
	for (i = size; i < theirs; i++)
		if (bytes[i])
			return error_set(-EINVAL,
					 "options of a newer version of the "
					 "library than this one");
	if (from)
		memcpy(to, from, theirs < size ? theirs : size);
	return 0;
}
