// SPDX-License-Identifier: BSD-2-Clause
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "cmd.h"

static int add(int argc, char **argv)
{
	struct xdv_rule rule;
	struct xdivert *x;
	int rc;

	if (xdivert_rule_parse(argc - 1, argv + 1, &rule))
		return fail(EXIT_USAGE, "rule add: %s", xdivert_error());
	rc = open_state(&x, true);
	if (rc)
		return rc;
	if (xdivert_rule_add(x, &rule))
		rc = fail(1, "rule %s: %s", rule.name, xdivert_error());
	xdivert_close(x);
	return rc;
}

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* What was CLOCK_MONOTONIC then, as seconds since 1970. */
static double wall_clock(uint64_t then)
{
	uint64_t ago = nanoseconds(CLOCK_MONOTONIC) - then;

	return (nanoseconds(CLOCK_REALTIME) - ago) / 1000000 / 1e3;
}

static void add_hits(cJSON *o, const struct xdv_hits *hits)
{
	cJSON_AddNumberToObject(o, "hits", hits->hits);
	cJSON_AddNumberToObject(o, "bytes", hits->bytes);
	if (hits->last)
		cJSON_AddNumberToObject(o, "last_hit", wall_clock(hits->last));
	else
		cJSON_AddNullToObject(o, "last_hit");
}

static cJSON *rule_json(const struct xdv_rule *r, const struct xdv_hits *hits)
{
	cJSON *o = cJSON_CreateObject(), *actions;
	char text[sizeof(r->actions)], *line, *rest = text;

	memcpy(text, r->actions, sizeof(text));
	cJSON_AddStringToObject(o, "name", r->name);
	cJSON_AddNumberToObject(o, "id", r->id);
	cJSON_AddNumberToObject(o, "priority", r->priority);
	cJSON_AddStringToObject(o, "layer", xdivert_layer_name(r->layer));
	cJSON_AddStringToObject(o, "filter", r->filter);
	cJSON_AddStringToObject(o, "iif", r->iif);
	cJSON_AddStringToObject(o, "oif", r->oif);
	cJSON_AddStringToObject(o, "to", r->to);
	cJSON_AddStringToObject(o, "fragment",
				r->fragment == XDV_FRAGMENT_ONLY   ? "yes"
				: r->fragment == XDV_FRAGMENT_NONE ? "no"
				: r->fragment			   ? "whole"
								   : "");
	cJSON_AddBoolToObject(o, "via_stack", r->via_stack);
	cJSON_AddBoolToObject(o, "returned", r->returned);
	add_hits(o, hits);
	cJSON_AddStringToObject(o, "src_set", r->src_set);
	cJSON_AddStringToObject(o, "dst_set", r->dst_set);
	actions = cJSON_AddArrayToObject(o, "do");
	while ((line = strsep(&rest, "\n")))
		if (*line)
			cJSON_AddItemToArray(actions, cJSON_CreateString(line));
	return o;
}

/* As apply reads it: what it counted is a comment. */
static void print_rule(const struct xdv_rule *r, const struct xdv_hits *hits)
{
	char text[8 * XDV_TEXT_LEN];

	xdivert_rule_format(r, text, sizeof(text));
	fputs(text, stdout);
	if (hits && hits->hits)
		printf("  # %llu hits, %llu bytes, last %.1f s ago",
		       (unsigned long long)hits->hits,
		       (unsigned long long)hits->bytes,
		       (nanoseconds(CLOCK_MONOTONIC) - hits->last) / 1e9);
	puts("");
}

enum format {
	TEXT,
	JSON,
	APPLY,
};

static void print_rules(struct xdivert *x, const struct xdv_rule *rules, int n,
			enum format format)
{
	cJSON *array = format == JSON ? cJSON_CreateArray() : NULL;
	struct xdv_hits hits;
	int i;

	for (i = 0; i < n; i++) {
		xdivert_rule_hits(x, &rules[i], &hits);
		if (format == JSON)
			cJSON_AddItemToArray(array,
					     rule_json(&rules[i], &hits));
		else
			print_rule(&rules[i], format == TEXT ? &hits : NULL);
	}
	if (format == JSON)
		print_json(array);
}

static int parse_format(int argc, char **argv, enum format *format)
{
	*format = TEXT;
	if (argc == 2 && !strcmp(argv[1], "--json"))
		*format = JSON;
	else if (argc == 3 && !strcmp(argv[1], "--format") &&
		 !strcmp(argv[2], "apply"))
		*format = APPLY;
	else if (argc != 1)
		return fail(EXIT_USAGE,
			    "rule list: expected nothing, --json or --format "
			    "apply, not '%s'",
			    argv[argc - 1]);
	return 0;
}

static int list(int argc, char **argv)
{
	struct xdv_rule *rules;
	enum format format;
	struct xdivert *x;
	int rc, n;

	rc = parse_format(argc, argv, &format);
	rc = rc ? rc : open_state(&x, false);
	if (rc)
		return rc;
	n = xdivert_rules(x, &rules);
	if (n < 0) {
		rc = fail(1, "cannot read the rules: %s", strerror(-n));
	} else {
		print_rules(x, rules, n, format);
		free(rules);
	}
	xdivert_close(x);
	return rc;
}

static int explain_one(const struct xdv_rule *rules, int n, const char *name)
{
	char *text;
	int i;

	for (i = 0; i < n && strcmp(rules[i].name, name); i++)
		;
	if (i == n)
		return fail(1, "no rule '%s'", name);
	if (xdivert_rule_explain(&rules[i], &text))
		return fail(1, "%s", xdivert_error());
	fputs(text, stdout);
	free(text);
	return 0;
}

static int explain(int argc, char **argv)
{
	struct xdv_rule *rules;
	struct xdivert *x;
	int rc, n;

	if (argc != 2)
		return fail(EXIT_USAGE, "rule explain: name one rule");
	rc = open_state(&x, false);
	if (rc)
		return rc;
	n = xdivert_rules(x, &rules);
	xdivert_close(x);
	if (n < 0)
		return fail(1, "cannot read the rules: %s", strerror(-n));
	rc = explain_one(rules, n, argv[1]);
	free(rules);
	return rc;
}

static int del(int argc, char **argv)
{
	struct xdivert *x;
	int rc;

	if (argc != 2)
		return fail(EXIT_USAGE, "rule del: name one rule");
	rc = open_state(&x, false);
	if (rc)
		return rc;
	if (xdivert_rule_del(x, argv[1]))
		rc = fail(1, "%s", xdivert_error());
	xdivert_close(x);
	return rc;
}

static int flush(int argc, char **argv)
{
	struct xdivert *x;
	int rc;

	if (argc != 1)
		return fail(EXIT_USAGE, "rule flush: '%s' is not an option",
			    argv[1]);
	rc = open_state(&x, false);
	if (rc)
		return rc;
	if (xdivert_rule_flush(x))
		rc = fail(1, "rule flush: %s", xdivert_error());
	xdivert_close(x);
	return rc;
}

static int reload(int argc, char **argv)
{
	struct xdivert *x;
	int rc;

	if (argc != 1)
		return fail(EXIT_USAGE, "rule reload: '%s' is not an option",
			    argv[1]);
	rc = open_state(&x, false);
	if (rc)
		return rc;
	if (xdivert_rules_reload(x))
		rc = fail(1, "rule reload: %s", xdivert_error());
	xdivert_close(x);
	return rc;
}

int cmd_rule(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
		bool privileged;
	} verbs[] = {
		{"add", add, true},
		{"list", list, true},
		{"del", del, true},
		{"flush", flush, true},
		{"explain", explain, true},
		{"reload", reload, true},
		{"test", cmd_rule_test, false},
	};
	size_t i;

	for (i = 0; argc > 1 && i < sizeof(verbs) / sizeof(*verbs); i++)
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].privileged && need_privileges("rule")
				       ? 1
				       : verbs[i].run(argc - 1, argv + 1);
	return fail(EXIT_USAGE,
		    "rule: expected add NAME ..., list, del NAME, flush, "
		    "reload, explain NAME or test --pcap FILE");
}
