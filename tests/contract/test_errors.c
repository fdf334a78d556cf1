// SPDX-License-Identifier: BSD-2-Clause
/* Errors and statuses that no other test needs on its way: contract C15. */
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>

#include "state.h"
#include "tally.h"
#include "unit.h"

/* A program that returns a number. */
static int load(enum bpf_prog_type type, int verdict)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = verdict},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(type, "verdict", "GPL", insns, 2, NULL);

	assert_true(fd >= 0);
	return fd;
}

/* Through the stack of an interface. */
static void send_via_stack(struct xdivert_injection *h, const struct udp *u,
			   uint32_t ifindex, struct tally *t)
{
	struct xdivert_packet *p = lab_packet(h, u);

	xdivert_packet_set_flags(p, XDIVERT_PACKET_VIA_STACK);
	*t = (struct tally){0};
	assert_int_equal(xdivert_inject_forward_async(h, 0, 0, AF_INET, 0,
						      ifindex, p, completed, t),
			 0);
	wait_called(h, t, 1);
}

static void test_C15_dropped_by_tc(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = lab.w0,
		    .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts,
		    .prog_fd = load(BPF_PROG_TYPE_SCHED_CLS, TC_ACT_SHOT));
	struct tally t;

	(void)state;
	assert_int_equal(bpf_tc_hook_create(&hook), 0);
	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	send_via_stack(h, &plain, lab.w0, &t);
	sh("tc qdisc del dev w0 clsact");
	close(opts.prog_fd);
	/* Kernels before 6.2 do not say who it was. */
	if (!strcmp(xdivert_reason_name(t.last.reason), "NOT_SPECIFIED")) {
		assert_int_equal(t.last.status, -EIO);
	} else {
		assert_string_equal(xdivert_reason_name(t.last.reason),
				    "TC_EGRESS");
		assert_int_equal(t.last.status, -EPERM);
		assert_string_equal(xdivert_status_text(t.last.status),
				    "dropped by TC");
	}
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* A bridge that does not flood has nowhere to send it. */
static void test_C15_dropped_in_the_stack(void **state)
{
	static const struct udp bridged = {.family = 4,
					   .from_net = 7,
					   .from = 1,
					   .to_net = 7,
					   .to = 2,
					   .text = "bridged"};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t;

	(void)state;
	sh("ip link add eb0 type bridge; ip link add ep0 type veth peer name "
	   "ep1; ip link set ep0 master eb0; ip link set ep0 up;"
	   "ip link set ep1 up; ip link set eb0 up;"
	   "bridge link set dev ep0 flood off; ip addr add 10.7.0.1/24 dev eb0;"
	   "ip neigh replace 10.7.0.2 lladdr 02:00:00:00:00:07 dev eb0"
	   " nud permanent");
	send_via_stack(h, &bridged, if_nametoindex("eb0"), &t);
	assert_int_equal(t.last.status, -EIO);
	assert_true(*xdivert_reason_name(t.last.reason));
	sh("ip link del eb0; ip link del ep0");
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

/* Nothing can be put in front of the stack: its device has gone, and all names
 * for another one are taken.
 */
static void test_C15_no_way_into_the_stack(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct tally t;

	(void)state;
	sh("ip link del xdv0; for i in $(seq 0 63);"
	   " do echo link add xdv$i type bridge; done | ip -batch -");
	send_via_stack(h, &plain, lab.w0, &t);
	sh("for i in $(seq 0 63); do echo link del xdv$i; done | ip -batch -");
	assert_int_equal(t.last.status, -EOPNOTSUPP);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
	check_books();
}

static void ignore(int signal)
{
	(void)signal;
}

static void test_C15_dispatch_is_interrupted(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	const struct sigaction action = {.sa_handler = ignore};
	const struct itimerval often = {{0, 10000}, {0, 10000}};
	const struct itimerval never = {{0}, {0}};

	(void)state;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	assert_int_equal(xdivert_dispatch(h, -1), -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	assert_true(*xdivert_error());
	assert_int_equal(xdivert_dispatch(h, 1), 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

static void pass(void *arg, struct xdivert_packet *packet,
		 const struct xdivert_metadata *metadata,
		 enum xdivert_verdict *verdict)
{
	(void)arg;
	(void)packet;
	(void)metadata;
	(void)verdict;
}

static void test_C15_many_callouts(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	int i;

	(void)state;
	for (i = 0; i < 16; i++)
		assert_int_equal(xdivert_callout_register(h, pass, NULL), 0);
	assert_int_equal(xdivert_callout_register(h, pass, NULL), -ENOSPC);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

static void test_C15_attaching(void **state)
{
	LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
	int fd = load(BPF_PROG_TYPE_XDP, XDP_PASS);

	(void)state;
	assert_int_equal(xdivert_attach(lab.x, "v0", NULL), -EEXIST);
	assert_int_equal(xdivert_attach(lab.x, "nosuch", NULL), -ENODEV);
	assert_int_equal(xdivert_detach(lab.x, "w0"), -ENOENT);
	assert_int_equal(bpf_xdp_attach(lab.w0, fd, XDP_FLAGS_DRV_MODE, &opts),
			 0);
	assert_int_equal(xdivert_attach(lab.x, "w0", NULL), -EBUSY);
	assert_non_null(strstr(xdivert_error(), "w0"));
	assert_int_equal(bpf_xdp_detach(lab.w0, XDP_FLAGS_DRV_MODE, NULL), 0);
	close(fd);
	assert_int_equal(xdivert_interfaces(lab.x, NULL, 0), 1);
}

static void test_C15_rules(void **state)
{
	struct xdv_rule rule = {.name = "r", .filter = "udp"}, *list;

	(void)state;
	assert_int_equal(xdivert_rule_add(lab.x, &rule), 0);
	assert_int_equal(xdivert_rule_add(lab.x, &rule), -EEXIST);
	assert_int_equal(xdivert_rule_del(lab.x, "q"), -ENOENT);
	assert_int_equal(xdivert_rules_apply(lab.x, &rule, XDV_MAX_RULES + 1),
			 -E2BIG);
	rule = (struct xdv_rule){.name = "i", .filter = "", .iif = "nosuch"};
	assert_int_equal(xdivert_rule_add(lab.x, &rule), -ENODEV);
	assert_int_equal(xdivert_rules(lab.x, &list), 1);
	free(list);
	assert_int_equal(xdivert_rule_flush(lab.x), 0);
}

struct unprivileged {
	int create, open, enter, find;
};

static void *try_unprivileged(void *arg)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};
	struct xdivert_open_opts opts = {
		.sz = sizeof(opts),
		.pin_dir = "/sys/fs/bpf/xdivert-unprivileged",
		.create = true};
	struct unprivileged *rc = arg;
	struct xdivert_injection *h;
	uint32_t compartment, ifindex;
	char name[48];
	struct xdivert *x;

	snprintf(name, sizeof(name), "v1@%s", lab.far);
	/* This thread's only. */
	if (syscall(SYS_capset, &header, none))
		return NULL;
	rc->create = xdivert_injection_create(&h, lab.x, AF_UNSPEC, BOTH);
	rc->open = xdivert_open(&x, &opts);
	rc->enter = xdivert_compartment_enter(lab.far);
	rc->find = xdivert_interface_find(name, &compartment, &ifindex);
	return NULL;
}

static void test_C15_without_privileges(void **state)
{
	struct unprivileged rc = {0};
	pthread_t thread;

	(void)state;
	pthread_create(&thread, NULL, try_unprivileged, &rc);
	pthread_join(thread, NULL);
	assert_int_equal(rc.create, -EPERM);
	assert_int_equal(rc.open, -EPERM);
	assert_int_not_equal(access("/sys/fs/bpf/xdivert-unprivileged", F_OK),
			     0);
	assert_int_equal(rc.enter, -EPERM);
	assert_int_equal(rc.find, -EPERM);
}

/* Whoever does not serve has no fragments to put together. */
static void test_C15_reassembly_without_serving(void **state)
{
	struct xdivert_reassembly_opts opts = {.sz = sizeof(opts)};
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);

	(void)state;
	assert_int_equal(xdivert_reassembly(h, &opts), -ENOTCONN);
	assert_int_equal(xdivert_serve(h), 0);
	assert_int_equal(xdivert_reassembly(h, &opts), 0);
	assert_int_equal(xdivert_injection_destroy(h, -1), 0);
}

static void test_C15_state_of_another_version(void **state)
{
	struct xdivert_open_opts opts = {.sz = sizeof(opts),
					 .pin_dir = lab.pins};
	struct xdivert *x;

	(void)state;
	lab.x->shared->abi++;
	assert_int_equal(xdivert_open(&x, &opts), -EPROTO);
	lab.x->shared->abi--;
	assert_non_null(strstr(xdivert_error(), "another version"));
	assert_int_equal(xdivert_open(&x, &opts), 0);
	xdivert_close(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C15_dropped_by_tc),
		contract_test(test_C15_dropped_in_the_stack),
		contract_test(test_C15_no_way_into_the_stack),
		contract_test(test_C15_dispatch_is_interrupted),
		contract_test(test_C15_many_callouts),
		contract_test(test_C15_attaching),
		contract_test(test_C15_rules),
		contract_test(test_C15_without_privileges),
		contract_test(test_C15_reassembly_without_serving),
		contract_test(test_C15_state_of_another_version),
	};

	return cmocka_run_group_tests_name("errors", tests, lab_open,
					   lab_close);
}
