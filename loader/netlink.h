/* SPDX-License-Identifier: BSD-2-Clause */
/* One rtnetlink request and its answer. */
#ifndef XDIVERT_NETLINK_H
#define XDIVERT_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

struct nlmsghdr;

/* Begin a request about a link (0: a new one) in MNL_SOCKET_BUFFER_SIZE bytes,
 * with NLM_F_ACK and what flags say.
 */
struct nlmsghdr *netlink_link(char *buffer, uint16_t type, uint16_t flags,
			      int ifindex);

/* nlh must ask for NLM_F_ACK. 0 or the kernel's -errno. */
int netlink_request(struct nlmsghdr *nlh);

/* A socket that is readable when a link of this namespace changes; -errno. */
int netlink_watch_links(void);
/* Read and forget what it has; true if there was something. */
bool netlink_drain(int fd);

#endif
