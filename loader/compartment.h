/* SPDX-License-Identifier: BSD-2-Clause */
/* Network namespaces by name and by number. */
#ifndef XDIVERT_COMPARTMENT_H
#define XDIVERT_COMPARTMENT_H

#include <stddef.h>
#include <stdint.h>

/* This thread goes to a network namespace: what netns_leave() needs, or
 * -errno.
 */
int netns_enter(int netns);
/* And back. 0 or -errno; home is closed. */
int netns_leave(int home);
/* This thread's, for `ip netns`; "default" is init's, and one that has no name
 * is net-INODE.
 */
void compartment_name(char *name, size_t size);
/* When the namespace of that id was made. -ENOTCONN: there is none now. */
int compartment_born(uint32_t id, uint64_t *time);
/* The cookie of this thread's namespace: no two ever have the same. */
int compartment_cookie(uint64_t *cookie);
/* Move this thread into the one that was made then. -ENOTCONN: it has gone. */
int compartment_switch(uint32_t id, uint64_t time);

#endif
