// SPDX-License-Identifier: BSD-2-Clause
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/icmp.h>

#include "clock.h"
#include "tell.h"

#define PRECEDENCE_CONTROL 0xc0 /* RFC 1812 4.3.2.5 */
#define MIN_MTU6	   1280
#define NARROW		   576 /* RFC 791: what every host takes */

/* These sockets only send. */
static int open4(void)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	struct icmp_filter none = {.data = ~0u};
	int tos = PRECEDENCE_CONTROL;

	setsockopt(fd, SOL_RAW, ICMP_FILTER, &none, sizeof(none));
	setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	return fd;
}

static int open6(void)
{
	int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
	struct icmp6_filter none;

	ICMP6_FILTER_SETBLOCKALL(&none);
	setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &none, sizeof(none));
	return fd;
}

static void send4(struct xdivert_injection *h, const uint8_t *quote,
		  const uint8_t *message, uint32_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET};

	memcpy(&to.sin_addr, quote + 12, 4);
	sendto(h->tell4, message, len, MSG_DONTWAIT, (void *)&to, sizeof(to));
}

static void send6(struct xdivert_injection *h, const uint8_t *quote,
		  const uint8_t *message, uint32_t len, uint32_t iif)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6};

	memcpy(&to.sin6_addr, quote + 8, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&to.sin6_addr))
		to.sin6_scope_id = iif;
	sendto(h->tell6, message, len, MSG_DONTWAIT, (void *)&to, sizeof(to));
}

void tell_open(struct xdivert_injection *h)
{
	h->narrowest = NARROW;
	h->tell4 = open4();
	h->tell6 = open6();
}

void tell_too_big(struct xdivert_injection *h, const struct xdivert_packet *p,
		  uint32_t mtu)
{
	const uint8_t *quote = p->quote_len ? p->quote : p->data;
	uint32_t size = p->quote_len ? p->quote_len : p->len, len;
	uint8_t message[ICMP_MAX];

	/* Nobody sent it, or it became long here. */
	if (!p->quote_len && (!p->meta.iif || mtu >= h->narrowest))
		return;
	/* The first that was too big although it was short is quoted as it is
	 * now.
	 */
	if (mtu < h->narrowest)
		h->narrowest = mtu;
	if (!icmp_may_answer(quote, size) ||
	    !icmp_allowed(&h->tell_limit, now()))
		return;
	if (quote[0] >> 4 == 6 && mtu < MIN_MTU6)
		mtu = MIN_MTU6;
	len = icmp_too_big(quote, size, mtu, message);
	if (quote[0] >> 4 == 4)
		send4(h, quote, message, len);
	else
		send6(h, quote, message, len, p->meta.iif);
}

void tell_close(struct xdivert_injection *h)
{
	if (h->tell4 >= 0)
		close(h->tell4);
	if (h->tell6 >= 0)
		close(h->tell6);
}
