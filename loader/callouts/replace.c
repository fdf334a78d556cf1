// SPDX-License-Identifier: BSD-2-Clause
/* replace 'OLD' 'NEW': bytes of the payload, of equal length. */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "callout.h"
#include "checksum.h"
#include "error.h"
#include "packet.h"

#define TEXT_MAX 512

struct replace {
	uint32_t len;
	uint8_t from[TEXT_MAX], to[TEXT_MAX];
};

/* \xNN \n \r \t \\ stand for a byte; anything else stands for itself. */
static int unescape(const char *text, uint8_t *out)
{
	unsigned int byte;
	int n = 0;

	for (; *text; text++) {
		if (n == TEXT_MAX)
			return -1;
		if (*text != '\\') {
			out[n++] = *text;
			continue;
		}
		text++;
		if (*text == 'x' && isxdigit((unsigned char)text[1]) &&
		    isxdigit((unsigned char)text[2])) {
			sscanf(text + 1, "%2x", &byte);
			out[n++] = byte;
			text += 2;
		} else if (*text && strchr("nrt\\", *text)) {
			out[n++] = *text == 'n'	  ? '\n'
				   : *text == 'r' ? '\r'
				   : *text == 't' ? '\t'
						  : '\\';
		} else {
			return -1;
		}
	}
	return n;
}

static int parse(int argc, char **argv, void **state)
{
	struct replace *r;
	int from, to;

	if (argc != 3) {
		return error_set(-EINVAL, "replace needs 'OLD' and 'NEW'");
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	from = unescape(argv[1], r->from);
	to = unescape(argv[2], r->to);
	r->len = from;
	*state = r;
	if (from > 0 && from == to)
		return 0;
	if (from < 0 || to < 0)
		error_set(-EINVAL,
			  "replace: too long, or a bad escape (\\xNN \\n \\r "
			  "\\t \\\\)");
	else if (!from)
		error_set(-EINVAL, "replace: OLD is empty");
	else
		error_set(
			-EINVAL,
			"replace: OLD has %d bytes and NEW %d; they must have "
			"the same length",
			from, to);
	free(r);
	*state = NULL;
	return -EINVAL;
}

/* Bytes behind a UDP datagram are not its payload. */
static uint8_t *payload_end(const struct xdivert_packet *p,
			    const struct xdivert_headers *h)
{
	const uint8_t *udp = p->data + h->transport;
	uint8_t *end = p->data + p->len;
	uint32_t len;

	if (h->protocol != IPPROTO_UDP)
		return end;
	len = udp[4] << 8 | udp[5];
	if (len < 8 || h->transport + len > p->len)
		return end;
	return p->data + h->transport + len;
}

static enum xdivert_verdict run(const void *state, struct xdivert_packet *p)
{
	const struct replace *r = state;
	uint8_t *at, *end;
	struct xdivert_headers h;

	if (xdivert_parse(p->data, p->len, &h) || !h.payload)
		return XDIVERT_CONTINUE;
	at = p->data + h.payload;
	end = payload_end(p, &h);
	while ((at = memmem(at, end - at, r->from, r->len))) {
		csum_edit(p->data, &h, at, r->to, r->len);
		memcpy(at, r->to, r->len);
		at += r->len;
	}
	return XDIVERT_CONTINUE;
}

const struct callout_type callout_replace = {
	.name = "replace",
	.usage = "replace 'OLD' 'NEW'",
	.parse = parse,
	.run = run,
	.free = free,
};
