// SPDX-License-Identifier: BSD-2-Clause
/*
 * Before kernel 6.6 the TC hook's long packets come in two pieces, of which one
 * lies where it may be overwritten: contract C16, C27.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "clock.h"
#include "state.h"
#include "tally.h"
#include "unit.h"

#define LONG 8000

static int open_older(void **state)
{
	struct xdivert_attach_opts opts = {.sz = sizeof(opts),
					   .hook = XDV_HOOK_TC};

	setenv("XDIVERT_NO_MULTIBUF", "1", 1);
	/* Without any attachment the state would go. */
	if (lab_open(state) || xdivert_attach(lab.x, "w0", &opts) ||
	    xdivert_detach(lab.x, "v0"))
		return -1;
	sh("ip link set v0 mtu 9000; ip -n %s link set v1 mtu 9000", lab.far);
	return xdivert_attach(lab.x, "v0", &opts);
}

static const char *long_text(void)
{
	static char text[LONG + 1];

	memset(text, 'l', LONG);
	return text;
}

/* A long packet waits for us. */
static void send_long(struct xdivert_injection *h)
{
	struct pollfd fd = {.fd = xdivert_fd(h), .events = POLLIN};
	struct udp u = through;

	u.text = long_text();
	send_from_far(&u);
	assert_int_equal(poll(&fd, 1, 2000), 1);
}

static uint64_t dropped(void)
{
	struct xdivert_stats stats;

	xdivert_stats_read(lab.x, &stats, NULL, 0);
	return stats.dropped;
}

static void receive_long(struct xdivert_injection *h)
{
	struct xdivert_packet *p;

	send_long(h);
	receive_one(h, &p);
	assert_int_equal(xdivert_packet_len(p), 28 + LONG);
	assert_memory_equal(xdivert_packet_data(p) + 28, long_text(), LONG);
	xdivert_packet_free(p);
}

static struct xdv_queue *row(void)
{
	return &lab.x->occupancy[XDV_TAP_SLOT * XDV_MAX_QUEUES];
}

/* The newest there is: our tap has just been made. */
static int find_pages(void)
{
	struct bpf_map_info info;
	int fd, newest = -1;
	__u32 id = 0, size;

	while (!bpf_map_get_next_id(id, &id)) {
		fd = bpf_map_get_fd_by_id(id);
		size = sizeof(info);
		memset(&info, 0, sizeof(info));
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) ||
		    strcmp(info.name, "xdv_rest")) {
			close(fd);
			continue;
		}
		close(newest);
		newest = fd;
	}
	assert_true(newest >= 0);
	return newest;
}

/* As if another packet had come once around. */
static void overwrite(uint64_t number)
{
	struct xdv_rest page = {.number = number + 1 + XDV_REST_PAGES};
	__u32 key = number & (XDV_REST_PAGES - 1);
	int fd = find_pages();

	assert_int_equal(bpf_map_update_elem(fd, &key, &page, BPF_ANY), 0);
	close(fd);
}

static void lose_one(struct xdivert_injection *h)
{
	uint64_t before = dropped();
	struct xdivert_packet *p;

	assert_int_equal(xdivert_receive(h, &p, 1), 0);
	assert_int_equal(dropped(), before + 1);
	assert_int_equal(row()->rest_done, row()->rest_taken);
}

/* Be it the first page of it, or the last. */
static void test_C27_overwritten(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);

	(void)state;
	receive_long(h);
	send_long(h);
	assert_int_equal(row()->rest_taken - row()->rest_done, 2);
	overwrite(row()->rest_done);
	lose_one(h);
	send_long(h);
	overwrite(row()->rest_taken - 1);
	lose_one(h);
	receive_long(h);
	end_serving(h);
}

/* Callers hold all that there is: it is dropped, and its pages are free. */
static void test_C16_no_memory(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct xdivert_packet *all[9000];
	int n = 0;

	(void)state;
	while (n < 9000 && (all[n] = xdivert_packet_alloc(h, 60000)))
		n++;
	while (n < 9000 && (all[n] = xdivert_packet_alloc(h, LONG / 2)))
		n++;
	assert_true(n < 9000);
	send_long(h);
	lose_one(h);
	while (n)
		xdivert_packet_free(all[--n]);
	receive_long(h);
	end_serving(h);
}

/* As if so many pages had been taken for stubs that nobody saw again. */
static void test_C16_stubs_that_are_lost(void **state)
{
	struct xdivert_injection *h = serve("udp", XDV_LAYER_FORWARD);
	struct pollfd fd = {.fd = xdivert_fd(h), .events = POLLIN};
	struct xdivert_packet *p;
	uint64_t from = now();

	(void)state;
	receive_long(h);
	row()->rest_taken += XDV_REST_PAGES;
	assert_int_equal(xdivert_receive(h, &p, 1), 0);
	while (row()->rest_done != row()->rest_taken) {
		assert_in_range(xdivert_timeout(h), 0, 1000);
		poll(&fd, 1, xdivert_timeout(h));
		assert_true(xdivert_dispatch(h, 0) >= 0);
		assert_int_equal(xdivert_receive(h, &p, 1), 0);
	}
	assert_in_range(now() - from, XDV_TRANSIT_MAX, 5ull * XDV_TRANSIT_MAX);
	receive_long(h);
	end_serving(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C27_overwritten),
		contract_test(test_C16_no_memory),
		contract_test(test_C16_stubs_that_are_lost),
	};

	return cmocka_run_group_tests(tests, open_older, lab_close);
}
