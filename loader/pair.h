/* SPDX-License-Identifier: BSD-2-Clause */
/* A veth pair of our own, xdvN here. */
#ifndef XDIVERT_PAIR_H
#define XDIVERT_PAIR_H

#define PAIR_FAR "peer" /* what the far end is called, in its namespace */

struct pair {
	int ifindex; /* of the near end, here */
	int netns;   /* of the far end; both go when this is closed */
};

/* -errno. Both ends are down. */
int pair_open(struct pair *pair);
void pair_close(struct pair *pair);

/* An end of it, here. */
int pair_bring_up(const char *ifname, int mtu);

#endif
