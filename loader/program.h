/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rule set as eBPF: a chain of programs behind one of the hook's stages.
 * The first has the index (index.h); rules that must be run follow in order,
 * in as many programs as the verifier wants.
 */
#ifndef XDIVERT_PROGRAM_H
#define XDIVERT_PROGRAM_H

#include "index.h"
#include "state.h"

/* A hook's way to see packets has programs of its own. */
struct variant {
	const char *name;
	enum bpf_prog_type type;
	bool tc;
	__u32 stage;
	__u32 row; /* of its chains among the stages */
	int link_type;
	enum filter_view view;
	int data, data_end; /* in the context */
	int pass;
};

#define VARIANTS 4
extern const struct variant variants[VARIANTS];

/* The TC hook is in use once it has its divert stage. */
bool variant_needed(const struct xdivert *s, const struct variant *v);

struct chain {
	int fd[XDV_CHAIN_MAX];
	int count;
};

/*
 * Load the programs that try the rules, which are in order and whose filters
 * are compiled for the variant's link type. bank is where they will be
 * installed: 0 or 1. 0, or -errno after error_set().
 */
int chain_load(struct chain *chain, const struct xdivert *s,
	       const struct variant *v, int bank, const struct candidate *rules,
	       int n, const struct index *index);
void chain_close(struct chain *chain);

/* Put what follows the first program where that will look for it. */
int chain_place(const struct chain *chain, const struct xdivert *s,
		const struct variant *v, int bank);
/* From now on packets take this chain, none if it is empty. */
int chain_start(const struct chain *chain, const struct xdivert *s,
		const struct variant *v);
/* Whether anything lies in the bank. */
bool bank_used(const struct xdivert *s, int bank);
/* Empty it; no packet may be on its way through it. */
void bank_clear(const struct xdivert *s, int bank);

#endif
