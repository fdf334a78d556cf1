// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disasm.h"
#include "error.h"
#include "filter.h"
#include "paths.h"
#include "ruleset.h"

static void explain_rule(FILE *out, const struct xdv_rule *rule)
{
	char text[8 * XDV_TEXT_LEN];

	xdivert_rule_format(rule, text, sizeof(text));
	fprintf(out, "rule:\n    %s\n", text);
	fprintf(out, "expression:\n    %s\n",
		*rule->filter ? rule->filter : "(empty: every packet)");
}

static void explain_classic(FILE *out, const struct bpf_program *classic)
{
	unsigned int i;

	fprintf(out, "classic BPF (tcpdump -d):\n");
	for (i = 0; i < classic->bf_len; i++)
		fprintf(out, "    %s\n", bpf_image(&classic->bf_insns[i], i));
}

static void explain_test(FILE *out, const struct test *t)
{
	const struct load *l = &t->load;
	__u32 all = l->size == 4 ? 0xffffffff : (1u << 8 * l->size) - 1;

	if (l->base)
		fprintf(out, "[x + %u:%u]", l->offset, l->size);
	else
		fprintf(out, "[%u:%u]", l->offset, l->size);
	if (t->mask != all)
		fprintf(out, " & %#x", t->mask);
	fprintf(out, " = %#x", t->value);
}

static void explain_paths(FILE *out, const struct path *paths, int n)
{
	int i, j;

	fprintf(out,
		"looked up (if enough rules ask for the same bytes), by "
		"%d key%s:\n",
		n, n == 1 ? "" : "s");
	for (i = 0; i < n; i++) {
		fprintf(out, "    ");
		for (j = 0; j < paths[i].tests; j++) {
			if (j)
				fprintf(out, ", ");
			explain_test(out, &paths[i].test[j]);
		}
		fprintf(out, "\n");
	}
}

static void explain_lookup(FILE *out, const struct bpf_program *classic)
{
	struct path *paths;
	int n = paths_find(classic, &paths);

	if (n > 0 && paths[0].tests)
		explain_paths(out, paths, n);
	else
		fprintf(out, "looked up: no; it is run for each packet that "
			     "no earlier rule takes\n");
	if (n >= 0)
		free(paths);
}

static int explain_program(FILE *out, const struct bpf_program *classic)
{
	struct insns is = {0};
	char line[80];
	size_t i;
	int rc = filter_translate(classic, FILTER_XDP, &is);

	if (rc)
		return error_set(rc, "the filter is not supported here: %s",
				 strerror(-rc));
	fprintf(out, "eBPF (XDP; r6 ctx, r7 data, r8 data_end; r0 = 1 if it "
		     "matches):\n");
	for (i = 0; i < is.count; i++) {
		disasm(line, sizeof(line), &is.insn[i], i);
		fprintf(out, "    %4zu: %s\n", i, line);
	}
	insns_free(&is);
	return 0;
}

int xdivert_rule_explain(const struct xdv_rule *rule, char **text)
{
	struct bpf_program classic;
	size_t size;
	FILE *out;
	int rc = filter_compile_rule(rule, DLT_EN10MB, &classic);

	if (rc)
		return rc;
	out = open_memstream(text, &size);
	if (!out) {
		pcap_freecode(&classic);
		return error_set(-ENOMEM, "out of memory");
	}
	explain_rule(out, rule);
	explain_classic(out, &classic);
	explain_lookup(out, &classic);
	rc = explain_program(out, &classic);
	pcap_freecode(&classic);
	fclose(out);
	if (rc)
		free(*text);
	return rc;
}
