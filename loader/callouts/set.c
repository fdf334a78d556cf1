// SPDX-License-Identifier: BSD-2-Clause
/* set FIELD VALUE: one header field, with every checksum that covers it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "callout.h"
#include "checksum.h"
#include "error.h"
#include "packet.h"

struct set {
	const struct field *field;
	unsigned int number;
	int family; /* of address */
	uint8_t address[16];
};

struct field {
	const char *name;
	unsigned int min, max; /* 0, 0: an address */
	uint8_t protocol;      /* 0: the IP header */
	void (*write)(const struct set *s, uint8_t *ip,
		      const struct xdivert_headers *h);
	unsigned int offset;
};

static void write_address(const struct set *s, uint8_t *ip,
			  const struct xdivert_headers *h)
{
	uint32_t size = h->version == 4 ? 4 : 16;
	uint8_t *at = ip + (h->version == 4 ? 12 : 8) + s->field->offset * size;

	if ((s->family == AF_INET ? 4 : 6) != h->version)
		return;
	/* ICMP's checksum covers no addresses. */
	if (h->protocol != IPPROTO_ICMP)
		csum_edit(ip, h, at, s->address, size);
	memcpy(at, s->address, size);
	if (h->version == 4)
		csum_ipv4(ip);
}

static void write_dscp(const struct set *s, uint8_t *ip,
		       const struct xdivert_headers *h)
{
	uint8_t word[2] = {ip[0], s->number << 2 | (ip[1] & 3)};

	if (h->version == 4) {
		xdivert_checksum_update(ip + 10, ip, word, 2);
		ip[1] = word[1];
		return;
	}
	ip[0] = 0x60 | s->number >> 2;
	ip[1] = (s->number & 3) << 6 | (ip[1] & 0x3f);
}

static void write_ttl(const struct set *s, uint8_t *ip,
		      const struct xdivert_headers *h)
{
	uint8_t word[2] = {s->number, ip[9]};

	if (h->version == 4) {
		xdivert_checksum_update(ip + 10, ip + 8, word, 2);
		ip[8] = s->number;
		return;
	}
	ip[7] = s->number;
}

static void write_port(const struct set *s, uint8_t *ip,
		       const struct xdivert_headers *h)
{
	uint8_t port[2] = {s->number >> 8, s->number};
	uint8_t *at;

	if (!h->transport)
		return;
	at = ip + h->transport + s->field->offset;
	csum_edit(ip, h, at, port, 2);
	memcpy(at, port, 2);
}

static const struct field fields[] = {
	{"ip.src", 0, 0, 0, write_address, 0},
	{"ip.dst", 0, 0, 0, write_address, 1},
	{"ip.dscp", 0, 63, 0, write_dscp, 0},
	{"ip.ttl", 1, 255, 0, write_ttl, 0},
	{"tcp.sport", 0, 65535, IPPROTO_TCP, write_port, 0},
	{"tcp.dport", 0, 65535, IPPROTO_TCP, write_port, 2},
	{"udp.sport", 0, 65535, IPPROTO_UDP, write_port, 0},
	{"udp.dport", 0, 65535, IPPROTO_UDP, write_port, 2},
};

static int parse_value(struct set *s, const char *value)
{
	const struct field *f = s->field;
	unsigned long number;
	char *end;

	if (!f->max) {
		s->family = strchr(value, ':') ? AF_INET6 : AF_INET;
		if (inet_pton(s->family, value, s->address) == 1)
			return 0;
		return error_set(-EINVAL, "set %s: '%s' is not an address",
				 f->name, value);
	}
	if (!strcmp(f->name, "ip.dscp") && !strcmp(value, "ef"))
		value = "46";
	errno = 0;
	number = strtoul(value, &end, 0);
	s->number = number;
	if (*value && !*end && *value != '-' && !errno && number >= f->min &&
	    number <= f->max)
		return 0;
	return error_set(-EINVAL, "set %s: '%s' is not a number from %u to %u",
			 f->name, value, f->min, f->max);
}

static int parse(int argc, char **argv, void **state)
{
	struct set *s;
	size_t i;
	int rc;

	if (argc != 3) {
		return error_set(-EINVAL, "set needs a field and a value");
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	for (i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (!strcmp(fields[i].name, argv[1]))
			s->field = &fields[i];
	if (!s->field) {
		error_set(-EINVAL,
			  "set: no field '%s'; there are ip.src ip.dst ip.dscp "
			  "ip.ttl tcp.sport tcp.dport udp.sport udp.dport",
			  argv[1]);
		rc = -EINVAL;
	} else {
		rc = parse_value(s, argv[2]);
	}
	if (rc)
		free(s);
	else
		*state = s;
	return rc;
}

static enum xdivert_verdict run(const void *state, struct xdivert_packet *p)
{
	const struct set *s = state;
	struct xdivert_headers h;

	if (xdivert_parse(p->data, p->len, &h))
		return XDIVERT_CONTINUE;
	if (!s->field->protocol || s->field->protocol == h.protocol)
		s->field->write(s, p->data, &h);
	return XDIVERT_CONTINUE;
}

const struct callout_type callout_set = {
	.name = "set",
	.usage = "set FIELD VALUE",
	.parse = parse,
	.run = run,
	.free = free,
};
