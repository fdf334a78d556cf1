// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>

#include "checksum.h"
#include "hook_lab.h"
#include "netdev.h"
#include "queue.h"

struct hook_lab lab;

void sh(const char *command)
{
	if (system(command))
		fail_msg("failed: %s", command);
}

static int pinned(const char *name)
{
	char path[320];
	int fd;

	state_path(lab.x, name, path, sizeof(path));
	fd = bpf_obj_get(path);
	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return fd;
}

/* xdv_xdp_ingress, or the dispatcher that calls it. */
static int xdp_program(void)
{
	__u32 id;
	int fd;

	assert_int_equal(bpf_xdp_query_id(lab.in, XDP_FLAGS_DRV_MODE, &id), 0);
	fd = bpf_prog_get_fd_by_id(id);
	assert_true(fd >= 0);
	return fd;
}

void lab_attach(unsigned int fail)
{
	bool tc = lab.hook == XDV_HOOK_TC;
	struct xdivert_attach_opts opts = {
		.sz = sizeof(opts),
		.hook = lab.hook,
		.mode = tc ? 0 : XDV_MODE_NATIVE,
		.fail = fail,
	};

	if (xdivert_attach(lab.x, "in0", &opts))
		fail_msg("%s", xdivert_error());
	lab.prog = tc ? pinned("xdv_tc_ingress") : xdp_program();
}

void lab_detach(void)
{
	assert_int_equal(xdivert_detach(lab.x, "in0"), 0);
	close(lab.prog);
}

/* The kernel frees the old socket's queue a little after it was closed. */
void lab_serve_again(void)
{
	int tries = 0;

	while (queues_update(lab.h->q)) {
		assert_true(tries++ < 2000);
		usleep(1000);
	}
	if (lab.hook != XDV_HOOK_TC)
		return;
	close(lab.tap);
	lab.tap = pinned("xdv_tap");
}

struct xdv_queue *lab_queue(void)
{
	return &lab.x->occupancy[lab.hook == XDV_HOOK_TC
					 ? XDV_TAP_SLOT * XDV_MAX_QUEUES
					 : 0];
}

static int open_lab(void)
{
	struct xdivert_open_opts opts = {
		.sz = sizeof(opts), .pin_dir = lab.pins, .create = true};

	if (!xdivert_open(&lab.x, &opts) &&
	    !xdivert_injection_create(&lab.h, lab.x, AF_UNSPEC,
				      XDIVERT_KIND_ALL) &&
	    !xdivert_serve(lab.h))
		return 0;
	print_error("%s\n", xdivert_error());
	return -1;
}

int lab_set_up(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET))
		return -1;
	sh("ip link set lo up && "
	   "ip link add in0 type veth peer name in1 && "
	   "ip link add out0 type veth peer name out1 && "
	   "ip link set in0 up && ip link set in1 up && "
	   "ip link set out0 up && ip link set out1 up && "
	   "ip addr add 10.0.1.1/24 dev in0 && "
	   "ip addr add 10.0.2.1/24 dev out0 && "
	   "ip addr add fd00:1::1/64 dev in0 nodad && "
	   "ip addr add fd00:2::1/64 dev out0 nodad && "
	   "ip route add blackhole 10.0.3.0/24 && "
	   "ip route add unreachable 10.0.4.0/24 && "
	   "ip route add prohibit 10.0.5.0/24 && "
	   "ip neigh add 10.0.2.2 lladdr 02:00:00:00:00:22 dev out0 && "
	   "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	snprintf(lab.pins, sizeof(lab.pins), "/sys/fs/bpf/xdivert-test-%d",
		 getpid());
	lab.in = if_nametoindex("in0");
	lab.out = if_nametoindex("out0");
	lab.tap = -1;
	if (netdev_mac(lab.in, lab.mac) || open_lab())
		return -1;
	lab_attach(XDV_FAIL_OPEN);
	lab_serve_again();
	return 0;
}

int lab_tear_down(void **state)
{
	(void)state;
	close(lab.tap);
	close(lab.prog);
	xdivert_injection_destroy(lab.h, -1);
	xdivert_detach_all(lab.x);
	xdivert_close(lab.x);
	return access(lab.pins, F_OK) ? 0 : -1;
}

uint32_t run_xdp(int prog, const uint8_t *data, uint32_t len,
		 struct xdv_meta *meta)
{
	static uint8_t out[FRAME_MAX + 256];
	struct xdp_md in = {.data_end = len, .ingress_ifindex = lab.in};
	struct xdp_md after = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data,
		    .data_size_in = len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &in,
		    .ctx_size_in = sizeof(in), .ctx_out = &after,
		    .ctx_size_out = sizeof(after));
	int rc = bpf_prog_test_run_opts(prog, &opts);

	if (rc)
		fail_msg("BPF_PROG_TEST_RUN: %s", strerror(-rc));
	if (meta && after.data == sizeof(*meta)) {
		memcpy(meta, out, sizeof(*meta));
		assert_memory_equal(out + sizeof(*meta), data, len);
	} else {
		assert_int_equal(after.data, meta ? 0 : after.data);
	}
	return opts.retval;
}

/* The frame comes out of the tap as it was, but for its addresses. */
static void pass_tap(const uint8_t *data, uint32_t len, const struct frame *f,
		     struct xdv_meta *meta)
{
	assert_int_equal(len, f->len);
	assert_memory_equal(data + 12, f->data + 12, len - 12);
	assert_int_equal(run_xdp(lab.tap, data, len, meta), XDP_REDIRECT);
}

enum verdict run_skb(int prog, const struct frame *f, struct __sk_buff *in,
		     struct xdv_meta *meta)
{
	static uint8_t out[FRAME_MAX + 256];
	struct __sk_buff after = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data,
		    .data_size_in = f->len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = in,
		    .ctx_size_in = sizeof(*in), .ctx_out = &after,
		    .ctx_size_out = sizeof(after));
	int rc = bpf_prog_test_run_opts(prog, &opts);

	/* The runner makes no sk_buff of an IP header cut short. */
	lab.refused = rc == -EINVAL && f->len < 14 + 40;
	if (lab.refused)
		return PASSED;
	if (rc)
		fail_msg("BPF_PROG_TEST_RUN: %s", strerror(-rc));
	assert_int_equal(after.mark, in->mark);
	if (opts.retval == TC_ACT_REDIRECT) {
		pass_tap(out, opts.data_size_out, f, meta);
		return DIVERTED;
	}
	assert_int_equal(opts.data_size_out, f->len);
	assert_memory_equal(out, f->data, f->len);
	if (opts.retval == TC_ACT_SHOT)
		return DROPPED;
	assert_int_equal((int)opts.retval, TC_ACT_UNSPEC);
	return PASSED;
}

enum verdict run(const struct frame *f, struct xdv_meta *meta)
{
	struct __sk_buff in = {.ifindex = lab.in};

	if (lab.hook == XDV_HOOK_TC)
		return run_skb(lab.prog, f, &in, meta);
	switch (run_xdp(lab.prog, f->data, f->len, meta)) {
	case XDP_REDIRECT:
		return DIVERTED;
	case XDP_DROP:
		return DROPPED;
	}
	return PASSED;
}

struct xdivert_stats stats(void)
{
	struct xdivert_stats total;

	assert_true(xdivert_stats_read(lab.x, &total, NULL, 0) >= 0);
	assert_int_equal(total.seen, total.unmatched + total.matched);
	return total;
}

void add_rule(const char *name, const char *filter, const char *oif)
{
	struct xdv_rule rule = {.priority = 1};

	snprintf(rule.name, sizeof(rule.name), "%s", name);
	snprintf(rule.filter, sizeof(rule.filter), "%s", filter);
	snprintf(rule.oif, sizeof(rule.oif), "%s", oif);
	if (xdivert_rule_add(lab.x, &rule))
		fail_msg("%s", xdivert_error());
}

void flush_rules(void)
{
	assert_int_equal(xdivert_rule_flush(lab.x), 0);
}

void set_sum(struct frame *f)
{
	uint8_t *ip = f->data + 14;
	uint32_t size = (ip[0] & 0xf) * 4;

	if (f->data[12] == 8 && f->data[13] == 0 && size >= 20 &&
	    f->len >= 14 + size)
		csum_ipv4(ip);
}

void from_hex(struct frame *f, const char *hex, uint32_t pad_to)
{
	char byte[3] = {0};

	memset(f, 0, sizeof(*f));
	memcpy(f->data, lab.mac, 6);
	f->data[6] = 2;
	f->len = 12;
	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		memcpy(byte, hex++, 2);
		f->data[f->len++] = strtoul(byte, NULL, 16);
	}
	if (f->len < pad_to)
		f->len = pad_to;
	set_sum(f);
}

void make_big(struct frame *f, uint32_t len)
{
	from_hex(f, IP4("0020", "40", SERVER4) UDP, 14 + len);
	f->data[16] = len >> 8;
	f->data[17] = len;
	set_sum(f);
}
