// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmd.h"

#define DEFAULT_PRIORITY 100

static int copy(char *to, size_t size, const char *from, const char *what)
{
	if (strlen(from) >= size)
		return fail(EXIT_USAGE, "rule: %s is too long", what);
	strcpy(to, from);
	return 0;
}

static int add_action(struct xdv_rule *rule, const char *action)
{
	size_t used = strlen(rule->actions);

	if (strchr(action, '\n') || !*action)
		return fail(EXIT_USAGE, "rule: --do needs one line");
	if (used + strlen(action) + 2 > sizeof(rule->actions))
		return fail(EXIT_USAGE, "rule: the callouts are too long");
	sprintf(rule->actions + used, "%s\n", action);
	return 0;
}

static int parse_option(struct xdv_rule *rule, int c)
{
	long number;

	switch (c) {
	case 'f':
		return copy(rule->filter, sizeof(rule->filter), optarg,
			    "the filter");
	case 'i':
		return copy(rule->iif, sizeof(rule->iif), optarg, "--iif");
	case 'o':
		return copy(rule->oif, sizeof(rule->oif), optarg, "--oif");
	case 't':
		return copy(rule->to, sizeof(rule->to), optarg, "--to");
	case 'd':
		return add_action(rule, optarg);
	case 'p':
		if (parse_number(optarg, INT32_MIN, INT32_MAX, &number))
			return fail(EXIT_USAGE,
				    "rule: --priority needs a number, not '%s'",
				    optarg);
		rule->priority = number;
		return 0;
	case 'l':
		if (!strcmp(optarg, "forward"))
			rule->layer = XDV_LAYER_FORWARD;
		else if (!strcmp(optarg, "receive"))
			rule->layer = XDV_LAYER_RECEIVE;
		if (rule->layer)
			return 0;
		return fail(EXIT_USAGE,
			    "rule: layer '%s' is not one of forward, receive",
			    optarg);
	}
	return EXIT_USAGE;
}

static int parse_rule(int argc, char **argv, struct xdv_rule *rule)
{
	static const struct option options[] = {
		{"filter", required_argument, NULL, 'f'},
		{"iif", required_argument, NULL, 'i'},
		{"oif", required_argument, NULL, 'o'},
		{"to", required_argument, NULL, 't'},
		{"do", required_argument, NULL, 'd'},
		{"priority", required_argument, NULL, 'p'},
		{"layer", required_argument, NULL, 'l'},
		{NULL, 0, NULL, 0},
	};
	int c, rc;

	*rule = (struct xdv_rule){.priority = DEFAULT_PRIORITY};
	argv[0] = "xdivert: rule add";
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		rc = parse_option(rule, c);
		if (rc)
			return rc;
	}
	if (optind + 1 != argc)
		return fail(
			EXIT_USAGE,
			optind < argc
				? "rule add: give the rule one name; '%s' is "
				  "one word too many (is something not quoted?)"
				: "rule add: give the rule one name",
			argv[argc - 1]);
	if (!*rule->filter)
		return fail(EXIT_USAGE, "rule add: --filter is missing");
	return copy(rule->name, sizeof(rule->name), argv[optind], "the name");
}

static int add(int argc, char **argv)
{
	struct xdv_rule rule;
	struct xdivert *x;
	int rc = parse_rule(argc, argv, &rule);

	rc = rc ? rc : open_state(&x, true);
	if (rc)
		return rc;
	if (xdivert_rule_add(x, &rule))
		rc = fail(1, "rule %s: %s", rule.name, xdivert_error());
	xdivert_close(x);
	return rc;
}

static cJSON *rule_json(const struct xdv_rule *r)
{
	cJSON *o = cJSON_CreateObject(), *actions;
	char text[sizeof(r->actions)], *line, *rest = text;

	memcpy(text, r->actions, sizeof(text));
	cJSON_AddStringToObject(o, "name", r->name);
	cJSON_AddNumberToObject(o, "id", r->id);
	cJSON_AddNumberToObject(o, "priority", r->priority);
	cJSON_AddStringToObject(o, "layer",
				r->layer == XDV_LAYER_RECEIVE ? "receive"
							      : "forward");
	cJSON_AddStringToObject(o, "filter", r->filter);
	cJSON_AddStringToObject(o, "iif", r->iif);
	cJSON_AddStringToObject(o, "oif", r->oif);
	cJSON_AddStringToObject(o, "to", r->to);
	actions = cJSON_AddArrayToObject(o, "do");
	while ((line = strsep(&rest, "\n")))
		if (*line)
			cJSON_AddItemToArray(actions, cJSON_CreateString(line));
	return o;
}

static void print_rule(const struct xdv_rule *r)
{
	char text[sizeof(r->actions)], *line, *rest = text;

	memcpy(text, r->actions, sizeof(text));
	printf("%s --priority %d --filter '%s'", r->name, r->priority,
	       r->filter);
	if (r->layer == XDV_LAYER_RECEIVE)
		printf(" --layer receive");
	if (*r->iif)
		printf(" --iif %s", r->iif);
	if (*r->oif)
		printf(" --oif %s", r->oif);
	if (*r->to)
		printf(" --to %s", r->to);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			printf(" --do \"%s\"", line);
	puts("");
}

static void print_rules(const struct xdv_rule *rules, int n, bool json)
{
	cJSON *array;
	int i;

	if (!json) {
		for (i = 0; i < n; i++)
			print_rule(&rules[i]);
		return;
	}
	array = cJSON_CreateArray();
	for (i = 0; i < n; i++)
		cJSON_AddItemToArray(array, rule_json(&rules[i]));
	print_json(array);
}

static int list(int argc, char **argv)
{
	struct xdv_rule *rules;
	struct xdivert *x;
	bool json;
	int rc, n;

	argv[0] = "rule list";
	rc = parse_json(argc, argv, &json);
	rc = rc ? rc : open_state(&x, false);
	if (rc)
		return rc;
	n = xdivert_rules(x, &rules);
	if (n < 0) {
		rc = fail(1, "cannot read the rules: %s", strerror(-n));
	} else {
		print_rules(rules, n, json);
		free(rules);
	}
	xdivert_close(x);
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

int cmd_rule(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} verbs[] = {
		{"add", add},
		{"list", list},
		{"del", del},
		{"flush", flush},
	};
	size_t i;

	for (i = 0; argc > 1 && i < sizeof(verbs) / sizeof(*verbs); i++)
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].run(argc - 1, argv + 1);
	return fail(EXIT_USAGE,
		    "rule: expected add NAME ..., list, del NAME or flush");
}
