/* SPDX-License-Identifier: BSD-2-Clause */
/* One rtnetlink request and its answer. */
#ifndef XDIVERT_NETLINK_H
#define XDIVERT_NETLINK_H

struct nlmsghdr;

/* nlh must ask for NLM_F_ACK. 0 or the kernel's -errno. */
int netlink_request(struct nlmsghdr *nlh);

#endif
