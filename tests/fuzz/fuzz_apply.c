// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any text as rules: an error says where, and what is read can be written and
 * read again as the same.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xdivert.h>

#define CHECK(c)                                                               \
	do {                                                                   \
		if (!(c))                                                      \
			abort();                                               \
	} while (0)

/* libpcap would ask the network about names. */
int getaddrinfo(const char *name, const char *service,
		const struct addrinfo *hints, struct addrinfo **list)
{
	(void)name;
	(void)service;
	(void)hints;
	(void)list;
	return EAI_NONAME;
}

static void check_error(const char *error)
{
	int line, column;

	if (!strcmp(error, "out of memory"))
		return;
	CHECK(sscanf(error, "text:%d:%d: ", &line, &column) == 2);
	CHECK(line > 0 && column > 0);
}

static void check_again(const struct xdv_rule *rule)
{
	char text[8 * XDV_TEXT_LEN];
	struct xdv_rule *again;

	CHECK(xdivert_rule_format(rule, text, sizeof(text)) <
	      (int)sizeof(text));
	CHECK(xdivert_rules_parse(text, "text", XDIVERT_RULES_OFFLINE,
				  &again) == 1);
	CHECK(!memcmp(again, rule, sizeof(*rule)));
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct xdv_rule *rules;
	char *text;
	int i, n;

	if (size > 4096)
		return 0;
	text = malloc(size + 1);
	memcpy(text, input, size);
	text[size] = 0;
	n = xdivert_rules_parse(text, "text", XDIVERT_RULES_OFFLINE, &rules);
	free(text);
	if (n < 0) {
		check_error(xdivert_error());
		return 0;
	}
	for (i = 0; i < n; i++)
		check_again(&rules[i]);
	free(rules);
	return 0;
}
