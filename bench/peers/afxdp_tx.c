// SPDX-License-Identifier: BSD-2-Clause
/*
 * AF_XDP in, AF_XDP TX straight on the egress device: what everybody does. One
 * UMEM for both sides, no copy in user space. On a veth the kernel makes an
 * sk_buff of each packet (copy mode) within the caller's sendto().
 */
#include <poll.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <xdp/xsk.h>

#include "peer.h"
#include "afxdp_tx.skel.h"

#define FRAMES	   8192
#define FRAME_SIZE 4096
#define RING	   2048
#define BATCH	   64

struct end {
	struct side side;
	struct xsk_socket *xsk;
	struct xsk_ring_cons rx, done;
	struct xsk_ring_prod tx, fill;
	__u32 unsent; /* in tx, as far as we know */
};

static struct end ends[2];
static __u64 pool[FRAMES];
static __u32 pooled;
static void *umem;

static void open_end(struct end *end, struct xsk_umem *u)
{
	struct xsk_socket_config config = {
		.rx_size = RING,
		.tx_size = RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.xdp_flags = XDP_FLAGS_DRV_MODE,
		.bind_flags = XDP_USE_NEED_WAKEUP,
	};
	int rc;

	rc = xsk_socket__create_shared(&end->xsk, end->side.name, 0, u,
				       &end->rx, &end->tx, &end->fill,
				       &end->done, &config);
	errno = -rc;
	if (rc)
		peer_fail(end->side.name);
}

static void refill(struct end *end)
{
	__u32 n = xsk_prod_nb_free(&end->fill, BATCH), at, i;

	n = n < pooled ? n : pooled;
	if (!n || xsk_ring_prod__reserve(&end->fill, n, &at) != n)
		return;
	for (i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&end->fill, at + i) = pool[--pooled];
	xsk_ring_prod__submit(&end->fill, n);
}

static void reap(struct end *end)
{
	__u32 at, i, n = xsk_ring_cons__peek(&end->done, RING, &at);

	for (i = 0; i < n; i++)
		pool[pooled++] = *xsk_ring_cons__comp_addr(&end->done, at + i) &
				 ~(__u64)(FRAME_SIZE - 1);
	xsk_ring_cons__release(&end->done, n);
	end->unsent -= n;
}

static void kick(struct end *end)
{
	while (end->unsent) {
		if (!sendto(xsk_socket__fd(end->xsk), NULL, 0, MSG_DONTWAIT,
			    NULL, 0) ||
		    errno != EAGAIN)
			break;
	}
	reap(end);
}

static __u32 forward(struct end *from, struct end *to)
{
	__u32 at, out, i, n = xsk_ring_cons__peek(&from->rx, BATCH, &at);
	const struct xdp_desc *desc;

	if (!n)
		return 0;
	if (xsk_ring_prod__reserve(&to->tx, n, &out) != n) {
		xsk_ring_cons__cancel(&from->rx, n);
		kick(to);
		return 0;
	}
	for (i = 0; i < n; i++) {
		desc = xsk_ring_cons__rx_desc(&from->rx, at + i);
		edit_frame(xsk_umem__get_data(umem, desc->addr),
			   &to->side.link);
		*xsk_ring_prod__tx_desc(&to->tx, out + i) = *desc;
	}
	xsk_ring_prod__submit(&to->tx, n);
	xsk_ring_cons__release(&from->rx, n);
	to->unsent += n;
	kick(to);
	refill(from);
	return n;
}

static void loop(void)
{
	struct pollfd fds[2] = {
		{.fd = xsk_socket__fd(ends[0].xsk), .events = POLLIN},
		{.fd = xsk_socket__fd(ends[1].xsk), .events = POLLIN},
	};

	while (!peer_stop)
		if (!(forward(&ends[0], &ends[1]) +
		      forward(&ends[1], &ends[0])))
			poll(fds, 2, -1);
}

static void attach(struct afxdp_tx *skel, __u32 i)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	int fd = xsk_socket__fd(ends[i].xsk);

	if (bpf_map_update_elem(bpf_map__fd(skel->maps.xsks), &i, &fd, 0) ||
	    bpf_link_create(bpf_program__fd(skel->progs.afxdp_tx),
			    ends[i].side.ifindex, BPF_XDP, &opts) < 0)
		peer_fail(ends[i].side.name);
}

int main(int argc, char **argv)
{
	struct xsk_umem_config config = {
		.fill_size = RING, .comp_size = RING, .frame_size = FRAME_SIZE};
	struct afxdp_tx *skel = afxdp_tx__open();
	size_t size = (size_t)FRAMES * FRAME_SIZE;
	struct xsk_ring_prod fill;
	struct xsk_ring_cons done;
	struct side sides[2];
	struct xsk_umem *u;
	__u32 i;

	peer_parse(argc, argv, sides);
	umem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (umem == MAP_FAILED ||
	    xsk_umem__create(&u, umem, size, &fill, &done, &config))
		peer_fail("UMEM");
	*(__u32 *)&skel->rodata->in = sides[0].ifindex;
	if (afxdp_tx__load(skel))
		peer_fail("load");
	for (i = 0; i < FRAMES; i++)
		pool[pooled++] = (__u64)i * FRAME_SIZE;
	for (i = 0; i < 2; i++) {
		ends[i].side = sides[i];
		open_end(&ends[i], u);
		refill(&ends[i]);
	}
	for (i = 0; i < 2; i++)
		attach(skel, i);
	peer_ready();
	loop();
	return 0;
}
