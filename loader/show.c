// SPDX-License-Identifier: BSD-2-Clause
/* What several commands print, and how they open the state. */
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cmd.h"

int open_state(struct xdivert **x, bool create)
{
	struct xdivert_open_opts opts = {
		.sz = sizeof(opts), .pin_dir = pin_dir, .create = create};

	return xdivert_open(x, &opts) ? fail(1, "%s", xdivert_error()) : 0;
}

static char *read_all(FILE *file)
{
	size_t used = 0, room = 0, n;
	char *text = NULL, *more;

	do {
		if (room - used < 2) {
			room = room ? 2 * room : 4096;
			more = realloc(text, room);
			if (!more) {
				free(text);
				return NULL;
			}
			text = more;
		}
		n = fread(text + used, 1, room - used - 1, file);
		used += n;
	} while (n);
	text[used] = 0;
	return text;
}

char *read_file(const char *path)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char *text;

	if (!file)
		return NULL;
	text = read_all(file);
	if (text && ferror(file)) {
		free(text);
		text = NULL;
	}
	if (file != stdin)
		fclose(file);
	return text;
}

int read_rules(const char *path, unsigned int flags, struct xdv_rule **rules)
{
	char *text = read_file(path);
	int n;

	if (!text) {
		fail(1, "%s: %s", path, strerror(errno));
		return -1;
	}
	n = xdivert_rules_parse(text, path, flags, rules);
	free(text);
	if (n >= 0)
		return n;
	fail(1, "%s", xdivert_error());
	return -1;
}

int parse_number(const char *text, long min, long max, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, 10);
	return !*text || *end || errno || *value < min || *value > max ? -1 : 0;
}

int parse_json(int argc, char **argv, bool *json)
{
	*json = argc == 2 && !strcmp(argv[1], "--json");
	if (argc > 1 && !*json)
		return fail(EXIT_USAGE, "%s: '%s' is not an option", argv[0],
			    argv[1]);
	return 0;
}

static int end = -1;

static void tell_end(int signal)
{
	const uint64_t one = 1;
	int saved = errno;

	(void)signal;
	if (write(end, &one, sizeof(one)) < 0)
		errno = saved; /* it was told before */
}

int end_fd(void)
{
	/* Neither reads nor what is printed fail for it. */
	const struct sigaction action = {.sa_handler = tell_end,
					 .sa_flags = SA_RESTART | SA_RESETHAND};

	end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (end >= 0) {
		sigaction(SIGINT, &action, NULL);
		sigaction(SIGTERM, &action, NULL);
	}
	return end;
}

static void print_and_free(cJSON *o, char *text)
{
	puts(text ? text : "");
	free(text);
	cJSON_Delete(o);
}

void print_json(cJSON *o)
{
	print_and_free(o, cJSON_Print(o));
}

void print_json_line(cJSON *o)
{
	print_and_free(o, cJSON_PrintUnformatted(o));
}

const char *ifname_of(uint32_t ifindex, char *name)
{
	if (!if_indextoname(ifindex, name))
		snprintf(name, IF_NAMESIZE, "if%u", ifindex);
	return name;
}

const char *target_of(const struct xdv_completion *c, char *name)
{
	if (!c->compartment)
		return ifname_of(c->ifindex, name);
	/* What its name is there, is not known here. */
	snprintf(name, TARGET_LEN, "if%u@%u", c->ifindex, c->compartment);
	return name;
}

static void print_line(const struct xdv_completion *c, const char *ifname)
{
	cJSON *o = cJSON_CreateObject();
	char context[24];

	cJSON_AddNumberToObject(o, "id", c->id);
	/* All 64 bits: a number of cJSON's has 53. */
	snprintf(context, sizeof(context), "%llu",
		 (unsigned long long)c->context);
	cJSON_AddRawToObject(o, "context", context);
	cJSON_AddNumberToObject(o, "ifindex", c->ifindex);
	cJSON_AddStringToObject(o, "ifname", ifname);
	cJSON_AddNumberToObject(o, "status", c->status);
	cJSON_AddStringToObject(
		o, "error", c->status ? xdivert_status_text(c->status) : "");
	cJSON_AddStringToObject(o, "reason", xdivert_reason_name(c->reason));
	cJSON_AddStringToObject(o, "engine", xdivert_engine_name(c->engine));
	cJSON_AddNumberToObject(o, "len", c->len);
	cJSON_AddNumberToObject(o, "latency_ns", c->completed - c->submitted);
	print_json_line(o);
}

void print_completion(const struct xdv_completion *c, bool json)
{
	char name[TARGET_LEN];

	target_of(c, name);
	if (json) {
		print_line(c, name);
		return;
	}
	printf("%llu\t%s\t%u bytes\t%s\t%s\t%s\t%llu ns",
	       (unsigned long long)c->id, name, c->len,
	       xdivert_engine_name(c->engine), xdivert_status_text(c->status),
	       xdivert_reason_name(c->reason),
	       (unsigned long long)(c->completed - c->submitted));
	if (c->context)
		printf("\tcontext %llu", (unsigned long long)c->context);
	putchar('\n');
}
