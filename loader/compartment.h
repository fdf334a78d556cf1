/* SPDX-License-Identifier: BSD-2-Clause */
/* Network namespaces by name and by number. */
#ifndef XDIVERT_COMPARTMENT_H
#define XDIVERT_COMPARTMENT_H

#include <stdbool.h>
#include <stdint.h>

/* Is there a namespace of that id now? */
bool compartment_exists(uint32_t id);
/* The cookie of this thread's namespace: no two ever have the same. */
int compartment_cookie(uint64_t *cookie);
/* Move this thread into it. -ENOTCONN: it has gone. */
int compartment_switch(uint32_t id);

#endif
