// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "clock.h"
#include "device.h"
#include "multibuf.h"
#include "netlink.h"
#include "rest.h"
#include "tc_rest.skel.h"

struct rest {
	struct tc_rest *skel;
	const struct xdv_rest *pages; /* mapped: XDV_REST_PAGES */
	struct xdv_queue *queue;
	int link;
	uint64_t mark; /* pages taken when it was `marked` */
	uint64_t marked;
};

static int load(struct rest *rest, const struct xdivert *x, uint32_t row,
		int inner)
{
	int rc;

	rest->skel = tc_rest__open();
	if (!rest->skel)
		return -errno;
	rest->skel->rodata->xdv_row = row;
	rest->skel->rodata->xdv_inner = inner;
	/* A veth has an MTU of more than a page only with such a program; since
	 * 5.18.
	 */
	bpf_program__set_flags(rest->skel->progs.xdv_rest_pass,
			       BPF_F_XDP_HAS_FRAGS);
	rc = state_share_maps(x, rest->skel->obj);
	return rc ? rc : tc_rest__load(rest->skel);
}

static int map_pages(struct rest *rest)
{
	void *p = mmap(NULL, XDV_REST_PAGES * sizeof(*rest->pages), PROT_READ,
		       MAP_SHARED, bpf_map__fd(rest->skel->maps.xdv_rest), 0);

	if (p == MAP_FAILED)
		return -errno;
	rest->pages = p;
	return 0;
}

/*
 * Kernels before 6.9 (6.1.83) have GRO on where a veth has XDP, and it would
 * put segments together again, for they all carry the same addresses.
 */
static void forbid_gro(int ifindex)
{
	char buffer[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = netlink_link(buffer, RTM_NEWLINK, 0, ifindex);

	mnl_attr_put_u32(nlh, IFLA_GRO_MAX_SIZE, 1);
	netlink_request(nlh);
}

static int attach(struct rest *rest, int ifindex)
{
	int rc = device_attach_tc(rest->skel->progs.xdv_tc_rest, ifindex);

	if (rc)
		return rc;
	forbid_gro(ifindex);
	rest->link =
		device_attach_xdp(rest->skel->progs.xdv_rest_pass, ifindex);
	return rest->link < 0 ? rest->link : 0;
}

int rest_open(struct rest **result, const struct xdivert *x, uint32_t row,
	      int inner)
{
	struct rest *rest = calloc(1, sizeof(*rest));
	int rc;

	if (!rest)
		return -ENOMEM;
	rest->link = -1;
	rest->queue = &x->occupancy[row];
	rc = load(rest, x, row, inner);
	rc = rc ? rc : map_pages(rest);
	rc = rc ? rc : attach(rest, if_nametoindex(PAIR_FAR));
	if (rc) {
		rest_close(rest);
		return rc;
	}
	rest->queue->rest_done = rest->queue->rest_taken;
	*result = rest;
	return 0;
}

void rest_close(struct rest *rest)
{
	if (!rest)
		return;
	if (rest->link >= 0)
		close(rest->link);
	if (rest->pages)
		munmap((void *)rest->pages,
		       XDV_REST_PAGES * sizeof(*rest->pages));
	tc_rest__destroy(rest->skel);
	free(rest);
}

static bool is_page(const struct xdv_rest *page, uint64_t number)
{
	return __atomic_load_n(&page->number, __ATOMIC_ACQUIRE) == number + 1;
}

static bool copy_page(const struct xdv_rest *page, uint64_t number, uint8_t *to,
		      uint32_t len)
{
	if (!is_page(page, number))
		return false;
	memcpy(to, page->bytes, len);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return is_page(page, number);
}

bool rest_take(struct rest *rest, const struct xdv_stub *stub, uint8_t *to)
{
	uint64_t number = stub->first;
	uint32_t len = stub->len, n;
	bool good = true;

	for (; len; len -= n, number++) {
		n = len < XDV_REST_PAGE ? len : XDV_REST_PAGE;
		if (!to || !good)
			continue;
		good = copy_page(&rest->pages[number & (XDV_REST_PAGES - 1)],
				 number, to, n);
		to += n;
	}
	/* Stubs come in the order of their pages. */
	if (number > rest->queue->rest_done)
		__atomic_store_n(&rest->queue->rest_done, number,
				 __ATOMIC_RELEASE);
	return good;
}

bool rest_reclaim(struct rest *rest)
{
	struct xdv_queue *queue = rest->queue;
	uint64_t t = now();

	if (rest->mark > queue->rest_done) {
		if (t - rest->marked <= XDV_TRANSIT_MAX)
			return true;
		__atomic_store_n(&queue->rest_done, rest->mark,
				 __ATOMIC_RELEASE);
	}
	rest->mark = __atomic_load_n(&queue->rest_taken, __ATOMIC_ACQUIRE);
	rest->marked = t;
	return rest->mark > queue->rest_done;
}
