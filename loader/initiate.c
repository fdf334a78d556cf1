// SPDX-License-Identifier: BSD-2-Clause
/* What an injection must be to be initiated. */
#include <errno.h>
#include <sys/socket.h>

#include "compartment.h"
#include "error.h"
#include "pending.h"

/* One whole IP packet of that family? */
static bool sound(const struct xdivert_packet *p, int family)
{
	const uint8_t *d = p->data;
	uint32_t header;

	if (family == AF_INET) {
		header = (d[0] & 0xf) * 4;
		return p->len >= 20 && d[0] >> 4 == 4 && header >= 20 &&
		       header <= p->len &&
		       (uint32_t)(d[2] << 8 | d[3]) == p->len;
	}
	return p->len >= 40 && d[0] >> 4 == 6 &&
	       (uint32_t)(d[4] << 8 | d[5]) + 40 == p->len;
}

static int check(const struct xdivert_injection *h, uint32_t kind,
		 uint32_t flags, int family, const struct xdivert_packet *p)
{
	if (flags)
		return error_set(-EINVAL, "flags %#x are reserved", flags);
	if (family != AF_INET && family != AF_INET6)
		return error_set(-EAFNOSUPPORT, "no address family %d", family);
	if (h->family != AF_UNSPEC && h->family != family)
		return error_set(-EAFNOSUPPORT,
				 "the handle is for another address family");
	if (!(h->kinds & kind))
		return error_set(-EOPNOTSUPP,
				 "the handle is for another kind of injection");
	if (p->h != h || p->state != PACKET_OURS)
		return error_set(-EINVAL, "not a packet of this handle");
	if (!sound(p, family))
		return error_set(-EINVAL, "not a sound IPv%d packet",
				 family == AF_INET ? 4 : 6);
	return 0;
}

static uint32_t desc_flags(const struct xdivert_packet *p)
{
	uint32_t flags = 0;

	if (p->flags & XDIVERT_PACKET_FORWARDED)
		flags |= XDV_DESC_DECREMENT_TTL;
	if (p->flags & XDIVERT_PACKET_VIA_STACK)
		flags |= XDV_DESC_VIA_STACK;
	return flags;
}

/* Fills the request where it stays, word by word: a copy of one that was just
 * written would wait for the writes.
 */
static __always_inline int initiate(struct xdivert_injection *h, uint32_t kind,
				    uint64_t context, uint32_t flags,
				    int family, uint32_t compartment,
				    uint32_t ifindex, struct xdivert_packet *p,
				    xdivert_completion_fn fn, void *arg)
{
	struct request *r = &p->request;
	int rc = check(h, kind, flags, family, p);

	if (rc)
		return rc;
	r->next = NULL;
	r->context = context;
	r->submitted = inject_now(h);
	r->compartment = compartment == h->x->id
				 ? XDIVERT_COMPARTMENT_UNSPECIFIED
				 : compartment;
	r->ifindex = ifindex;
	r->born = 0;
	r->flags =
		kind == XDIVERT_KIND_RECEIVE ? XDV_DESC_RECEIVE : desc_flags(p);
	r->mtu = 0;
	r->fn = fn;
	r->arg = arg;
	if (r->compartment)
		rc = compartment_born(r->compartment, &r->born);
	return rc ? rc : pending_add(h, p);
}

int xdivert_inject_forward_async(struct xdivert_injection *h, uint64_t context,
				 uint32_t flags, int family,
				 uint32_t compartment, uint32_t ifindex,
				 struct xdivert_packet *packet,
				 xdivert_completion_fn fn, void *arg)
{
	return initiate(h, XDIVERT_KIND_FORWARD, context, flags, family,
			compartment, ifindex, packet, fn, arg);
}

int xdivert_inject_receive_async(struct xdivert_injection *h, uint64_t context,
				 uint32_t flags, int family,
				 uint32_t compartment, uint32_t ifindex,
				 struct xdivert_packet *packet,
				 xdivert_completion_fn fn, void *arg)
{
	return initiate(h, XDIVERT_KIND_RECEIVE, context, flags, family,
			compartment, ifindex, packet, fn, arg);
}
