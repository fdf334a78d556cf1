// SPDX-License-Identifier: BSD-2-Clause
#include "ip.h"
#include "tunnel.h"

#define ETH_SIZE      14
#define TYPE_IP	      0x0800
#define TYPE_IPV6     0x86dd
#define TYPE_VLAN     0x8100
#define TYPE_ETHERNET 0x6558 /* RFC 1701: a frame, bridged */

#define PORT_VXLAN	 4789 /* RFC 7348 */
#define PORT_VXLAN_LINUX 8472 /* what Linux takes if nobody says another */
#define VXLAN_I		 8    /* it has a number, as all of them */
#define PORT_GENEVE	 6081 /* RFC 8926 */

/* Where in the packet we are. */
struct look {
	const uint8_t *data;
	uint32_t at, len;
};

static bool has(const struct look *r, uint32_t n)
{
	return r->at + n <= r->len;
}

static uint32_t in_ethernet(struct look *r)
{
	uint32_t type;

	if (!has(r, ETH_SIZE))
		return 0;
	type = be16(r->data + r->at + 12);
	r->at += ETH_SIZE;
	if (type == TYPE_VLAN && has(r, 4)) {
		type = be16(r->data + r->at + 2);
		r->at += 4;
	}
	return type == TYPE_IP || type == TYPE_IPV6 ? r->at : 0;
}

static uint32_t of_type(struct look *r, uint32_t type)
{
	if (type == TYPE_ETHERNET)
		return in_ethernet(r);
	return type == TYPE_IP || type == TYPE_IPV6 ? r->at : 0;
}

/* RFC 2784 and 2890: a key and a number may follow. */
static uint32_t in_gre(struct look *r)
{
	uint32_t flags, type;

	if (!has(r, 4))
		return 0;
	flags = be16(r->data + r->at);
	type = be16(r->data + r->at + 2);
	if (flags & 0xcfff)
		return 0; /* a checksum, source routes, or another version */
	r->at += 4 + 4 * (!!(flags & 0x2000) + !!(flags & 0x1000));
	return of_type(r, type);
}

static uint32_t in_udp(struct look *r)
{
	uint32_t port, type, options;

	if (!has(r, 16))
		return 0;
	port = be16(r->data + r->at + 2);
	r->at += 8;
	if (port == PORT_VXLAN || port == PORT_VXLAN_LINUX) {
		if (!(r->data[r->at] & VXLAN_I))
			return 0;
		r->at += 8;
		return in_ethernet(r);
	}
	if (port != PORT_GENEVE || r->data[r->at] >> 6 /* version */)
		return 0;
	options = (r->data[r->at] & 0x3f) * 4;
	type = be16(r->data + r->at + 2);
	r->at += 8 + options;
	return of_type(r, type);
}

/* The protocol behind the IP header and IPv6's extensions. */
static uint32_t skip_header(struct look *r)
{
	uint32_t field;

	if (r->data[0] >> 4 == 4) {
		r->at = (r->data[0] & 0xf) * 4;
		return r->data[9];
	}
	return ip6_walk(r->data, r->len, &r->at, &field) ? r->data[field]
							 : IPPROTO_NONE;
}

static uint32_t find(struct look *r)
{
	switch (skip_header(r)) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
		return r->at;
	case IPPROTO_GRE:
		return in_gre(r);
	case IPPROTO_UDP:
		return in_udp(r);
	}
	return 0;
}

uint32_t tunnel_inner(const uint8_t *ip, uint32_t len)
{
	struct look r = {.data = ip, .len = len};
	uint32_t at = find(&r);

	return at < len ? at : 0;
}
