// SPDX-License-Identifier: BSD-2-Clause
/*
 * A device of ours whose TC-ingress program hands frames to the stack, in each
 * compartment that needs it, and the tracing programs that see what becomes of
 * them. Nobody pays for these who does not use them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <xdivert.h>

#include "compartment.h"
#include "inject.skel.h"
#include "netlink.h"
#include "reason.h"
#include "stack.h"
#include "target.h"

struct stack_port {
	struct stack_port *next;
	uint32_t compartment;
	uint64_t cookie;  /* of the namespace: its number may be used again */
	struct port port; /* of its own, or the handle's does */
	int ifindex;
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
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts,
		    .prog_fd = bpf_program__fd(h->skel->progs.xdv_neigh));
	int rc = bpf_tc_hook_create(&hook);

	return rc ? rc : bpf_tc_attach(&hook, &opts);
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
		{s->progs.xdv_consume_skb, &h->skel->links.xdv_consume_skb},
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
	port->port.netns = port->port.tap = -1;
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
