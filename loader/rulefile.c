// SPDX-License-Identifier: BSD-2-Clause
/*
 * Rules as text: NAME and options, the same words on the command line and in
 * a file, one table for both.
 */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "addrset.h"
#include "error.h"
#include "filter.h"
#include "ruleset.h"
#include "words.h"

#define DEFAULT_PRIORITY 100

/* Where the words come from. */
struct source {
	const char *file; /* NULL: the command line */
	int line;
	bool checked; /* what they name must exist and be sound */
	unsigned int flags;
};

struct option {
	const char *name;
	const char *wants; /* NULL: no value */
	/* -EINVAL after error_set() */
	int (*set)(struct xdv_rule *rule, const struct option *o,
		   const char *value);
	int (*check)(const struct source *s, const char *value);
	size_t offset, size; /* of what copy() fills */
};

static int copy(struct xdv_rule *rule, const struct option *o,
		const char *value)
{
	char *to = (char *)rule + o->offset;

	if (strlen(value) >= o->size)
		return error_set(-EINVAL, "%s %.20s... is too long", o->name,
				 value);
	strcpy(to, value);
	return 0;
}

/* An empty interface would be every one; a file has a rule a line. */
static int copy_word(struct xdv_rule *rule, const struct option *o,
		     const char *value)
{
	if (!*value || strchr(value, '\n'))
		return error_set(-EINVAL, "expected %s after %s, not '%s'",
				 o->wants, o->name, value);
	return copy(rule, o, value);
}

/* The daemon, which reads it again, is at home elsewhere. */
static int copy_path(struct xdv_rule *rule, const struct option *o,
		     const char *value)
{
	char cwd[PATH_MAX], path[PATH_MAX];

	if (!*value || *value == '/' || !getcwd(cwd, sizeof(cwd)))
		return copy_word(rule, o, value);
	if (snprintf(path, sizeof(path), "%s/%s", cwd, value) >=
	    (int)sizeof(path))
		return error_set(-EINVAL, "%s is too long", o->name);
	return copy_word(rule, o, path);
}

static int add_action(struct xdv_rule *rule, const struct option *o,
		      const char *value)
{
	size_t used = strlen(rule->actions);

	if (strchr(value, '\n') || !*value)
		return error_set(-EINVAL, "expected one line after %s",
				 o->name);
	if (used + strlen(value) + 2 > sizeof(rule->actions))
		return error_set(-EINVAL, "the callouts are too long");
	sprintf(rule->actions + used, "%s\n", value);
	return 0;
}

static int set_priority(struct xdv_rule *rule, const struct option *o,
			const char *value)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (!*value || *end || errno || n < INT32_MIN || n > INT32_MAX)
		return error_set(-EINVAL, "expected %s after %s, not '%s'",
				 o->wants, o->name, value);
	rule->priority = n;
	return 0;
}

static int set_layer(struct xdv_rule *rule, const struct option *o,
		     const char *value)
{
	unsigned int layer;

	for (layer = XDV_LAYER_FORWARD; layer < XDV_LAYERS; layer++) {
		if (strcmp(value, xdivert_layer_name(layer)))
			continue;
		rule->layer = layer;
		return 0;
	}
	return error_set(-EINVAL, "expected %s after %s, not '%s'", o->wants,
			 o->name, value);
}

static int set_fragment(struct xdv_rule *rule, const struct option *o,
			const char *value)
{
	if (!strcmp(value, "yes"))
		rule->fragment = XDV_FRAGMENT_ONLY;
	else if (!strcmp(value, "no"))
		rule->fragment = XDV_FRAGMENT_NONE;
	else if (!strcmp(value, "whole"))
		rule->fragment = XDV_FRAGMENT_WHOLE;
	else
		return error_set(-EINVAL, "expected %s after %s, not '%s'",
				 o->wants, o->name, value);
	return 0;
}

static int set_switch(__u32 *to, const struct option *o, const char *value)
{
	if (value)
		return error_set(-EINVAL,
				 "expected no value after %s, not '%s'",
				 o->name, value);
	*to = 1;
	return 0;
}

static int set_via_stack(struct xdv_rule *rule, const struct option *o,
			 const char *value)
{
	return set_switch(&rule->via_stack, o, value);
}

static int set_returned(struct xdv_rule *rule, const struct option *o,
			const char *value)
{
	return set_switch(&rule->returned, o, value);
}

static int check_filter(const struct source *s, const char *value)
{
	struct bpf_program classic;
	int rc = filter_compile(value, DLT_EN10MB, &classic);

	(void)s;
	if (rc)
		return rc;
	pcap_freecode(&classic);
	return 0;
}

static int check_interface(const struct source *s, const char *value)
{
	uint32_t ifindex;

	return s->flags & XDIVERT_RULES_OFFLINE
		       ? 0
		       : ruleset_resolve(value, &ifindex);
}

static int check_target(const struct source *s, const char *value)
{
	uint32_t compartment, ifindex;

	return s->flags & XDIVERT_RULES_OFFLINE
		       ? 0
		       : xdivert_interface_find(value, &compartment, &ifindex);
}

static int check_action(const struct source *s, const char *value)
{
	struct xdivert_callout *callout;
	int rc = xdivert_callout_parse(value, &callout);

	(void)s;
	if (!rc)
		xdivert_callout_free(callout);
	return rc;
}

static int check_set(const struct source *s, const char *value)
{
	struct addrset set;
	int rc = addrset_read(value, &set);

	(void)s;
	if (!rc)
		addrset_free(&set);
	return rc;
}

#define FIELD(name)                                                            \
	.offset = offsetof(struct xdv_rule, name),                             \
	.size = sizeof(((struct xdv_rule *)0)->name)

static const struct option options[] = {
	{"--filter", "an expression of pcap-filter(7)", copy, check_filter,
	 FIELD(filter)},
	{"--iif", "an interface", copy_word, check_interface, FIELD(iif)},
	{"--oif", "an interface", copy_word, check_interface, FIELD(oif)},
	{"--to", "an interface", copy_word, check_target, FIELD(to)},
	{"--do", "a callout and its arguments as one word", add_action,
	 check_action, 0, 0},
	{"--priority", "a number", set_priority, NULL, 0, 0},
	{"--layer", "forward or receive or group", set_layer, NULL, 0, 0},
	{"--fragment", "yes or no or whole", set_fragment, NULL, 0, 0},
	{"--src-set", "a file of prefixes", copy_path, check_set,
	 FIELD(src_set)},
	{"--dst-set", "a file of prefixes", copy_path, check_set,
	 FIELD(dst_set)},
	{"--via-stack", NULL, set_via_stack, NULL, 0, 0},
	{"--returned", NULL, set_returned, NULL, 0, 0},
};
#define OPTIONS (int)(sizeof(options) / sizeof(*options))

/* A problem with word n of the rule (n may be one past the last). */
static int located(const struct source *s, const struct word *word, int n,
		   int at)
{
	char text[400];
	int column;

	if (!s->file)
		return -EINVAL;
	snprintf(text, sizeof(text), "%s", xdivert_error());
	column = at < n ? word[at].column
		 : n	? word[n - 1].column + (int)strlen(word[n - 1].text)
			: 1;
	return error_set(-EINVAL, "%s:%d:%d: %s", s->file, s->line, column,
			 text);
}

/* The option that a word names, and what it has behind '='. */
static const struct option *find_option(const char *word, const char **value)
{
	size_t len = strcspn(word, "=");
	int i;

	*value = word[len] ? word + len + 1 : NULL;
	for (i = 0; i < OPTIONS; i++)
		if (strlen(options[i].name) == len &&
		    !strncmp(options[i].name, word, len))
			return &options[i];
	return NULL;
}

static int unknown(const char *word)
{
	char names[200];
	size_t used = 0;
	int i;

	for (i = 0; i < OPTIONS; i++)
		used += snprintf(names + used, sizeof(names) - used, "%s%s",
				 i + 1 == OPTIONS ? " or "
				 : i		  ? ", "
						  : "",
				 options[i].name);
	return error_set(-EINVAL, "expected %s, not '%s'", names, word);
}

static int set_name(struct xdv_rule *rule, const char *word)
{
	if (*rule->name)
		return error_set(-EINVAL,
				 "expected one name, not '%s' too (is "
				 "something not quoted?)",
				 word);
	if (strlen(word) >= sizeof(rule->name))
		return error_set(-EINVAL,
				 "the name is too long: expected at most %zu "
				 "bytes",
				 sizeof(rule->name) - 1);
	strcpy(rule->name, word);
	return 0;
}

/* What a value names must be there, and sound. */
static int check_value(const struct source *s, const struct option *o,
		       const char *value)
{
	char text[400];

	if (!s->checked || !o->check || !o->check(s, value))
		return 0;
	snprintf(text, sizeof(text), "%s", xdivert_error());
	return error_set(-EINVAL, "expected %s after %s: %s", o->wants, o->name,
			 text);
}

/* Take the option at word i; how many words it has, or -EINVAL and *at. */
static int take_option(const struct source *s, const struct word *word, int n,
		       int i, struct xdv_rule *rule, unsigned int *given,
		       int *at)
{
	const char *value;
	const struct option *o = find_option(word[i].text, &value);
	int used, rc;

	*at = i;
	if (!o)
		return unknown(word[i].text);
	if (*given & 1u << (o - options) && o->set != add_action)
		return error_set(-EINVAL, "expected %s only once", o->name);
	*given |= 1u << (o - options);
	used = value || !o->wants ? 1 : 2;
	if (used == 2 && i + 1 == n) {
		*at = n;
		return error_set(-EINVAL, "expected %s after %s", o->wants,
				 o->name);
	}
	*at = i + used - 1;
	value = used == 2 ? word[i + 1].text : value;
	rc = o->set(rule, o, value);
	rc = rc ? rc : check_value(s, o, value);
	return rc ? rc : used;
}

/* Sets may do without a filter. */
static bool complete(const struct xdv_rule *rule, unsigned int given)
{
	return given & 1 || *rule->src_set || *rule->dst_set;
}

static int parse(const struct source *s, const struct word *word, int n,
		 struct xdv_rule *rule)
{
	unsigned int given = 0;
	int i = 0, at, used;

	*rule = (struct xdv_rule){.priority = DEFAULT_PRIORITY,
				  .layer = XDV_LAYER_FORWARD};
	while (i < n) {
		at = i;
		used = strncmp(word[i].text, "--", 2)
			       ? (set_name(rule, word[i].text) ?: 1)
			       : take_option(s, word, n, i, rule, &given, &at);
		if (used < 0)
			return located(s, word, n, at);
		i += used;
	}
	if (!*rule->name) {
		error_set(-EINVAL, "expected one name of the rule");
		return located(s, word, n, 0);
	}
	if (s->checked && rule_check_name(rule->name))
		return located(s, word, n, 0);
	if (rule->via_stack && rule->layer != XDV_LAYER_FORWARD) {
		error_set(-EINVAL, "expected --layer forward with --via-stack");
		return located(s, word, n, n);
	}
	if (!complete(rule, given)) {
		error_set(-EINVAL, "expected --filter and an expression");
		return located(s, word, n, n);
	}
	return 0;
}

int xdivert_rule_parse(int argc, char **argv, struct xdv_rule *rule)
{
	struct source source = {.file = NULL};
	struct word word[WORDS_MAX];
	int i;

	if (argc > WORDS_MAX)
		return error_set(-EINVAL, "expected at most %d words",
				 WORDS_MAX);
	for (i = 0; i < argc; i++)
		word[i] = (struct word){argv[i], 0};
	return parse(&source, word, argc, rule);
}

/* ---- files ---- */

struct list {
	struct xdv_rule *rules;
	int *line; /* of each */
	int n, room;
};

static int grow(struct list *l)
{
	struct xdv_rule *rules;
	int room = l->room ? 2 * l->room : 16, *line;

	if (l->n < l->room)
		return 0;
	rules = realloc(l->rules, room * sizeof(*rules));
	if (rules)
		l->rules = rules;
	line = realloc(l->line, room * sizeof(*line));
	if (line)
		l->line = line;
	if (!rules || !line)
		return error_set(-ENOMEM, "out of memory");
	l->room = room;
	return 0;
}

static int check_unique(const struct source *s, const struct list *l,
			const struct word *word, int n)
{
	const struct xdv_rule *rule = &l->rules[l->n];
	int i, at;

	for (i = 0; i < l->n && strcmp(l->rules[i].name, rule->name); i++)
		;
	if (i == l->n)
		return 0;
	for (at = 0; at < n && strcmp(word[at].text, rule->name); at++)
		;
	error_set(-EINVAL, "expected another name: rule '%s' stands in line %d",
		  rule->name, l->line[i]);
	return located(s, word, n, at);
}

/* "rule add" may stand in front, as on the command line. */
static int skip_command(const struct word *word, int n)
{
	return n > 2 && !strcmp(word[0].text, "rule") &&
	       !strcmp(word[1].text, "add");
}

static int parse_line(const struct source *s, const char *line, size_t len,
		      char *buffer, struct list *l)
{
	struct word words[WORDS_MAX], *word = words;
	int n, rc;

	n = words_split(line, len, buffer, words);
	if (n < 0)
		return located(s, words, 1, 0);
	if (!n)
		return 0;
	if (skip_command(word, n)) {
		word += 2;
		n -= 2;
	}
	rc = grow(l);
	rc = rc ? rc : parse(s, word, n, &l->rules[l->n]);
	rc = rc ? rc : check_unique(s, l, word, n);
	if (rc)
		return rc;
	l->line[l->n++] = s->line;
	return 0;
}

int xdivert_rules_parse(const char *text, const char *file, unsigned int flags,
			struct xdv_rule **list)
{
	struct source source = {file, 0, true, flags};
	char *buffer = malloc(strlen(text) + 1);
	struct list l = {.n = 0};
	int rc = buffer ? grow(&l) : error_set(-ENOMEM, "out of memory");
	size_t len;

	while (!rc && *text) {
		len = strcspn(text, "\n");
		source.line++;
		rc = parse_line(&source, text, len, buffer, &l);
		text += len + (text[len] == '\n');
	}
	free(buffer);
	free(l.line);
	if (rc) {
		free(l.rules);
		return rc;
	}
	*list = l.rules;
	return l.n;
}

/* Quotes are for the few names that need them. */
static int print_interface(char *to, size_t size, const char *option,
			   const char *value)
{
	char quoted[4 * XDV_NAME_LEN + 3];

	word_quote(quoted, sizeof(quoted), value);
	return *value ? snprintf(to, size, " %s %s", option,
				 strpbrk(value, " \t\r\v\f'\"\\#") ? quoted
								   : value)
		      : 0;
}

static int print_text(char *to, size_t size, const char *option,
		      const char *value)
{
	char quoted[4 * XDV_TEXT_LEN + 3];

	word_quote(quoted, sizeof(quoted), value);
	return *value ? snprintf(to, size, " %s %s", option, quoted) : 0;
}

int xdivert_rule_format(const struct xdv_rule *rule, char *text, size_t size)
{
	char actions[sizeof(rule->actions)], *line, *rest = actions;
	int n;

	memcpy(actions, rule->actions, sizeof(actions));
	n = snprintf(text, size, "%s --priority %d", rule->name,
		     rule->priority);
#define LEFT n < (int)size ? text + n : text, n < (int)size ? size - n : 0
	if (!*rule->filter)
		n += snprintf(LEFT, " --filter ''");
	n += print_text(LEFT, "--filter", rule->filter);
	if (rule->layer > XDV_LAYER_FORWARD)
		n += snprintf(LEFT, " --layer %s",
			      xdivert_layer_name(rule->layer));
	if (rule->fragment)
		n += snprintf(LEFT, " --fragment %s",
			      rule->fragment == XDV_FRAGMENT_ONLY   ? "yes"
			      : rule->fragment == XDV_FRAGMENT_NONE ? "no"
								    : "whole");
	n += print_interface(LEFT, "--iif", rule->iif);
	n += print_interface(LEFT, "--oif", rule->oif);
	n += print_interface(LEFT, "--to", rule->to);
	n += print_text(LEFT, "--src-set", rule->src_set);
	n += print_text(LEFT, "--dst-set", rule->dst_set);
	if (rule->via_stack)
		n += snprintf(LEFT, " --via-stack");
	if (rule->returned)
		n += snprintf(LEFT, " --returned");
	while ((line = strsep(&rest, "\n")))
		n += print_text(LEFT, "--do", line);
#undef LEFT
	return n;
}
