// SPDX-License-Identifier: BSD-2-Clause
/* What rules can ask for, and the loop that callouts are made for: C21, C22. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tally.h"
#include "unit.h"

#define MARKER 7777 /* its port; it comes behind what is asked about */

static const struct udp marker = {.family = 4,
				  .from_net = 1,
				  .from = 2,
				  .to_net = 2,
				  .to = 2,
				  .dport = MARKER,
				  .text = "marker"};
static const struct udp to_us = {.family = 4,
				 .from_net = 1,
				 .from = 2,
				 .to_net = 1,
				 .to = 1,
				 .text = "to-us"};

static void add(struct xdv_rule rule)
{
	if (xdivert_rule_add(lab.x, &rule))
		fail_msg("%s", xdivert_error());
}

/* Frames of one queue come in order: once the marker is here, so was what was
 * sent before it, if a rule matched it. How many that were.
 */
static int until_marker(struct xdivert_injection *h)
{
	struct xdivert_packet *p;
	const uint8_t *data;
	bool last = false;
	int n;

	send_from_far(&marker);
	for (n = -1; !last; n++) {
		receive_one(h, &p);
		data = xdivert_packet_data(p);
		last = (data[22] << 8 | data[23]) == MARKER;
		xdivert_packet_free(p);
	}
	return n;
}

enum packet {
	FORWARDED,
	FRAGMENT, /* the first of some */
	RECEIVED,
	TO_MANY,
};

static void send_packet(enum packet packet)
{
	uint8_t frame[200] = {1, 0, 0x5e, 0, 0, 9}, *data = frame + 14;
	const struct udp *u = packet == RECEIVED ? &to_us : &through;
	uint32_t len = lab_build(u, data);

	if (packet == FRAGMENT) {
		len -= len % 8 - 4; /* 20, and some times 8 */
		data[3] = len;
		data[6] = 0x20;
	}
	if (packet == TO_MANY)
		memcpy(data + 16, "\xe0\0\0\x9", 4);
	lab_seal(data);
	if (packet != TO_MANY) {
		lab_send(data, len);
		return;
	}
	memcpy(frame + 6, lab.mac_v1, 6);
	frame[12] = 8;
	assert_int_equal(send(lab.wire_v, frame, 14 + len, 0), 14 + len);
}

static const struct {
	struct xdv_rule rule;
	enum packet packet;
	bool matches;
} conditions[] = {
	/* Source and destination address. */
	{{.filter = "src host 10.1.0.2"}, FORWARDED, true},
	{{.filter = "src host 10.1.0.3"}, FORWARDED, false},
	{{.filter = "dst net 10.2.0.0/24"}, FORWARDED, true},
	{{.filter = "dst net 10.3.0.0/24"}, FORWARDED, false},
	/* The type of the destination: one, many, this host. */
	{{.layer = XDV_LAYER_FORWARD}, FORWARDED, true},
	{{.layer = XDV_LAYER_FORWARD}, RECEIVED, false},
	{{.layer = XDV_LAYER_FORWARD}, TO_MANY, false},
	{{.layer = XDV_LAYER_RECEIVE}, RECEIVED, true},
	{{.layer = XDV_LAYER_RECEIVE}, FORWARDED, false},
	{{.layer = XDV_LAYER_GROUP}, TO_MANY, true},
	{{.layer = XDV_LAYER_GROUP}, FORWARDED, false},
	{{.filter = "ip multicast", .layer = XDV_LAYER_GROUP}, TO_MANY, true},
	/* Where it comes from and where it goes. */
	{{.iif = "v0"}, FORWARDED, true},
	{{.iif = "w0"}, FORWARDED, false},
	{{.oif = "w0"}, FORWARDED, true},
	{{.oif = "v0"}, FORWARDED, false},
	{{.iif = "v0", .oif = "w0"}, FORWARDED, true},
	/* Is it a fragment? What is put together is in test_groups.c. */
	{{.fragment = XDV_FRAGMENT_ONLY}, FRAGMENT, true},
	{{.fragment = XDV_FRAGMENT_ONLY}, FORWARDED, false},
	{{.fragment = XDV_FRAGMENT_NONE}, FRAGMENT, false},
	{{.fragment = XDV_FRAGMENT_NONE}, FORWARDED, true},
	{{.fragment = XDV_FRAGMENT_WHOLE}, FORWARDED, false},
};

static void test_C21_conditions(void **state)
{
	struct xdivert_injection *h = create(AF_UNSPEC, BOTH);
	struct xdv_rule rule = {.name = "marker", .priority = 9};
	size_t i;

	(void)state;
	snprintf(rule.filter, sizeof(rule.filter), "udp dst port %d", MARKER);
	rule.fragment = XDV_FRAGMENT_NONE;
	assert_int_equal(xdivert_serve(h), 0);
	for (i = 0; i < ARRAY_SIZE(conditions); i++) {
		struct xdv_rule asked = conditions[i].rule;

		strcpy(asked.name, "asked");
		asked.priority = 1;
		add(rule);
		add(asked);
		send_packet(conditions[i].packet);
		if (until_marker(h) != conditions[i].matches)
			fail_msg("condition %zu: %s, layer %u, iif '%s', "
				 "oif '%s', fragment %u",
				 i, asked.filter, asked.layer, asked.iif,
				 asked.oif, asked.fragment);
		assert_int_equal(xdivert_rule_flush(lab.x), 0);
	}
	end_serving(h);
}

static struct xdivert_injection *gateway;
static struct tally done;

/* The clone has left: its original is not needed any more. */
static void free_original(void *original, struct xdivert_packet *clone,
			  const struct xdv_completion *c)
{
	completed(&done, clone, c);
	xdivert_packet_free(original);
}

static void absorb(void *arg, struct xdivert_packet *p,
		   const struct xdivert_metadata *m,
		   enum xdivert_verdict *verdict)
{
	struct xdivert_packet *clone = xdivert_packet_clone(p);

	(void)arg;
	assert_non_null(clone);
	memcpy(xdivert_packet_data(clone) + 28, "changed", 7);
	assert_int_equal(xdivert_packet_finish(clone), 0);
	assert_int_equal(xdivert_inject_forward_async(gateway, 1, 0, AF_INET, 0,
						      m->oif, clone,
						      free_original, p),
			 0);
	*verdict = XDIVERT_ABSORB;
}

/* Absorbed, cloned, modified, injected, freed when that has completed. */
static void test_C22_out_of_band(void **state)
{
	struct xdivert_stats before, after;
	int i;

	(void)state;
	gateway = create(AF_UNSPEC, BOTH);
	assert_int_equal(xdivert_callout_register(gateway, absorb, NULL), 0);
	add((struct xdv_rule){.name = "r", .filter = "udp"});
	assert_int_equal(xdivert_serve(gateway), 0);
	xdivert_stats_read(lab.x, &before, NULL, 0);
	drain_wire(lab.wire_w);
	for (i = 0; i < 5; i++)
		send_from_far(&through);
	while (done.called < 5)
		assert_true(xdivert_dispatch(gateway, 2000) > 0);
	assert_int_equal(done.ok, 5);
	for (i = 0; i < 5; i++)
		expect_on(lab.wire_w, "changed");
	expect_nothing_on(lab.wire_w, through.text);
	xdivert_stats_read(lab.x, &after, NULL, 0);
	assert_int_equal(after.originated, before.originated + 5);
	assert_int_equal(after.dropped, before.dropped + 5);
	assert_int_equal(after.completed, before.completed + 5);
	end_serving(gateway);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		contract_test(test_C21_conditions),
		contract_test(test_C22_out_of_band),
	};

	return cmocka_run_group_tests_name("conditions", tests, lab_open,
					   lab_close);
}
