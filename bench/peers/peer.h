/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every peer does before and after its job. All are called
 *   PEER IN IN_MAC OUT OUT_MAC
 * with the address at the other end of each link, say "ready", and work in
 * both directions until they are terminated.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "edit.h"

struct side {
	const char *name;
	__u32 ifindex;
	struct link_addresses link; /* of what leaves here */
};

static volatile sig_atomic_t peer_stop;

static inline void peer_on_signal(int signal)
{
	(void)signal;
	peer_stop = 1;
}

static inline void peer_fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
		strerror(errno));
	exit(1);
}

static inline void peer_side(struct side *side, const char *name,
			     const char *mac)
{
	struct ifreq request = {0};
	__u8 *m = side->link.dst;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	side->name = name;
	side->ifindex = if_nametoindex(name);
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request))
		peer_fail(name);
	memcpy(side->link.src, request.ifr_hwaddr.sa_data, 6);
	close(fd);
	if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3,
		   m + 4, m + 5) != 6) {
		errno = EINVAL;
		peer_fail(mac);
	}
}

/* sides[0] is IN, sides[1] is OUT. */
static inline void peer_parse(int argc, char **argv, struct side *sides)
{
	struct sigaction action = {.sa_handler = peer_on_signal};

	if (argc < 5) {
		fprintf(stderr, "usage: %s IN IN_MAC OUT OUT_MAC\n", argv[0]);
		exit(2);
	}
	peer_side(&sides[0], argv[1], argv[2]);
	peer_side(&sides[1], argv[3], argv[4]);
	/* Without SA_RESTART: whoever waits is woken. */
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

static inline void peer_ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* Until terminated, for peers that live in the kernel. */
static inline void peer_wait(void)
{
	sigset_t block, old;

	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGINT);
	sigprocmask(SIG_BLOCK, &block, &old);
	peer_ready();
	while (!peer_stop)
		sigsuspend(&old);
}

#endif
