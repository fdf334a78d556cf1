/* SPDX-License-Identifier: BSD-2-Clause */
/* A line of a rule file as words: a shell's quotes, # begins a comment. */
#ifndef XDIVERT_WORDS_H
#define XDIVERT_WORDS_H

#include <stddef.h>

#define WORDS_MAX 64

struct word {
	char *text;
	int column; /* in bytes, from 1 */
};

/*
 * Split the line of len bytes into words, whose text lies in buffer (len + 1
 * bytes). How many; or -EINVAL after error_set(), and word[0].column says
 * where.
 */
int words_split(const char *line, size_t len, char *buffer,
		struct word word[WORDS_MAX]);

/* Write text as one word that the above reads, in quotes; the end of a line,
 * which no word can have, as a space. What snprintf() would return.
 */
int word_quote(char *to, size_t size, const char *text);

#endif
