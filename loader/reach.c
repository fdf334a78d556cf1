// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdlib.h>

#include "reach.h"

/* Where a jump leads, out of bounds: to the end. */
static void mark(struct reach *r, long at)
{
	r->live[at < 0 || at > r->in->bf_len ? r->in->bf_len : at] = true;
}

/* What can be reached in a straight line from what can. */
static void mark_once(struct reach *r)
{
	const struct bpf_program *p = r->in;
	unsigned int i, code;

	for (i = 0; i < p->bf_len; i++) {
		const struct pcap_bpf_insn *insn = &p->bf_insns[i];

		code = insn->code;
		if (!r->live[i] || BPF_CLASS(code) == BPF_RET)
			continue;
		if (BPF_CLASS(code) != BPF_JMP) {
			mark(r, i + 1);
		} else if (BPF_OP(code) == BPF_JA) {
			mark(r, (long)i + 1 + (int)insn->k);
		} else {
			mark(r, i + 1 + insn->jt);
			mark(r, i + 1 + insn->jf);
		}
	}
}

static unsigned int count_live(const struct reach *r)
{
	unsigned int i, n = 0;

	for (i = 0; i <= r->in->bf_len; i++)
		n += r->live[i];
	return n;
}

/* Which instructions can be reached, loops included; false if the end can be.
 */
static bool find_live(struct reach *r)
{
	unsigned int before;

	r->live[0] = true;
	do {
		before = count_live(r);
		mark_once(r);
	} while (count_live(r) != before);
	return !r->live[r->in->bf_len];
}

int reach_loop(const struct reach *r, int begin)
{
	int i;

	for (i = 0; i < r->loops && r->loop[i] != begin; i++)
		;
	return i;
}

static int find_loops(struct reach *r)
{
	const struct bpf_program *p = r->in;
	int i, begin;

	for (i = 0; i < (int)p->bf_len; i++) {
		if (p->bf_insns[i].code != (BPF_JMP | BPF_JA) ||
		    (int)p->bf_insns[i].k >= 0)
			continue;
		begin = i + 1 + (int)p->bf_insns[i].k;
		if (reach_loop(r, begin) < r->loops)
			continue;
		if (r->loops == REACH_LOOPS)
			return -ENOTSUP;
		r->loop[r->loops++] = begin;
	}
	return 0;
}

int reach_find(struct reach *r, const struct bpf_program *classic)
{
	*r = (struct reach){.in = classic};
	r->live = calloc(classic->bf_len + 1, sizeof(*r->live));
	if (!r->live)
		return -ENOMEM;
	return find_live(r) ? find_loops(r) : -EINVAL;
}

void reach_free(struct reach *r)
{
	free(r->live);
}

bool reach_outcome(const struct reach *r, bool outcome)
{
	unsigned int i, code;

	for (i = 0; i < r->in->bf_len; i++) {
		code = r->in->bf_insns[i].code;
		if (!r->live[i] || BPF_CLASS(code) != BPF_RET)
			continue;
		if (BPF_RVAL(code) == BPF_A ||
		    !!r->in->bf_insns[i].k == outcome)
			return true;
	}
	return false;
}
