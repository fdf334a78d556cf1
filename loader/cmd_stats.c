// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <net/if.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmd.h"

#define ROWS	  1024 /* of xdv_stats */
#define PERIOD_MS 1000
#define CLEAR	  "\033[H\033[2J"

enum format { TEXT, JSON, PROMETHEUS };

struct snapshot {
	struct xdivert_stats total, row[ROWS];
	int rows;
};

/*
 * In the order of the JSON. Those of the hook add up from interface to total.
 * Injections do not: those that failed before there was an interface, or with
 * a daemon that died, are seen in the total alone.
 */
static const struct counter {
	const char *name;
	size_t offset;
	enum { ADDS_UP, TOTAL_KNOWS_MORE, TOTAL_ONLY } where;
	const char *unit, *type, *help;
} counters[] = {
#define FIELD(name) #name, offsetof(struct xdivert_stats, name)
#define PACKETS	    "_packets_total", "counter"
#define PACKETS_NOW "_packets", "gauge"
#define NO_UNIT	    "_total", "counter"
	{FIELD(seen), ADDS_UP, PACKETS, "Packets that came in."},
	{FIELD(unmatched), ADDS_UP, PACKETS, "Seen, and no rule wanted them."},
	{FIELD(matched), ADDS_UP, PACKETS, "Seen, and a rule wanted them."},
	{FIELD(flow_passed), ADDS_UP, PACKETS,
	 "The part of unmatched that a decided flow passed."},
	{FIELD(flow_dropped), ADDS_UP, PACKETS,
	 "The part of unmatched that a decided flow dropped."},
	{FIELD(diverted), ADDS_UP, PACKETS, "Matched, and reached a daemon."},
	{FIELD(unserved), ADDS_UP, PACKETS,
	 "Matched, and not handed to a daemon."},
	{FIELD(queue_dropped), ADDS_UP, PACKETS,
	 "Matched, and lost between hook and daemon."},
	{FIELD(injected), TOTAL_KNOWS_MORE, PACKETS, "Injections initiated."},
	{FIELD(completed), TOTAL_KNOWS_MORE, PACKETS,
	 "Injected, and taken by the device."},
	{FIELD(failed), TOTAL_KNOWS_MORE, PACKETS, "Injected, and failed."},
	{FIELD(in_flight), TOTAL_KNOWS_MORE, PACKETS_NOW,
	 "Injected, and not completed yet."},
	{FIELD(originated), TOTAL_ONLY, PACKETS, "Made here, not received."},
	{FIELD(dropped), TOTAL_ONLY, PACKETS, "Dropped in user space."},
	{FIELD(held), TOTAL_ONLY, PACKETS_NOW,
	 "In user space, not yet decided."},
	{FIELD(abandoned), TOTAL_ONLY, PACKETS,
	 "The part of dropped that was lost with a daemon."},
	{FIELD(returned), TOTAL_ONLY, PACKETS,
	 "The part of diverted that was injected before."},
	{FIELD(reassembled), TOTAL_ONLY, NO_UNIT,
	 "Datagrams that were put together and matched."},
	{FIELD(fragments_expired), TOTAL_ONLY, NO_UNIT,
	 "Fragments whose rest did not come in time."},
	{FIELD(fragments_evicted), TOTAL_ONLY, NO_UNIT,
	 "Fragments that were given up for want of memory."},
	{FIELD(fragments_discarded), TOTAL_ONLY, NO_UNIT,
	 "Fragments that were invalid."},
};
#define COUNTERS (sizeof(counters) / sizeof(*counters))

static uint64_t value(const struct counter *c, const struct xdivert_stats *t)
{
	return *(const uint64_t *)((const char *)t + c->offset);
}

static const char *row_name(const struct xdivert_stats *row, char *name)
{
	return row->ifindex ? ifname_of(row->ifindex, name) : "other";
}

/* ---- JSON ---- */

static void add_counters(cJSON *o, const struct xdivert_stats *t, bool row)
{
	size_t i;

	for (i = 0; i < COUNTERS; i++)
		if (!row || counters[i].where != TOTAL_ONLY)
			cJSON_AddNumberToObject(o, counters[i].name,
						value(&counters[i], t));
}

static cJSON *to_json(const struct snapshot *s)
{
	cJSON *o = cJSON_CreateObject(), *array, *one;
	char name[IF_NAMESIZE];
	int i;

	add_counters(o, &s->total, false);
	array = cJSON_AddArrayToObject(o, "interfaces");
	for (i = 0; i < s->rows; i++) {
		one = cJSON_CreateObject();
		cJSON_AddStringToObject(one, "ifname",
					row_name(&s->row[i], name));
		cJSON_AddNumberToObject(one, "ifindex", s->row[i].ifindex);
		add_counters(one, &s->row[i], true);
		cJSON_AddItemToArray(array, one);
	}
	return o;
}

/* ---- the text exposition format of Prometheus, 0.0.4 ---- */

static void print_label(const char *text)
{
	printf("{interface=\"");
	for (; *text; text++) {
		if (*text == '\\' || *text == '"')
			putchar('\\');
		if (*text == '\n')
			printf("\\n");
		else
			putchar(*text);
	}
	printf("\"}");
}

static void print_head(const char *prefix, const struct counter *c)
{
	printf("# HELP %s%s%s %s\n", prefix, c->name, c->unit, c->help);
	printf("# TYPE %s%s%s %s\n", prefix, c->name, c->unit, c->type);
}

static void print_total(const struct counter *c, const struct snapshot *s)
{
	print_head("xdivert_", c);
	printf("xdivert_%s%s %lu\n", c->name, c->unit, value(c, &s->total));
}

static void print_rows(const char *prefix, const struct counter *c,
		       const struct snapshot *s)
{
	char name[IF_NAMESIZE];
	int i;

	print_head(prefix, c);
	for (i = 0; i < s->rows; i++) {
		printf("%s%s%s", prefix, c->name, c->unit);
		print_label(row_name(&s->row[i], name));
		printf(" %lu\n", value(c, &s->row[i]));
	}
}

/* Sums over one metric are right: none has a total beside its parts. */
static void print_prometheus(const struct snapshot *s)
{
	const struct counter *c;

	for (c = counters; c < counters + COUNTERS; c++) {
		if (c->where == ADDS_UP)
			print_rows("xdivert_", c, s);
		else
			print_total(c, s);
		if (c->where == TOTAL_KNOWS_MORE)
			print_rows("xdivert_interface_", c, s);
	}
}

/* ---- text ---- */

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

static void print_text(const struct snapshot *s)
{
	const struct xdivert_stats *t = &s->total;
	char name[IF_NAMESIZE];
	int i;

	for (i = 0; i < s->rows; i++)
		print_row(row_name(&s->row[i], name), &s->row[i]);
	print_row("total", t);
	printf("%-15s originated %lu dropped %lu (abandoned %lu) held %lu "
	       "returned %lu\n",
	       "", t->originated, t->dropped, t->abandoned, t->held,
	       t->returned);
}

/* ---- the command ---- */

static int take(struct snapshot *s)
{
	struct xdivert *x;
	int rc = open_state(&x, false);

	if (rc)
		return rc;
	s->rows = xdivert_stats_read(x, &s->total, s->row, ROWS);
	xdivert_close(x);
	return s->rows < 0 ? fail(1, "cannot read xdv_stats: %s",
				  strerror(-s->rows))
			   : 0;
}

static int print_once(enum format format)
{
	struct snapshot s;
	int rc = take(&s);

	if (rc)
		return rc;
	if (format == JSON)
		print_json(to_json(&s));
	else if (format == PROMETHEUS)
		print_prometheus(&s);
	else
		print_text(&s);
	return 0;
}

/* Opened anew each time: it says so if there is nothing any more. */
static int watch(enum format format)
{
	struct pollfd fd = {.fd = end_fd(), .events = POLLIN};
	bool terminal = isatty(STDOUT_FILENO);
	const char *before = terminal ? CLEAR : "";
	struct snapshot s;
	int rc;

	while (!(rc = take(&s))) {
		if (format == JSON)
			print_json_line(to_json(&s));
		else {
			fputs(before, stdout);
			print_text(&s);
		}
		if (!terminal)
			before = "\n";
		if (fflush(stdout) || poll(&fd, 1, PERIOD_MS))
			break;
	}
	return rc;
}

static int parse(int argc, char **argv, enum format *format, bool *watches)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"prometheus", no_argument, NULL, 'p'},
		{"watch", no_argument, NULL, 'w'},
		{NULL, 0, NULL, 0},
	};
	bool json = false, prometheus = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c == 'p')
			prometheus = true;
		else if (c == 'w')
			*watches = true;
		else
			return EXIT_USAGE;
	}
	if (optind != argc)
		return fail(EXIT_USAGE, "stats: '%s' is not an option",
			    argv[optind]);
	if (prometheus && (json || *watches))
		return fail(EXIT_USAGE, "stats: --prometheus is printed alone, "
					"without --json and --watch");
	*format = prometheus ? PROMETHEUS : json ? JSON : TEXT;
	return 0;
}

int cmd_stats(int argc, char **argv)
{
	enum format format = TEXT;
	bool watches = false;
	int rc = parse(argc, argv, &format, &watches);

	if (rc)
		return rc;
	return watches ? watch(format) : print_once(format);
}
