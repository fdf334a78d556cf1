/* SPDX-License-Identifier: BSD-2-Clause */
/* Ask the kernel to resolve a next hop, as its own forwarding would. */
#ifndef XDIVERT_NEIGH_H
#define XDIVERT_NEIGH_H

#include <stdint.h>

/* family AF_INET or AF_INET6, address in network byte order. */
int neigh_resolve(uint32_t ifindex, int family, const void *address);

#endif
