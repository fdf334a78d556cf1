/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hold packets for a second, then send them through another interface, by
 * pulling instead of a callout: ./hold IFACE
 */
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include <xdivert.h>

#define HELD_MAX 1000
#define SECOND	 1000000000ull

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

int main(int argc, char **argv)
{
	struct xdivert_packet *held[HELD_MAX], *p;
	uint32_t out = argc == 2 ? if_nametoindex(argv[1]) : 0;
	unsigned int first = 0, last = 0; /* positions; they only grow */
	struct xdivert_injection *h;
	struct xdivert *x;
	uint64_t since;
	int v6;
	if (!out || xdivert_open(&x, NULL) ||
	    xdivert_injection_create(&h, x, AF_UNSPEC, XDIVERT_KIND_ALL) ||
	    xdivert_serve(h))
		return fprintf(stderr, "hold IFACE: %s\n", xdivert_error()), 1;
	setlinebuf(stdout);
	puts("ready");
	for (;;) {
		struct pollfd fd = {.fd = xdivert_fd(h), .events = POLLIN};
		poll(&fd, last - first < HELD_MAX, /* else: only wait */
		     last - first ? 10 : xdivert_timeout(h));
		while (last - first < HELD_MAX && xdivert_receive(h, &p, 1) > 0)
			held[last++ % HELD_MAX] = p;
		for (; first != last; first++) {
			p = held[first % HELD_MAX];
			since = xdivert_packet_metadata(p)->received;
			v6 = *xdivert_packet_data(p) >> 4 == 6;
			if (now() - since < SECOND)
				break;
			if (xdivert_inject_forward_async(
				    h, 0, 0, v6 ? AF_INET6 : AF_INET, 0, out, p,
				    NULL, NULL))
				xdivert_packet_free(p);
		}
		if (xdivert_dispatch(h, 0) < 0)
			return fprintf(stderr, "%s\n", xdivert_error()), 1;
	}
}
