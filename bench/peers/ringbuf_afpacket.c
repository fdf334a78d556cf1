// SPDX-License-Identifier: BSD-2-Clause
/*
 * TC ring buffer in, AF_PACKET out: how divert sockets were built on eBPF
 * before. Sixty-four packets a system call, past the queueing discipline.
 */
#include <linux/if_packet.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "peer.h"
#include "ringbuf_afpacket.h"
#include "ringbuf_afpacket.skel.h"

#define BATCH 64

struct end {
	struct side side;
	int fd;
	unsigned int n;
	struct mmsghdr messages[BATCH];
	struct iovec iovecs[BATCH];
	__u8 bytes[BATCH][RECORD_MAX];
};

static struct end ends[2];

static void flush(struct end *end)
{
	unsigned int sent = 0;
	int n;

	while (sent < end->n) {
		n = sendmmsg(end->fd, end->messages + sent, end->n - sent, 0);
		sent += n > 0 ? n : 1;
	}
	end->n = 0;
}

/* The record goes back to the kernel on return, so its packet is copied. */
static int receive(void *arg, void *data, size_t size)
{
	const struct record *r = data;
	struct end *to = &ends[!r->from];

	(void)arg;
	(void)size;
	memcpy(to->bytes[to->n], r->bytes, r->len);
	edit_frame(to->bytes[to->n], &to->side.link);
	to->iovecs[to->n].iov_len = r->len;
	if (++to->n == BATCH)
		flush(to);
	return 0;
}

static void open_end(struct end *end)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_ifindex = end->side.ifindex,
	};
	int one = 1, size = 16 << 20, i;

	end->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (end->fd < 0 ||
	    setsockopt(end->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one,
		       sizeof(one)) ||
	    setsockopt(end->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size,
		       sizeof(size)) ||
	    bind(end->fd, (struct sockaddr *)&address, sizeof(address)))
		peer_fail("AF_PACKET");
	for (i = 0; i < BATCH; i++) {
		end->iovecs[i].iov_base = end->bytes[i];
		end->messages[i].msg_hdr.msg_iov = &end->iovecs[i];
		end->messages[i].msg_hdr.msg_iovlen = 1;
	}
}

static void attach(const struct ringbuf_afpacket *skel, struct end *end,
		   struct bpf_tc_hook *hook)
{
	LIBBPF_OPTS(bpf_tc_opts, opts,
		    .prog_fd = bpf_program__fd(skel->progs.divert));
	int rc;

	*hook = (struct bpf_tc_hook){.sz = sizeof(*hook),
				     .ifindex = end->side.ifindex,
				     .attach_point = BPF_TC_INGRESS};
	rc = bpf_tc_hook_create(hook);
	rc = rc && rc != -EEXIST ? rc : bpf_tc_attach(hook, &opts);
	errno = -rc;
	if (rc)
		peer_fail(end->side.name);
}

int main(int argc, char **argv)
{
	struct ringbuf_afpacket *skel = ringbuf_afpacket__open();
	struct bpf_tc_hook hooks[2];
	struct side sides[2];
	struct ring_buffer *ring;
	int i;

	peer_parse(argc, argv, sides);
	*(__u32 *)&skel->rodata->in = sides[0].ifindex;
	if (ringbuf_afpacket__load(skel))
		peer_fail("load");
	ring = ring_buffer__new(bpf_map__fd(skel->maps.packets), receive, NULL,
				NULL);
	if (!ring)
		peer_fail("ring buffer");
	for (i = 0; i < 2; i++) {
		ends[i].side = sides[i];
		open_end(&ends[i]);
		attach(skel, &ends[i], &hooks[i]);
	}
	peer_ready();
	while (!peer_stop) {
		ring_buffer__poll(ring, -1);
		flush(&ends[0]);
		flush(&ends[1]);
	}
	/* The namespace is the benchmark's own: nobody else is on the hook. */
	for (i = 0; i < 2; i++) {
		hooks[i].attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		bpf_tc_hook_destroy(&hooks[i]);
	}
	return 0;
}
