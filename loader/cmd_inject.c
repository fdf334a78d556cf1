// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "cmd.h"
#include "libpcap.h"

#define SECOND	    1000000000ull /* ns */
#define RATE_MAX    1000000
#define PROGRESS_NS (SECOND / 10)
#define GRACE_MS    1000 /* to complete, for who wants an end */

struct request {
	const char *oif, *pcap, *hex;
	long count, rate;
	bool via_stack;
};

struct injector {
	struct xdivert_injection *h;
	uint32_t flags; /* XDIVERT_PACKET_ */
	uint32_t compartment, ifindex;
	uint64_t rate;	   /* packets per second, 0: at once */
	uint64_t start;	   /* ns: the first was sent */
	uint64_t progress; /* ns: to be shown next; 0: never */
	unsigned long sent, done, failed;
	int end; /* end_fd() */
	bool ended;
};

static void completed(void *arg, struct xdivert_packet *p,
		      const struct xdv_completion *c)
{
	struct injector *in = arg;

	in->done++;
	if (c->status)
		in->failed++;
	print_completion(c, false);
	xdivert_packet_free(p);
}

/* Length of the IP packet at data; what follows it is the link's padding. */
static uint32_t ip_length(const uint8_t *data, uint32_t len)
{
	uint32_t claimed = len;

	if (len >= 20 && data[0] >> 4 == 4)
		claimed = data[2] << 8 | data[3];
	else if (len >= 40 && data[0] >> 4 == 6)
		claimed = 40 + (data[4] << 8 | data[5]);
	return claimed < len ? claimed : len;
}

/* ---- progress, on a terminal that does not show the records anyway ---- */

static void start_progress(struct injector *in)
{
	if (isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO))
		in->progress = now() + PROGRESS_NS;
}

/* The cursor stays in front, for whatever else has to be said. */
static void show_progress(struct injector *in)
{
	uint64_t t;

	if (!in->progress)
		return;
	t = now();
	if (t < in->progress)
		return;
	in->progress = t + PROGRESS_NS;
	fprintf(stderr, "\033[Kinjected %lu, failed %lu\r", in->sent,
		in->failed);
}

static void end_progress(const struct injector *in)
{
	if (in->progress)
		fputs("\033[K", stderr);
}

/* ---- waiting ---- */

static struct timespec time_left(const struct injector *in, uint64_t until)
{
	int most = xdivert_timeout(in->h);
	uint64_t t = now(), left = until > t ? until - t : 0;

	if (most >= 0 && left > most * (SECOND / 1000))
		left = most * (SECOND / 1000);
	return (struct timespec){left / SECOND, left % SECOND};
}

/* Sleep until then or until there is something to do, and do it. 0; or 1: it is
 * time to end.
 */
static int serve(struct injector *in, uint64_t until)
{
	struct pollfd fds[] = {{.fd = in->end, .events = POLLIN},
			       {.fd = xdivert_fd(in->h), .events = POLLIN}};
	struct timespec left = time_left(in, until);

	show_progress(in);
	if (left.tv_sec || left.tv_nsec)
		fflush(stdout);
	ppoll(fds, 2, &left, NULL);
	if (fds[0].revents) {
		in->ended = true;
		return 1;
	}
	return xdivert_dispatch(in->h, 0) < 0
		       ? fail(1, "inject: %s", xdivert_error())
		       : 0;
}

/* When the next one is to be sent, by the first: no delay adds up. */
static uint64_t due(const struct injector *in)
{
	if (!in->rate || !in->sent)
		return 0;
	return in->start + in->sent / in->rate * SECOND +
	       in->sent % in->rate * SECOND / in->rate;
}

static int pace(struct injector *in)
{
	uint64_t until = due(in);
	int rc;

	do {
		rc = serve(in, until);
	} while (!rc && now() < until);
	return rc;
}

/* Those that were sent complete, or somebody has waited long enough. */
static int drain(struct injector *in)
{
	int rc = 0;

	while (!rc && in->done < in->sent)
		rc = serve(in, UINT64_MAX);
	return rc;
}

/* As many as wait for an answer or in a qdisc may be pending: then wait too. */
static int initiate(struct injector *in, int family, struct xdivert_packet *p)
{
	int rc;

	while ((rc = xdivert_inject_forward_async(in->h, 0, 0, family,
						  in->compartment, in->ifindex,
						  p, completed, in))) {
		if (rc != -ENOBUFS)
			return fail(1, "inject: %s", xdivert_error());
		if (serve(in, UINT64_MAX))
			return 1;
	}
	if (!in->sent++)
		in->start = now();
	/* Who knows when the next one comes, of a pipe. */
	return xdivert_dispatch(in->h, 0) < 0
		       ? fail(1, "inject: %s", xdivert_error())
		       : 0;
}

/* Can it be injected? which: "packet 7: " of a capture. */
static int check_packet(const char *which, const uint8_t *data, uint32_t len)
{
	struct xdivert_headers headers;

	if (len > XDIVERT_PACKET_MAX)
		return fail(1,
			    "inject: %sthe packet is longer than the %d bytes "
			    "that fit",
			    which, XDIVERT_PACKET_MAX);
	if (xdivert_parse(data, len, &headers))
		return fail(1,
			    "inject: %snot an IP packet, or its length field "
			    "is wrong",
			    which);
	return 0;
}

/* One packet that begins with its IP header. */
static int send_packet(struct injector *in, const uint8_t *data, uint32_t len)
{
	int family = data[0] >> 4 == 4 ? AF_INET : AF_INET6;
	struct xdivert_packet *p;

	if (pace(in))
		return 1;
	p = xdivert_packet_alloc(in->h, len);
	if (!p)
		return fail(1, "inject: out of frames");
	memcpy(xdivert_packet_data(p), data, len);
	xdivert_packet_set_flags(p, in->flags);
	return initiate(in, family, p);
}

static int send_hex(struct injector *in, const char *hex)
{
	uint8_t data[XDIVERT_PACKET_MAX + 1];
	uint32_t len = 0;
	unsigned int byte;

	for (; *hex; hex++) {
		if (isspace((unsigned char)*hex) || *hex == ':')
			continue;
		if (len == sizeof(data))
			break; /* too long already; check_packet() says so */
		if (!isxdigit((unsigned char)hex[0]) ||
		    !isxdigit((unsigned char)hex[1]))
			return fail(EXIT_USAGE,
				    "inject: --hex needs pairs of hex digits");
		sscanf(hex++, "%2x", &byte);
		data[len++] = byte;
	}
	return check_packet("", data, len) ? 1 : send_packet(in, data, len);
}

/* Link types of captures: where the EtherType and the IP header are. */
static const struct link {
	int type;
	int ethertype; /* offset, -1: there is none */
	uint32_t header;
} links[] = {
	{DLT_EN10MB, 12, 14}, {DLT_LINUX_SLL, 14, 16}, {DLT_LINUX_SLL2, 0, 20},
	{DLT_RAW, -1, 0},     {DLT_IPV4, -1, 0},       {DLT_IPV6, -1, 0},
};

static const struct link *find_link(int type)
{
	size_t i;

	for (i = 0; i < sizeof(links) / sizeof(*links); i++)
		if (links[i].type == type)
			return &links[i];
	return NULL;
}

static bool is_ip(const struct link *link, const uint8_t *data, uint32_t len)
{
	unsigned int type;

	if (len <= link->header)
		return false;
	if (link->ethertype < 0)
		return true;
	type = data[link->ethertype] << 8 | data[link->ethertype + 1];
	return type == 0x0800 || type == 0x86dd;
}

/* One that was captured, with its number; *bad if it cannot be sent. */
static int send_frame(struct injector *in, const struct pcap_pkthdr *header,
		      const uint8_t *data, unsigned long number, bool *bad)
{
	uint32_t len = ip_length(data, header->caplen);
	char which[64];

	snprintf(which, sizeof(which), "packet %lu%s: ", number,
		 header->caplen < header->len
			 ? ", of which not all was captured"
			 : "");
	if (!check_packet(which, data, len))
		return send_packet(in, data, len);
	*bad = true;
	return 0;
}

/* What cannot be sent is told, and the rest is sent. */
static int send_frames(struct injector *in, pcap_t *pcap, const char *file,
		       const struct link *link)
{
	unsigned long skipped = 0, number = 0;
	struct pcap_pkthdr *header;
	const uint8_t *data;
	int rc = 0, next = 0;
	bool bad = false;

	while (!rc && (next = pcap_next_ex(pcap, &header, &data)) == 1) {
		number++;
		if (!is_ip(link, data, header->caplen)) {
			skipped++;
			continue;
		}
		header->caplen -= link->header;
		header->len -= link->header;
		rc = send_frame(in, header, data + link->header, number, &bad);
	}
	if (skipped)
		warn("%lu frame%s without IP skipped", skipped,
		     skipped == 1 ? "" : "s");
	if (!rc && next == PCAP_ERROR)
		rc = fail(1, "inject: %s: %s", file, pcap_geterr(pcap));
	return rc ? rc : bad;
}

/* libpcap puts the file's name into some of its messages. */
static const char *without_name(const char *text, const char *file)
{
	size_t n = strlen(file);

	return strncmp(text, file, n) ? text
				      : text + n + strspn(text + n, ": ");
}

static int send_pcap(struct injector *in, const char *file)
{
	char err[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(file, err);
	const struct link *link;
	int rc, type;

	if (!pcap)
		return fail(1, "inject: %s: %s", file, without_name(err, file));
	type = pcap_datalink(pcap);
	link = find_link(type);
	if (link)
		rc = send_frames(in, pcap, file, link);
	else
		rc = fail(1, "inject: %s: link type %s is not supported", file,
			  pcap_datalink_val_to_name(type));
	pcap_close(pcap);
	return rc;
}

static int parse(int argc, char **argv, struct request *r)
{
	static const struct option options[] = {
		{"oif", required_argument, NULL, 'o'},
		{"pcap", required_argument, NULL, 'p'},
		{"hex", required_argument, NULL, 'x'},
		{"count", required_argument, NULL, 'c'},
		{"rate", required_argument, NULL, 'r'},
		{"via-stack", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'o')
			r->oif = optarg;
		else if (c == 'p')
			r->pcap = optarg;
		else if (c == 'x')
			r->hex = optarg;
		else if (c == 'v')
			r->via_stack = true;
		else if (c == 'c') {
			if (parse_number(optarg, 1, LONG_MAX, &r->count))
				return fail(EXIT_USAGE,
					    "inject: --count needs a number");
		} else if (c == 'r') {
			if (parse_number(optarg, 1, RATE_MAX, &r->rate))
				return fail(EXIT_USAGE,
					    "inject: --rate needs 1 to %d "
					    "packets per second, not '%s'",
					    RATE_MAX, optarg);
		} else
			return EXIT_USAGE;
	}
	if (optind != argc || !r->oif || !r->pcap == !r->hex)
		return fail(EXIT_USAGE, "inject: give --oif IFACE and one of "
					"--pcap FILE, --hex BYTES");
	return 0;
}

/* By name, or by number: an interface that does not exist completes so. */
static int find_target(struct injector *in, const char *oif)
{
	char *end;

	if (!xdivert_interface_find(oif, &in->compartment, &in->ifindex))
		return 0;
	in->ifindex = strtoul(oif, &end, 10);
	return !*end && in->ifindex ? 0
				    : fail(1, "inject: %s", xdivert_error());
}

static int inject_all(struct injector *in, const struct request *r)
{
	int rc = 0, drained;
	long i;

	in->end = end_fd();
	start_progress(in);
	for (i = 0; i < r->count && !rc; i++)
		rc = r->hex ? send_hex(in, r->hex) : send_pcap(in, r->pcap);
	drained = drain(in);
	return rc ? rc : drained;
}

int cmd_inject(int argc, char **argv)
{
	struct request request = {.count = 1};
	struct injector in = {0};
	struct xdivert *x;
	int rc = parse(argc, argv, &request);

	if (rc)
		return rc;
	in.rate = request.rate;
	rc = find_target(&in, request.oif);
	if (rc)
		return rc;
	if (request.via_stack)
		in.flags |= XDIVERT_PACKET_VIA_STACK;
	rc = open_state(&x, false);
	if (rc)
		return rc;
	if (xdivert_injection_create(&in.h, x, AF_UNSPEC, XDIVERT_KIND_FORWARD))
		rc = fail(1, "inject: %s", xdivert_error());
	else
		rc = inject_all(&in, &request);
	xdivert_injection_destroy(in.h, in.ended ? GRACE_MS : -1);
	xdivert_close(x);
	end_progress(&in);
	if (in.ended)
		fail(1, "inject: interrupted: injected %lu, failed %lu",
		     in.sent, in.failed);
	return rc ? rc : in.failed ? 1 : 0;
}
