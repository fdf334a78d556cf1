// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "handle.h"
#include "libpcap.h"

struct request {
	const char *oif, *pcap, *hex;
	unsigned long count;
};

struct injector {
	struct state *s;
	struct handle *h;
	uint32_t ifindex;
	unsigned long failed;
};

static void completed(void *arg, struct packet *p,
		      const struct xdv_completion *c)
{
	struct injector *in = arg;

	if (c->status)
		in->failed++;
	print_completion(c, false);
	packet_free(in->h, p);
}

/* One packet that begins with its IP header. */
static int send_packet(struct injector *in, const uint8_t *data, uint32_t len)
{
	struct headers headers;
	struct packet *p;
	int rc;

	if (len > XDV_PACKET_MAX)
		return fail(1,
			    "inject: the packet is longer than the %d bytes "
			    "that fit",
			    XDV_PACKET_MAX);
	if (packet_parse(data, len, &headers))
		return fail(1, "inject: not an IP packet, or its length field "
			       "is wrong");
	p = packet_alloc(in->h);
	if (!p)
		return fail(1, "inject: out of frames");
	memcpy(p->data, data, len);
	p->len = len;
	__atomic_fetch_add(&in->s->shared->originated, 1, __ATOMIC_RELAXED);
	rc = handle_inject(in->h, p, in->ifindex, 0, 0);
	if (!rc)
		rc = handle_submit(in->h);
	return rc ? fail(1, "inject: %s", strerror(-rc)) : 0;
}

static int send_hex(struct injector *in, const char *hex)
{
	uint8_t data[XDV_PACKET_MAX + 1];
	uint32_t len = 0;
	unsigned int byte;

	for (; *hex; hex++) {
		if (isspace((unsigned char)*hex) || *hex == ':')
			continue;
		if (len == sizeof(data))
			break; /* too long already; send_packet() says so */
		if (!isxdigit((unsigned char)hex[0]) ||
		    !isxdigit((unsigned char)hex[1]))
			return fail(EXIT_USAGE,
				    "inject: --hex needs pairs of hex digits");
		sscanf(hex++, "%2x", &byte);
		data[len++] = byte;
	}
	return send_packet(in, data, len);
}

/* Length of the link header before the IP header, -1 if it is not IP. */
static int link_header(int linktype, const uint8_t *data, uint32_t len)
{
	if (linktype == DLT_RAW)
		return 0;
	if (linktype != DLT_EN10MB || len < 14)
		return -1;
	if ((data[12] == 0x08 && data[13] == 0x00) ||
	    (data[12] == 0x86 && data[13] == 0xdd))
		return 14;
	return -1;
}

static int send_pcap(struct injector *in, const char *file)
{
	char err[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(file, err);
	struct pcap_pkthdr *header;
	unsigned long skipped = 0;
	const uint8_t *data;
	int rc = 0, skip;

	if (!pcap)
		return fail(1, "inject: %s: %s", file,
			    strncmp(err, file, strlen(file))
				    ? err
				    : err + strlen(file) +
					      strspn(err + strlen(file), ": "));
	while (!rc && pcap_next_ex(pcap, &header, &data) == 1) {
		skip = link_header(pcap_datalink(pcap), data, header->caplen);
		if (skip < 0)
			skipped++;
		else
			rc = send_packet(in, data + skip,
					 header->caplen - skip);
	}
	pcap_close(pcap);
	if (skipped)
		fprintf(stderr, "xdivert: %lu frame%s without IP skipped\n",
			skipped, skipped == 1 ? "" : "s");
	return rc;
}

static int parse(int argc, char **argv, struct request *r)
{
	static const struct option options[] = {
		{"oif", required_argument, NULL, 'o'},
		{"pcap", required_argument, NULL, 'p'},
		{"hex", required_argument, NULL, 'x'},
		{"count", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'o')
			r->oif = optarg;
		else if (c == 'p')
			r->pcap = optarg;
		else if (c == 'x')
			r->hex = optarg;
		else if (c == 'c') {
			r->count = strtoul(optarg, &end, 10);
			if (!isdigit((unsigned char)*optarg) || *end)
				return fail(EXIT_USAGE,
					    "inject: --count needs a number");
		} else
			return EXIT_USAGE;
	}
	if (optind != argc || !r->oif || !r->pcap == !r->hex)
		return fail(EXIT_USAGE, "inject: give --oif IFACE and one of "
					"--pcap FILE, --hex BYTES");
	return 0;
}

/* By name, or by number: an interface that does not exist completes so. */
static uint32_t find_target(const char *oif)
{
	uint32_t ifindex = if_nametoindex(oif);
	char *end;

	if (ifindex)
		return ifindex;
	ifindex = strtoul(oif, &end, 10);
	return *end ? 0 : ifindex;
}

static int inject_all(struct injector *in, const struct request *r)
{
	unsigned long i;
	int rc = 0;

	for (i = 0; i < r->count && !rc; i++)
		rc = r->hex ? send_hex(in, r->hex) : send_pcap(in, r->pcap);
	return rc ? rc : in->failed ? 1 : 0;
}

int cmd_inject(int argc, char **argv)
{
	struct request request = {.count = 1};
	struct injector in = {0};
	char err[256] = "";
	struct state s;
	int rc = parse(argc, argv, &request);

	if (rc)
		return rc;
	in.ifindex = find_target(request.oif);
	if (!in.ifindex)
		return fail(1, "inject: %s: no such interface", request.oif);
	rc = open_state(&s, STATE_READ);
	if (rc)
		return rc;
	in.s = &s;
	if (handle_create(&in.h, &s, completed, &in, err, sizeof(err)))
		rc = fail(1, "inject: %s", err);
	else
		rc = inject_all(&in, &request);
	handle_destroy(in.h);
	state_close(&s);
	return rc;
}
