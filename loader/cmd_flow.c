// SPDX-License-Identifier: BSD-2-Clause
/* The flows that callouts have decided. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmd.h"

static const char *protocol_name(const struct xdivert_flow *f)
{
	return f->key.protocol == IPPROTO_TCP ? "tcp" : "udp";
}

static const char *verdict_name(const struct xdivert_flow *f)
{
	return f->flow.verdict == XDV_FLOW_DROP ? "drop" : "pass";
}

static const char *rule_name(const struct xdv_rule *rules, int n, uint32_t id)
{
	int i;

	for (i = 0; i < n; i++)
		if (rules[i].id == id)
			return rules[i].name;
	return "";
}

static void address(const struct xdivert_flow *f, int end, char *text)
{
	inet_ntop(f->key.family, f->key.address[end], text, INET6_ADDRSTRLEN);
}

static void print_flow(const struct xdivert_flow *f, const char *rule)
{
	char text[INET6_ADDRSTRLEN];
	int end;

	printf("%s", protocol_name(f));
	for (end = 0; end < 2; end++) {
		address(f, end, text);
		printf(f->key.family == AF_INET6 ? "\t[%s]:%u" : "\t%s:%u",
		       text, ntohs(f->key.port[end]));
	}
	printf("\t%s", verdict_name(f));
	if (f->flow.after)
		printf(" after %llu (%llu seen)",
		       (unsigned long long)f->flow.after,
		       (unsigned long long)f->flow.seen);
	printf("\tpackets %llu + %llu, bytes %llu + %llu\tidle %.1f of %llu s"
	       "\trule %s\n",
	       (unsigned long long)f->flow.packets[0],
	       (unsigned long long)f->flow.packets[1],
	       (unsigned long long)f->flow.bytes[0],
	       (unsigned long long)f->flow.bytes[1], f->idle / 1e9,
	       (unsigned long long)f->flow.timeout / 1000000000, rule);
}

static void add_end(cJSON *array, const struct xdivert_flow *f, int end)
{
	cJSON *o = cJSON_CreateObject();
	char text[INET6_ADDRSTRLEN];

	address(f, end, text);
	cJSON_AddStringToObject(o, "address", text);
	cJSON_AddNumberToObject(o, "port", ntohs(f->key.port[end]));
	/* What this end sent. */
	cJSON_AddNumberToObject(o, "packets", f->flow.packets[end]);
	cJSON_AddNumberToObject(o, "bytes", f->flow.bytes[end]);
	cJSON_AddItemToArray(array, o);
}

static cJSON *flow_json(const struct xdivert_flow *f, const char *rule)
{
	cJSON *o = cJSON_CreateObject(), *ends;

	cJSON_AddStringToObject(o, "protocol", protocol_name(f));
	ends = cJSON_AddArrayToObject(o, "ends");
	add_end(ends, f, 0);
	add_end(ends, f, 1);
	cJSON_AddStringToObject(o, "verdict", verdict_name(f));
	cJSON_AddNumberToObject(o, "after", f->flow.after);
	cJSON_AddNumberToObject(o, "seen", f->flow.seen);
	cJSON_AddNumberToObject(o, "idle_ns", f->idle);
	cJSON_AddNumberToObject(o, "timeout_ns", f->flow.timeout);
	cJSON_AddStringToObject(o, "rule", rule);
	return o;
}

static void print_flows(struct xdivert *x, const struct xdivert_flow *flows,
			int n, bool json)
{
	cJSON *array = json ? cJSON_CreateArray() : NULL;
	struct xdv_rule *rules = NULL;
	int rule_count = xdivert_rules(x, &rules), i;
	const char *rule;

	for (i = 0; i < n; i++) {
		rule = rule_name(rules, rule_count, flows[i].flow.rule);
		if (json)
			cJSON_AddItemToArray(array, flow_json(&flows[i], rule));
		else
			print_flow(&flows[i], rule);
	}
	if (json)
		print_json(array);
	if (rule_count >= 0)
		free(rules);
}

static int list(int argc, char **argv)
{
	struct xdivert_flow *flows;
	struct xdivert *x;
	bool json;
	int rc, n;

	argv[0] = "flow list";
	rc = parse_json(argc, argv, &json);
	rc = rc ? rc : open_state(&x, false);
	if (rc)
		return rc;
	n = xdivert_flows(x, &flows);
	if (n < 0)
		rc = fail(1, "%s", xdivert_error());
	else
		print_flows(x, flows, n, json);
	free(flows);
	xdivert_close(x);
	return rc;
}

static int flush(int argc, char **argv)
{
	struct xdivert *x;
	int rc;

	if (argc != 1)
		return fail(EXIT_USAGE, "flow flush: '%s' is not an option",
			    argv[1]);
	rc = open_state(&x, false);
	if (rc)
		return rc;
	xdivert_flow_flush(x);
	xdivert_close(x);
	return 0;
}

static int limit(int argc, char **argv)
{
	struct xdivert *x;
	long n;
	int rc;

	if (argc != 2 || parse_number(argv[1], 1, 1 << 24, &n))
		return fail(EXIT_USAGE,
			    "flow limit: expected one number, 1 to %d",
			    1 << 24);
	rc = open_state(&x, false);
	if (rc)
		return rc;
	if (xdivert_flow_limit(x, n))
		rc = fail(1, "%s", xdivert_error());
	xdivert_close(x);
	return rc;
}

int cmd_flow(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "list"))
		return list(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "flush"))
		return flush(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "limit"))
		return limit(argc - 1, argv + 1);
	return fail(EXIT_USAGE, "flow: expected list, flush or limit N");
}
