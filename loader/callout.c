// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "callout.h"
#include "error.h"

#define WORDS_MAX 16

struct xdivert_callout {
	const struct callout_type *type;
	void *state;
};

static const struct callout_type *const types[] = {
	&callout_set,  &callout_replace, &callout_flow,
	&callout_drop, &callout_pass,
};
#define TYPES (sizeof(types) / sizeof(*types))

/* Take one shell-like word from *text into *out; false if a quote is open. */
static int take_word(const char **text, char **out)
{
	const char *p = *text;
	char quote = 0;

	for (; *p && (quote || !isspace((unsigned char)*p)); p++) {
		if (quote && *p == quote)
			quote = 0;
		else if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		else
			*(*out)++ = *p;
	}
	*(*out)++ = 0;
	*text = p;
	return quote ? -EINVAL : 0;
}

/* Split text into words that live in buffer; how many, or -EINVAL. */
static int split(const char *text, char *buffer, char **word)
{
	int n = 0;

	for (;;) {
		while (isspace((unsigned char)*text))
			text++;
		if (!*text)
			return n;
		if (n == WORDS_MAX)
			return -EINVAL;
		word[n++] = buffer;
		if (take_word(&text, &buffer))
			return -EINVAL;
	}
}

static const struct callout_type *find(const char *name)
{
	size_t i;

	for (i = 0; i < TYPES; i++)
		if (!strcmp(types[i]->name, name))
			return types[i];
	return NULL;
}

static int parse_words(int n, char **word, struct xdivert_callout *c)
{
	if (n < 1) {
		return error_set(-EINVAL,
				 "a callout is empty or a quote is open");
	}
	c->type = find(word[0]);
	if (!c->type) {
		error_set(-EINVAL,
			  "no callout '%s'; there are set, replace, flow, "
			  "drop, pass",
			  word[0]);
		return -EINVAL;
	}
	return c->type->parse(n, word, &c->state);
}

int xdivert_callout_parse(const char *text, struct xdivert_callout **callout)
{
	char *buffer = malloc(2 * strlen(text) + 2), *word[WORDS_MAX];
	struct xdivert_callout *c = calloc(1, sizeof(*c));
	int rc = -ENOMEM;

	if (buffer && c)
		rc = parse_words(split(text, buffer, word), word, c);
	free(buffer);
	if (rc)
		free(c);
	else
		*callout = c;
	return rc;
}

enum xdivert_verdict xdivert_callout_run(const struct xdivert_callout *callout,
					 struct xdivert_packet *p)
{
	return callout->type->run(callout->state, p);
}

void xdivert_callout_free(struct xdivert_callout *callout)
{
	if (!callout)
		return;
	if (callout->type->free)
		callout->type->free(callout->state);
	free(callout);
}
