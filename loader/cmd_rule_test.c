// SPDX-License-Identifier: BSD-2-Clause
/* Which rule would each packet of a capture hit? */
#include <getopt.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmd.h"

struct test {
	const char *pcap, *rules_file;
	struct xdivert_where where;
	bool json;
	struct xdv_rule *rules;
	int n;
};

static int set_layer(struct test *t, const char *word)
{
	unsigned int layer;

	for (layer = XDV_LAYER_FORWARD; layer < XDV_LAYERS; layer++) {
		if (strcmp(word, xdivert_layer_name(layer)))
			continue;
		t->where.layer = layer;
		return 0;
	}
	return fail(EXIT_USAGE,
		    "rule test: expected forward or receive or group after "
		    "--layer, not '%s'",
		    word);
}

static int parse(int argc, char **argv, struct test *t)
{
	static const struct option options[] = {
		{"pcap", required_argument, NULL, 'p'},
		{"rules", required_argument, NULL, 'r'},
		{"iif", required_argument, NULL, 'i'},
		{"oif", required_argument, NULL, 'o'},
		{"layer", required_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	int c;

	argv[0] = "xdivert: rule test";
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p')
			t->pcap = optarg;
		else if (c == 'r')
			t->rules_file = optarg;
		else if (c == 'i')
			t->where.iif = optarg;
		else if (c == 'o')
			t->where.oif = optarg;
		else if (c == 'j')
			t->json = true;
		else if (c != 'l' || set_layer(t, optarg))
			return EXIT_USAGE;
	}
	if (optind < argc)
		return fail(EXIT_USAGE, "rule test: '%s' is not an option",
			    argv[optind]);
	if (!t->pcap)
		return fail(EXIT_USAGE,
			    "rule test: expected --pcap and a file");
	return 0;
}

/* Of the file, or those in force. */
static int load_rules(struct test *t)
{
	struct xdivert *x;
	int rc;

	if (t->rules_file) {
		t->n = read_rules(t->rules_file, XDIVERT_RULES_OFFLINE,
				  &t->rules);
		return t->n < 0;
	}
	rc = need_privileges("rule test without --rules");
	rc = rc ? rc : open_state(&x, false);
	if (rc)
		return rc;
	t->n = xdivert_rules(x, &t->rules);
	xdivert_close(x);
	return t->n < 0 ? fail(1, "cannot read the rules") : 0;
}

/* A rule that names an interface matches only if the test does. */
static void warn_about(const struct test *t)
{
	int i;

	for (i = 0; i < t->n; i++) {
		if (*t->rules[i].iif && !*t->where.iif)
			warn("rule %s: --iif %s: give the same to 'rule test' "
			     "if the packets came in there",
			     t->rules[i].name, t->rules[i].iif);
		if (*t->rules[i].oif && !*t->where.oif)
			warn("rule %s: --oif %s: give the same to 'rule test' "
			     "if the packets leave there",
			     t->rules[i].name, t->rules[i].oif);
	}
}

static void print_packet(const struct test *t, cJSON *array, long number,
			 int found)
{
	const char *name = found < 0 ? NULL : t->rules[found].name;
	cJSON *o;

	if (!array) {
		printf("%ld\t%s\n", number, name ? name : "-");
		return;
	}
	o = cJSON_CreateObject();
	cJSON_AddNumberToObject(o, "packet", number);
	if (name)
		cJSON_AddStringToObject(o, "rule", name);
	else
		cJSON_AddNullToObject(o, "rule");
	cJSON_AddItemToArray(array, o);
}

static int ask_all(const struct test *t, pcap_t *pcap,
		   const struct xdivert_matcher *m)
{
	cJSON *array = t->json ? cJSON_CreateArray() : NULL;
	struct pcap_pkthdr *header;
	const u_char *data;
	long number = 0;
	int rc;

	while ((rc = pcap_next_ex(pcap, &header, &data)) == 1)
		print_packet(t, array, ++number,
			     xdivert_matcher_find(m, &t->where, data,
						  header->caplen, header->len));
	if (array)
		print_json(array);
	return rc == PCAP_ERROR_BREAK ? 0
				      : fail(1, "%s: packet %ld: %s", t->pcap,
					     number + 1, pcap_geterr(pcap));
}

static int run(const struct test *t)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(t->pcap, error);
	struct xdivert_matcher *m;
	int rc;

	if (!pcap)
		return fail(1, "%s", error);
	if (xdivert_matcher_create(&m, t->rules, t->n, pcap_datalink(pcap))) {
		pcap_close(pcap);
		return fail(1, "%s", xdivert_error());
	}
	rc = ask_all(t, pcap, m);
	xdivert_matcher_free(m);
	pcap_close(pcap);
	return rc;
}

int cmd_rule_test(int argc, char **argv)
{
	struct test t = {
		.where = {"", "", XDV_LAYER_FORWARD},
	};
	int rc = parse(argc, argv, &t);

	rc = rc ? rc : load_rules(&t);
	if (rc)
		return rc;
	warn_about(&t);
	rc = run(&t);
	free(t.rules);
	return rc;
}
