// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <xdivert.h>

static unsigned int be16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

/* Find the payload behind the transport header at h->transport. */
static void parse_transport(const uint8_t *data, uint32_t len,
			    struct xdivert_headers *h)
{
	const uint8_t *l4 = data + h->transport;
	uint32_t left = len - h->transport, size = 0;

	switch (h->protocol) {
	case IPPROTO_TCP:
		size = left >= 20 ? (l4[12] >> 4) * 4 : 0;
		size = size >= 20 ? size : 0;
		break;
	case IPPROTO_DCCP:
		size = 12;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		size = 8;
		break;
	}
	if (!size || size > left)
		h->transport = 0;
	else
		h->payload = h->transport + size;
}

static int parse4(const uint8_t *data, uint32_t len, struct xdivert_headers *h)
{
	uint32_t header;

	if (len < 20)
		return -EINVAL;
	header = (data[0] & 0xf) * 4;
	if (header < 20 || header > len || be16(data + 2) != len)
		return -EINVAL;
	h->protocol = data[9];
	h->later_fragment = be16(data + 6) & 0x1fff;
	h->transport = header;
	return 0;
}

static int parse6(const uint8_t *data, uint32_t len, struct xdivert_headers *h)
{
	uint32_t at = 40, size;

	if (len < 40 || be16(data + 4) + 40 != len)
		return -EINVAL;
	h->protocol = data[6];
	while (at + 8 <= len) {
		switch (h->protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			size = (data[at + 1] + 1) * 8;
			break;
		case IPPROTO_AH:
			size = (data[at + 1] + 2) * 4;
			break;
		case IPPROTO_FRAGMENT:
			size = 8;
			h->later_fragment = be16(data + at + 2) & 0xfff8;
			break;
		default:
			h->transport = at;
			return 0;
		}
		h->protocol = data[at];
		at += size;
		if (h->later_fragment)
			break;
	}
	h->transport = at <= len ? at : 0;
	return 0;
}

int xdivert_parse(const void *packet, uint32_t len, struct xdivert_headers *h)
{
	const uint8_t *data = packet;
	int rc;

	*h = (struct xdivert_headers){0};
	if (!len)
		return -EINVAL;
	h->version = data[0] >> 4;
	if (h->version == 4)
		rc = parse4(data, len, h);
	else if (h->version == 6)
		rc = parse6(data, len, h);
	else
		return -EINVAL;
	if (rc)
		return rc;
	if (h->later_fragment)
		h->transport = 0;
	if (h->transport)
		parse_transport(data, len, h);
	return 0;
}
