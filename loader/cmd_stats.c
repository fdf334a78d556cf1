// SPDX-License-Identifier: BSD-2-Clause
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmd.h"

#define ROWS 256

static const char *row_name(const struct xdivert_stats *row, char *name)
{
	return row->ifindex ? ifname_of(row->ifindex, name) : "other";
}

static void add_flow(cJSON *o, const struct xdivert_stats *t)
{
	cJSON_AddNumberToObject(o, "seen", t->seen);
	cJSON_AddNumberToObject(o, "unmatched", t->unmatched);
	cJSON_AddNumberToObject(o, "matched", t->matched);
	cJSON_AddNumberToObject(o, "flow_passed", t->flow_passed);
	cJSON_AddNumberToObject(o, "flow_dropped", t->flow_dropped);
	cJSON_AddNumberToObject(o, "diverted", t->diverted);
	cJSON_AddNumberToObject(o, "unserved", t->unserved);
	cJSON_AddNumberToObject(o, "queue_dropped", t->queue_dropped);
	cJSON_AddNumberToObject(o, "injected", t->injected);
	cJSON_AddNumberToObject(o, "completed", t->completed);
	cJSON_AddNumberToObject(o, "failed", t->failed);
	cJSON_AddNumberToObject(o, "in_flight", t->in_flight);
}

static void print_stats(const struct xdivert_stats *total,
			const struct xdivert_stats *row, int rows)
{
	cJSON *o = cJSON_CreateObject(), *array, *one;
	char name[IF_NAMESIZE];
	int i;

	add_flow(o, total);
	cJSON_AddNumberToObject(o, "originated", total->originated);
	cJSON_AddNumberToObject(o, "dropped", total->dropped);
	cJSON_AddNumberToObject(o, "held", total->held);
	cJSON_AddNumberToObject(o, "abandoned", total->abandoned);
	cJSON_AddNumberToObject(o, "returned", total->returned);
	cJSON_AddNumberToObject(o, "reassembled", total->reassembled);
	cJSON_AddNumberToObject(o, "fragments_expired",
				total->fragments_expired);
	cJSON_AddNumberToObject(o, "fragments_evicted",
				total->fragments_evicted);
	cJSON_AddNumberToObject(o, "fragments_discarded",
				total->fragments_discarded);
	array = cJSON_AddArrayToObject(o, "interfaces");
	for (i = 0; i < rows; i++) {
		one = cJSON_CreateObject();
		cJSON_AddStringToObject(one, "ifname", row_name(&row[i], name));
		cJSON_AddNumberToObject(one, "ifindex", row[i].ifindex);
		add_flow(one, &row[i]);
		cJSON_AddItemToArray(array, one);
	}
	print_json(o);
}

static void print_row(const char *name, const struct xdivert_stats *t)
{
	printf("%-15s seen %lu unmatched %lu (flow_passed %lu flow_dropped "
	       "%lu) matched %lu diverted %lu unserved "
	       "%lu queue_dropped %lu injected %lu completed %lu failed %lu "
	       "in_flight %lu\n",
	       name, t->seen, t->unmatched, t->flow_passed, t->flow_dropped,
	       t->matched, t->diverted, t->unserved, t->queue_dropped,
	       t->injected, t->completed, t->failed, t->in_flight);
}

int cmd_stats(int argc, char **argv)
{
	struct xdivert_stats total, row[ROWS];
	char name[IF_NAMESIZE];
	struct xdivert *x;
	int rc, i, n;
	bool json;

	rc = parse_json(argc, argv, &json);
	rc = rc ? rc : open_state(&x, false);
	if (rc)
		return rc;
	n = xdivert_stats_read(x, &total, row, ROWS);
	xdivert_close(x);
	if (n < 0)
		return fail(1, "cannot read xdv_stats: %s", strerror(-n));
	if (json) {
		print_stats(&total, row, n);
		return 0;
	}
	for (i = 0; i < n; i++)
		print_row(row_name(&row[i], name), &row[i]);
	print_row("total", &total);
	printf("%-15s originated %lu dropped %lu (abandoned %lu) held %lu "
	       "returned %lu\n",
	       "", total.originated, total.dropped, total.abandoned, total.held,
	       total.returned);
	return 0;
}
