// SPDX-License-Identifier: BSD-2-Clause
/* Flows that are decided, on either hook. */
#include <errno.h>
#include <string.h>

#include "hook_lab.h"
#include "packet.h"

static struct xdivert_packet *packet_of(const struct frame *f)
{
	struct xdivert_packet *p = xdivert_packet_alloc(lab.h, f->len - 14);

	assert_non_null(p);
	memcpy(xdivert_packet_data(p), f->data + 14, f->len - 14);
	p->meta.rule = lab.x->shared->next_rule;
	return p;
}

static int decide(const struct frame *f, unsigned int verdict, uint64_t after)
{
	struct xdivert_flow_opts opts = {
		.sz = sizeof(opts), .verdict = verdict, .after = after};
	struct xdivert_packet *p = packet_of(f);
	int rc = xdivert_flow_decide(lab.h, p, &opts);

	xdivert_packet_free(p);
	return rc;
}

/* Source and destination change places. */
static void turn_round(struct frame *f)
{
	uint8_t ends[12];

	memcpy(ends, f->data + 26, 12);
	memcpy(f->data + 26, ends + 4, 4);
	memcpy(f->data + 30, ends, 4);
	memcpy(f->data + 34, ends + 10, 2);
	memcpy(f->data + 36, ends + 8, 2);
	set_sum(f);
}

void test_flows(void **state)
{
	struct xdivert_stats before, after;
	struct frame f, back;
	int i;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, IP4("0020", "40", SERVER4) UDP, 0);
	back = f;
	turn_round(&back);
	before = stats();
	assert_int_equal(run(&f, NULL), DIVERTED);
	assert_int_equal(decide(&f, XDV_FLOW_PASS, 0), 0);
	assert_int_equal(run(&f, NULL), PASSED);
	assert_int_equal(run(&back, NULL), PASSED);
	after = stats();
	assert_int_equal(after.flow_passed, before.flow_passed + 2);
	assert_int_equal(after.matched, before.matched + 1);
	assert_int_equal(decide(&back, XDV_FLOW_DROP, 0), 0);
	assert_int_equal(run(&f, NULL), DROPPED);
	assert_int_equal(stats().flow_dropped, before.flow_dropped + 1);
	/* Cut short, or to somebody else, it is none of the flow's. */
	f.len = 14 + 20 + 3;
	assert_int_equal(run(&f, NULL), PASSED);
	f.len = back.len;
	f.data[5] ^= 1;
	assert_int_equal(run(&f, NULL), PASSED);
	f.data[5] ^= 1;
	assert_int_equal(stats().flow_dropped, before.flow_dropped + 1);
	assert_int_equal(xdivert_flow_flush(lab.x), 0);
	assert_int_equal(run(&f, NULL), DIVERTED);
	assert_int_equal(decide(&f, XDV_FLOW_DROP, 5), 0);
	for (i = 1; i < 5; i++)
		assert_int_equal(run(&f, NULL), DIVERTED);
	assert_int_equal(run(&f, NULL), DROPPED);
	lab_queue()->consumed = lab_queue()->produced;
	flush_rules();
	assert_int_equal(run(&f, NULL), PASSED);
}

void test_flow_errors(void **state)
{
	struct xdivert_flow_opts opts = {.sz = sizeof(opts),
					 .verdict = XDV_FLOW_PASS};
	struct xdivert_packet *p;
	struct frame f;

	(void)state;
	add_rule("all", "", "");
	from_hex(&f, IP4("0020", "40", SERVER4) UDP, 0);
	assert_int_equal(decide(&f, 0, 0), -EINVAL);
	assert_int_equal(decide(&f, 3, 0), -EINVAL);
	p = packet_of(&f);
	opts.sz--;
	assert_int_equal(xdivert_flow_decide(lab.h, p, &opts), -EINVAL);
	opts.sz++;
	p->meta.rule += 1000;
	assert_int_equal(xdivert_flow_decide(lab.h, p, &opts), -ESTALE);
	xdivert_packet_free(p);
	f.data[23] = 1; /* ICMP */
	assert_int_equal(decide(&f, XDV_FLOW_PASS, 0), -EOPNOTSUPP);
	f.data[23] = 17;
	f.data[20] = 0x20; /* a first fragment */
	assert_int_equal(decide(&f, XDV_FLOW_PASS, 0), -EOPNOTSUPP);
	assert_int_equal(xdivert_flow_limit(lab.x, 0), -EINVAL);
	flush_rules();
}
