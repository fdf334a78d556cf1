// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>

#include "error.h"
#include "words.h"

struct lexer {
	const char *line;
	size_t len, at;
	char *out;
};

static int peek(const struct lexer *l)
{
	return l->at < l->len ? (unsigned char)l->line[l->at] : -1;
}

static int is_space(int c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* What a backslash does not quote here stands for itself. */
static void take_escaped(struct lexer *l, char quote)
{
	l->at++;
	if (quote && peek(l) != '"' && peek(l) != '\\')
		*l->out++ = '\\';
	else if (l->at < l->len)
		*l->out++ = l->line[l->at++];
}

/* One word; the column of a quote that is not closed, or 0. */
static int take_word(struct lexer *l)
{
	size_t opened = 0;
	char quote = 0;
	int c;

	while ((c = peek(l)) >= 0 && (quote || !is_space(c))) {
		if (c == '\\' && quote != '\'') {
			take_escaped(l, quote);
			continue;
		}
		l->at++;
		if (quote && c == quote) {
			quote = 0;
		} else if (!quote && (c == '\'' || c == '"')) {
			quote = c;
			opened = l->at;
		} else {
			*l->out++ = c;
		}
	}
	*l->out++ = 0;
	return quote ? (int)opened : 0;
}

int words_split(const char *line, size_t len, char *buffer,
		struct word word[WORDS_MAX])
{
	struct lexer l = {.line = line, .len = len, .out = buffer};
	int n = 0, open;

	for (;;) {
		while (is_space(peek(&l)))
			l.at++;
		if (peek(&l) < 0 || peek(&l) == '#')
			return n;
		if (n == WORDS_MAX) {
			word[0].column = l.at + 1;
			return error_set(-EINVAL, "expected at most %d words",
					 WORDS_MAX);
		}
		word[n].text = l.out;
		word[n].column = l.at + 1;
		open = take_word(&l);
		if (open) {
			word[0].column = open;
			return error_set(-EINVAL,
					 "expected a quote that closes this "
					 "one");
		}
		n++;
	}
}

int word_quote(char *to, size_t size, const char *text)
{
	size_t n = 0;

#define PUT(c)                                                                 \
	do {                                                                   \
		if (n + 1 < size)                                              \
			to[n] = (c);                                           \
		n++;                                                           \
	} while (0)
	PUT('\'');
	for (; *text; text++) {
		if (*text == '\'') {
			PUT('\'');
			PUT('\\');
			PUT('\'');
		}
		PUT(*text == '\n' ? ' ' : *text);
	}
	PUT('\'');
#undef PUT
	if (size)
		to[n < size ? n : size - 1] = 0;
	return n;
}
