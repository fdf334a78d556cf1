// SPDX-License-Identifier: BSD-2-Clause
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmd.h"
#include "ruleset.h"

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
	char *end;

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
		rule->priority = strtol(optarg, &end, 10);
		if (!*optarg || *end)
			return fail(EXIT_USAGE,
				    "rule: --priority needs a number, not '%s'",
				    optarg);
		return 0;
	case 'l':
		if (!strcmp(optarg, "forward"))
			return 0;
		return fail(EXIT_USAGE,
			    "rule: layer '%s' is not available; use forward",
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
		return fail(EXIT_USAGE, "rule add: give the rule one name");
	if (!*rule->filter)
		return fail(EXIT_USAGE, "rule add: --filter is missing");
	return copy(rule->name, sizeof(rule->name), argv[optind], "the name");
}

static int add(int argc, char **argv)
{
	struct xdv_rule rule;
	char err[512] = "";
	struct state s;
	int rc = parse_rule(argc, argv, &rule);

	rc = rc ? rc : open_state(&s, STATE_CREATE);
	if (rc)
		return rc;
	state_lock(&s);
	if (ruleset_add(&s, &rule, err, sizeof(err)))
		rc = fail(1, "rule %s: %s", rule.name, err);
	state_close(&s);
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

static int list(struct state *s, bool json)
{
	struct xdv_rule *rules;
	int i, n = ruleset_read(s, &rules);
	cJSON *array;
	char *text;

	if (n < 0)
		return fail(1, "cannot read the rules: %s", strerror(-n));
	array = cJSON_CreateArray();
	for (i = 0; i < n; i++) {
		if (json)
			cJSON_AddItemToArray(array, rule_json(&rules[i]));
		else
			print_rule(&rules[i]);
	}
	if (json) {
		text = cJSON_Print(array);
		puts(text);
		free(text);
	}
	cJSON_Delete(array);
	free(rules);
	return 0;
}

static int list_rules(int argc, char **argv)
{
	bool json = argc == 2 && !strcmp(argv[1], "--json");
	struct state s;
	int rc;

	if (argc > 1 && !json)
		return fail(EXIT_USAGE, "rule list: '%s' is not an option",
			    argv[1]);
	rc = open_state(&s, STATE_READ);
	if (rc)
		return rc;
	rc = list(&s, json);
	state_close(&s);
	return rc;
}

static int del(int argc, char **argv)
{
	char err[512] = "";
	struct state s;
	int rc;

	if (argc != 2)
		return fail(EXIT_USAGE, "rule del: name one rule");
	rc = open_state(&s, STATE_READ);
	if (rc)
		return rc;
	state_lock(&s);
	if (ruleset_del(&s, argv[1], err, sizeof(err)))
		rc = fail(1, "%s", err);
	state_close(&s);
	return rc;
}

static int flush(int argc, char **argv)
{
	char err[512] = "";
	struct state s;
	int rc;

	if (argc != 1)
		return fail(EXIT_USAGE, "rule flush: '%s' is not an option",
			    argv[1]);
	rc = open_state(&s, STATE_READ);
	if (rc)
		return rc;
	state_lock(&s);
	if (ruleset_flush(&s, err, sizeof(err)))
		rc = fail(1, "rule flush: %s", err);
	state_close(&s);
	return rc;
}

int cmd_rule(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} verbs[] = {
		{"add", add},
		{"list", list_rules},
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
