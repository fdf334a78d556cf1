// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "addrset.h"
#include "error.h"
#include "insn.h"
#include "set.h"

/* FNV-1a. */
static unsigned long long digest(const char *path)
{
	unsigned long long sum = 0xcbf29ce484222325ull;

	while (*path)
		sum = (sum ^ (unsigned char)*path++) * 0x100000001b3ull;
	return sum;
}

static void pin_name(const char *path, int family, char *name, size_t size)
{
	snprintf(name, size, "set%d_%016llx", family ? 6 : 4, digest(path));
}

static int open_pinned(const struct xdivert *s, struct set *set)
{
	char name[40], path[320];
	int i;

	for (i = 0; i < 2; i++) {
		pin_name(set->path, i, name, sizeof(name));
		state_path(s, name, path, sizeof(path));
		set->map[i] = bpf_obj_get(path);
	}
	if (set->map[0] >= 0 && set->map[1] >= 0)
		return 0;
	for (i = 0; i < 2; i++)
		if (set->map[i] >= 0)
			close(set->map[i]);
	return -ENOENT;
}

static int read_fresh(struct set *set)
{
	struct addrset addresses;
	int rc = addrset_read(set->path, &addresses);

	if (rc)
		return rc;
	rc = addrset_load(&addresses, set->map);
	addrset_free(&addresses);
	set->fresh = true;
	return rc ? error_set(rc, "%s: cannot load %s", set->path,
			      strerror(-rc))
		  : 0;
}

static struct set *find(const struct sets *sets, const char *path)
{
	int i;

	for (i = 0; i < sets->n; i++)
		if (!strcmp(sets->list[i].path, path))
			return &sets->list[i];
	return NULL;
}

const struct set *sets_get(struct sets *sets, const struct xdivert *s,
			   const char *path, bool anew)
{
	struct set *set = find(sets, path);

	if (set)
		return set;
	/* All at once: rules point into it. */
	if (!sets->list)
		sets->list = calloc(2 * XDV_MAX_RULES, sizeof(*sets->list));
	if (!sets->list || sets->n == 2 * XDV_MAX_RULES) {
		error_set(-ENOMEM, "out of memory");
		return NULL;
	}
	set = &sets->list[sets->n];
	*set = (struct set){.fresh = false};
	snprintf(set->path, sizeof(set->path), "%s", path);
	if ((anew || open_pinned(s, set)) && read_fresh(set))
		return NULL;
	sets->n++;
	return set;
}

static bool is_kept(const struct sets *sets, const char *name)
{
	char kept[40];
	int i, j;

	for (i = 0; i < sets->n; i++) {
		for (j = 0; j < 2; j++) {
			pin_name(sets->list[i].path, j, kept, sizeof(kept));
			if (!strcmp(kept, name))
				return true;
		}
	}
	return false;
}

static void forget_others(const struct sets *sets, const struct xdivert *s)
{
	struct dirent *entry;
	DIR *dir = opendir(s->dir);

	while (dir && (entry = readdir(dir)))
		if ((!strncmp(entry->d_name, "set4_", 5) ||
		     !strncmp(entry->d_name, "set6_", 5)) &&
		    !is_kept(sets, entry->d_name))
			state_unpin(s, entry->d_name);
	if (dir)
		closedir(dir);
}

void sets_keep(struct sets *sets, const struct xdivert *s)
{
	char name[40];
	int i, j;

	for (i = 0; i < sets->n; i++) {
		for (j = 0; j < 2 && sets->list[i].fresh; j++) {
			pin_name(sets->list[i].path, j, name, sizeof(name));
			/* What is not pinned is read again next time. */
			if (state_pin(s, sets->list[i].map[j], name))
				state_unpin(s, name);
		}
	}
	forget_others(sets, s);
}

void sets_close(struct sets *sets)
{
	int i;

	for (i = 0; i < sets->n; i++) {
		close(sets->list[i].map[0]);
		close(sets->list[i].map[1]);
	}
	free(sets->list);
	*sets = (struct sets){0};
}

/* ---- the program ---- */

struct classic {
	struct pcap_bpf_insn insn[32];
	int n;
};

static void put(struct classic *c, unsigned int code, __u32 k, int jt, int jf)
{
	c->insn[c->n++] = (struct pcap_bpf_insn){code, jt, jf, k};
}

/* X = the bytes of at most two VLAN tags, A = the type behind them. */
static void put_tags(struct classic *c)
{
	put(c, BPF_LDX | BPF_IMM, 0, 0, 0);
	put(c, BPF_LD | BPF_H | BPF_ABS, 12, 0, 0);
	put(c, BPF_JMP | BPF_JEQ, 0x8100, 1, 0);
	put(c, BPF_JMP | BPF_JEQ, 0x88a8, 0, 6);
	put(c, BPF_LDX | BPF_IMM, 4, 0, 0);
	put(c, BPF_LD | BPF_H | BPF_ABS, 16, 0, 0);
	put(c, BPF_JMP | BPF_JEQ, 0x8100, 1, 0);
	put(c, BPF_JMP | BPF_JEQ, 0x88a8, 0, 2);
	put(c, BPF_LDX | BPF_IMM, 8, 0, 0);
	put(c, BPF_LD | BPF_H | BPF_ABS, 20, 0, 0);
}

/* M[words - 1] ... M[0] = the address, if the packet is of that family. */
static void put_address(struct classic *c, bool v6, bool source, bool raw)
{
	int words = v6 ? 4 : 1, i;
	__u32 at = v6 ? (source ? 8 : 24) : (source ? 12 : 16);

	if (raw) {
		put(c, BPF_LDX | BPF_IMM, 0, 0, 0);
		put(c, BPF_LD | BPF_B | BPF_ABS, 0, 0, 0);
		put(c, BPF_ALU | BPF_AND, 0xf0, 0, 0);
		put(c, BPF_JMP | BPF_JEQ, v6 ? 0x60 : 0x40, 1, 0);
	} else {
		put_tags(c);
		put(c, BPF_JMP | BPF_JEQ, v6 ? 0x86dd : 0x0800, 1, 0);
		at += 14;
	}
	put(c, BPF_RET, 0, 0, 0);
	for (i = 0; i < words; i++) {
		put(c, BPF_LD | BPF_W | BPF_IND, at + 4 * i, 0, 0);
		put(c, BPF_ST, words - 1 - i, 0, 0);
	}
	put(c, BPF_RET, 1, 0, 0);
}

/* A trie's key has its bytes in network order, and the length in front. */
static void emit_lookup(struct insns *is, int map, int words)
{
	int i;

	for (i = 0; i < words; i++) {
		insns_add(is, INSN_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_10,
					   FILTER_MEM(i)));
		insns_add(is, INSN_TO_BE(BPF_REG_1, 32));
		insns_add(is, INSN_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_1,
					   FILTER_MEM(i)));
	}
	insns_add(is, INSN_ST_MEM(BPF_W, BPF_REG_10, FILTER_MEM(words),
				  32 * words));
	insn_ld_map_fd(is, BPF_REG_1, map);
	insns_add(is, INSN_MOV64_REG(BPF_REG_2, BPF_REG_10));
	insns_add(is, INSN_ALU64_IMM(BPF_ADD, BPF_REG_2, FILTER_MEM(words)));
	insns_add(is, INSN_CALL(BPF_FUNC_map_lookup_elem));
	insns_add(is, INSN_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 1));
	insns_add(is, INSN_MOV64_IMM(BPF_REG_0, 1));
}

static size_t emit_family(struct insns *is, const struct set *set, bool source,
			  bool raw, enum filter_view view, bool v6, int *rc)
{
	struct classic c = {.n = 0};
	struct bpf_program program = {.bf_insns = c.insn};
	size_t other;

	put_address(&c, v6, source, raw);
	program.bf_len = c.n;
	*rc = filter_translate(&program, view, is);
	other = is->count;
	insns_add(is, INSN_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 0));
	emit_lookup(is, set->map[v6], v6 ? 4 : 1);
	return other;
}

static void land(struct insns *is, size_t jump)
{
	if (!is->error)
		is->insn[jump].off = is->count - jump - 1;
}

int set_emit(struct insns *is, const struct set *set, bool source,
	     int link_type, enum filter_view view)
{
	bool raw = link_type == DLT_RAW;
	size_t other, done;
	int rc;

	other = emit_family(is, set, source, raw, view, false, &rc);
	if (rc)
		return rc;
	done = is->count;
	insns_add(is, INSN_JA(0));
	land(is, other);
	other = emit_family(is, set, source, raw, view, true, &rc);
	land(is, other);
	land(is, done);
	return rc ? rc : is->error;
}
