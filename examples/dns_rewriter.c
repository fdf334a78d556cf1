/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DNS answers with one IPv4 address get another: ./dns_rewriter FROM TO
 *
 *     xdivert rule add dns --filter 'udp src port 53'; ./dns_rewriter
 * 192.0.2.1 10.0.0.1
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <xdivert.h>

static unsigned char from[6] = {0, 4}, to[6] = {0, 4}; /* length, address */

static void classify(void *arg, struct xdivert_packet *packet,
		     const struct xdivert_metadata *m,
		     enum xdivert_verdict *verdict)
{
	uint8_t *data = xdivert_packet_data(packet), *at;
	uint32_t len = xdivert_packet_len(packet);
	struct xdivert_headers h;

	(void)arg;
	(void)m;
	(void)verdict; /* XDIVERT_CONTINUE: on where it was going */
	if (xdivert_parse(data, len, &h) || !h.payload)
		return;
	at = memmem(data + h.payload, len - h.payload, from, sizeof(from));
	if (!at)
		return;
	memcpy(at, to, sizeof(to));
	xdivert_packet_finish(packet);
}

int main(int argc, char **argv)
{
	struct xdivert_injection *handle;
	struct xdivert *x;

	if (argc != 3 || inet_pton(AF_INET, argv[1], from + 2) != 1 ||
	    inet_pton(AF_INET, argv[2], to + 2) != 1) {
		fprintf(stderr, "usage: dns_rewriter FROM TO\n");
		return 2;
	}
	if (xdivert_open(&x, NULL) ||
	    xdivert_injection_create(&handle, x, AF_UNSPEC, XDIVERT_KIND_ALL) ||
	    xdivert_callout_register(handle, classify, NULL) ||
	    xdivert_serve(handle))
		return fprintf(stderr, "%s\n", xdivert_error()), 1;
	puts("ready");
	fflush(stdout);
	while (xdivert_dispatch(handle, -1) >= 0)
		;
	return fprintf(stderr, "%s\n", xdivert_error()), 1;
}
