// SPDX-License-Identifier: BSD-2-Clause
/*
 * A device of ours whose TC-ingress program hands frames to the stack, in each
 * compartment that needs it, and the tracing programs that see what becomes of
 * them. Nobody pays for these who does not use them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <xdivert.h>

#include "compartment.h"
#include "device.h"
#include "inject.skel.h"
#include "multibuf.h"
#include "netlink.h"
#include "reason.h"
#include "stack.h"
#include "target.h"
#include "wait.h"

/* A pair whose far end takes what is too long for a live frame. */
struct big {
	struct pair pair;
	int socket; /* -1: not open yet */
};

struct stack_port {
	struct stack_port *next;
	uint32_t compartment;
	uint64_t cookie;  /* of the namespace: its number may be used again */
	struct port port; /* of its own, or the handle's does */
	int ifindex;
	struct big big;
};

static struct stack_port **find(struct xdivert_injection *h,
				uint32_t compartment)
{
	struct stack_port **at = &h->ports;

	while (*at && (*at)->compartment != compartment)
		at = &(*at)->next;
	return at;
}

static void remove_port(struct stack_port **at)
{
	struct stack_port *port = *at;

	*at = port->next;
	port_close(&port->port);
	if (port->big.socket >= 0)
		close(port->big.socket);
	pair_close(&port->big.pair);
	free(port);
}

int stack_port(struct xdivert_injection *h, uint32_t compartment)
{
	struct stack_port **at = find(h, compartment);
	uint64_t cookie;

	if (!*at)
		return 0;
	if (!compartment ||
	    (!compartment_cookie(&cookie) && cookie == (*at)->cookie))
		return (*at)->ifindex;
	remove_port(at);
	return 0;
}

void stack_forget(struct xdivert_injection *h, uint32_t compartment)
{
	struct stack_port **at = find(h, compartment);

	if (*at)
		remove_port(at);
}

static int attach_tc(const struct xdivert_injection *h, int ifindex)
{
	return device_attach_tc(h->skel->progs.xdv_neigh, ifindex);
}

static int attach_tracing(struct xdivert_injection *h)
{
	const struct inject *s = h->skel;
	struct {
		struct bpf_program *prog;
		struct bpf_link **link;
	} all[] = {
		{s->progs.xdv_receive_skb, &h->skel->links.xdv_receive_skb},
		{s->progs.xdv_qdisc_enqueue, &h->skel->links.xdv_qdisc_enqueue},
		{s->progs.xdv_start_xmit, &h->skel->links.xdv_start_xmit},
		{s->progs.xdv_dev_xmit, &h->skel->links.xdv_dev_xmit},
		{s->progs.xdv_kfree_skb, &h->skel->links.xdv_kfree_skb},
		{s->progs.xdv_kfree_skb2, &h->skel->links.xdv_kfree_skb2},
		{s->progs.xdv_consume, &h->skel->links.xdv_consume},
		{s->progs.xdv_consume2, &h->skel->links.xdv_consume2},
	};
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(*all); i++) {
		if (*all[i].link)
			continue;
		*all[i].link = bpf_program__attach(all[i].prog);
		if (!*all[i].link)
			return -errno;
	}
	return 0;
}

/* In the handle's own namespace; elsewhere time alone makes us look again. */
static int watch_links(struct xdivert_injection *h)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (h->link_changes >= 0)
		return 0;
	h->link_changes = netlink_watch_links();
	if (h->link_changes < 0)
		return h->link_changes;
	return epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->link_changes, &event)
		       ? -errno
		       : 0;
}

static int open_port(struct xdivert_injection *h, struct stack_port *port)
{
	int rc = compartment_cookie(&port->cookie);

	if (!rc && !port->compartment)
		rc = watch_links(h);
	/* The handle's own device, if nobody has taken that away. */
	if (!rc && !port->compartment) {
		port->ifindex = h->port.ifindex;
		if (!attach_tc(h, port->ifindex))
			return 0;
	}
	rc = rc ? rc : port_open_pair(&port->port);
	port->ifindex = port->port.ifindex;
	return rc ? rc : attach_tc(h, port->ifindex);
}

int stack_open(struct xdivert_injection *h, uint32_t compartment)
{
	struct stack_port *port = calloc(1, sizeof(*port));
	int rc;

	if (!port)
		return -ENOMEM;
	port->compartment = compartment;
	port->port = PORT_NONE;
	port->big.socket = port->big.pair.netns = -1;
	port->next = h->ports;
	h->ports = port;
	reason_errnos(h->skel->bss->xdv_errno,
		      sizeof(h->skel->bss->xdv_errno) /
			      sizeof(*h->skel->bss->xdv_errno));
	rc = attach_tracing(h);
	rc = rc ? rc : open_port(h, port);
	if (rc)
		remove_port(&h->ports);
	return rc;
}

/* ---- what is too long for a live frame ---- */

static int open_socket(void)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = if_nametoindex(PAIR_FAR)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!bind(fd, (struct sockaddr *)&to, sizeof(to)))
		return fd;
	close(fd);
	return -EADDRNOTAVAIL;
}

static int open_far_end(struct big *big)
{
	int home = netns_enter(big->pair.netns), rc;

	if (home < 0)
		return home;
	rc = pair_bring_up(PAIR_FAR, MULTIBUF_LONGEST);
	if (!rc)
		rc = big->socket = open_socket();
	netns_leave(home);
	return rc < 0 ? rc : 0;
}

static int open_big(const struct xdivert_injection *h, struct big *big)
{
	char name[IF_NAMESIZE];
	int rc = pair_open(&big->pair);

	if (!rc && !if_indextoname(big->pair.ifindex, name))
		rc = -errno;
	rc = rc ? rc : pair_bring_up(name, MULTIBUF_LONGEST);
	rc = rc ? rc : attach_tc(h, big->pair.ifindex);
	rc = rc ? rc : open_far_end(big);
	if (rc)
		pair_close(&big->pair);
	return rc;
}

static void decrement_ttl(uint8_t *ip)
{
	const uint8_t word[2] = {ip[8] - 1, ip[9]};

	if (ip[0] >> 4 == 6) {
		ip[7]--;
		return;
	}
	xdivert_checksum_update(ip + 10, ip + 8, word, sizeof(word));
	ip[8] = word[0];
}

static int send_big(const struct big *big, const struct xdv_desc *desc,
		    uint8_t *ip)
{
	struct xdv_stack_tag tag = {
		.unicast = 2,
		.slot = desc->slot,
		.id = desc->id,
		.protocol = htons(ip[0] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6),
	};
	struct iovec all[] = {
		{.iov_base = &tag, .iov_len = sizeof(tag)},
		{.iov_base = ip, .iov_len = desc->len},
	};
	struct msghdr message = {.msg_iov = all, .msg_iovlen = 2};

	if (desc->flags & XDV_DESC_DECREMENT_TTL)
		decrement_ttl(ip);
	return sendmsg(big->socket, &message, MSG_DONTWAIT) < 0 ? -errno : 0;
}

void stack_hand_over(struct xdivert_injection *h, struct xdv_desc *desc)
{
	struct stack_port *port = *find(h, desc->compartment);
	struct xdivert_packet *p = &h->packets[desc->frame];
	int rc = port ? 0 : -EOPNOTSUPP;

	if (port && port->big.socket < 0)
		rc = open_big(h, &port->big);
	desc->state = XDV_DESC_ENTERING;
	rc = rc ? rc : send_big(&port->big, desc, packet_bytes(p));
	if (rc)
		wait_judge(h, desc, rc, XDV_REASON_ENGINE);
}

void stack_close(struct xdivert_injection *h)
{
	while (h->ports)
		remove_port(&h->ports);
	if (h->link_changes >= 0)
		close(h->link_changes);
}

void stack_look(struct xdivert_injection *h)
{
	if (h->link_changes >= 0 && netlink_drain(h->link_changes))
		target_forget(h);
}
