// SPDX-License-Identifier: GPL-2.0-only
/*
 * For the measurement of what completions cost: the tracing programs of
 * bpf/complete.bpf.c that never look at what a flush sent. User space then
 * finds each injection without a fate, and just takes its packet back.
 */
#include "handle.h"

#define bpf_loop(n, visit, context, flags)                                     \
	do {                                                                   \
		(void)(visit);                                                 \
		(void)(context);                                               \
	} while (0)

#include "../bpf/complete.bpf.c"
