// SPDX-License-Identifier: BSD-2-Clause
#include <stdbool.h>
#include <stdio.h>

#include "disasm.h"

static const char *size_name(unsigned int code)
{
	switch (BPF_SIZE(code)) {
	case BPF_W:
		return "u32";
	case BPF_H:
		return "u16";
	case BPF_B:
		return "u8";
	}
	return "u64";
}

static const char *alu_sign(unsigned int op)
{
	static const char *const sign[16] = {
		"+=",  "-=", "*=", "/=", "|=", "&=",   "<<=",
		">>=", "?",  "%=", "^=", "=",  "s>>=",
	};

	return sign[op >> 4] ? sign[op >> 4] : "?";
}

static const char *jump_sign(unsigned int op)
{
	static const char *const sign[16] = {
		"?",   "==", ">", ">=", "&",  "!=", "s>",
		"s>=", "?",  "?", "<",	"<=", "s<", "s<=",
	};

	return sign[op >> 4] ? sign[op >> 4] : "?";
}

static int disasm_alu(char *text, size_t size, const struct bpf_insn *i)
{
	char reg = BPF_CLASS(i->code) == BPF_ALU64 ? 'r' : 'w';

	if (BPF_OP(i->code) == BPF_END)
		return snprintf(text, size, "r%d = %s%d r%d", i->dst_reg,
				BPF_SRC(i->code) == BPF_TO_BE ? "be" : "le",
				i->imm, i->dst_reg);
	if (BPF_OP(i->code) == BPF_NEG)
		return snprintf(text, size, "%c%d = -%c%d", reg, i->dst_reg,
				reg, i->dst_reg);
	if (BPF_SRC(i->code) == BPF_X)
		return snprintf(text, size, "%c%d %s %c%d", reg, i->dst_reg,
				alu_sign(BPF_OP(i->code)), reg, i->src_reg);
	return snprintf(text, size, "%c%d %s %#x", reg, i->dst_reg,
			alu_sign(BPF_OP(i->code)), i->imm);
}

static int disasm_jump(char *text, size_t size, const struct bpf_insn *i,
		       size_t at)
{
	char reg = BPF_CLASS(i->code) == BPF_JMP ? 'r' : 'w';
	size_t to = at + 1 + i->off;

	switch (BPF_OP(i->code)) {
	case BPF_EXIT:
		return snprintf(text, size, "exit");
	case BPF_CALL:
		return snprintf(text, size, "call %d", i->imm);
	case BPF_JA:
		return snprintf(text, size, "goto %zu", to);
	}
	if (BPF_SRC(i->code) == BPF_X)
		return snprintf(text, size, "if %c%d %s %c%d goto %zu", reg,
				i->dst_reg, jump_sign(BPF_OP(i->code)), reg,
				i->src_reg, to);
	return snprintf(text, size, "if %c%d %s %#x goto %zu", reg, i->dst_reg,
			jump_sign(BPF_OP(i->code)), i->imm, to);
}

int disasm(char *text, size_t size, const struct bpf_insn *i, size_t at)
{
	switch (BPF_CLASS(i->code)) {
	case BPF_LDX:
		return snprintf(text, size, "r%d = *(%s *)(r%d %+d)",
				i->dst_reg, size_name(i->code), i->src_reg,
				i->off);
	case BPF_STX:
		return snprintf(text, size, "*(%s *)(r%d %+d) = r%d",
				size_name(i->code), i->dst_reg, i->off,
				i->src_reg);
	case BPF_ST:
		return snprintf(text, size, "*(%s *)(r%d %+d) = %#x",
				size_name(i->code), i->dst_reg, i->off, i->imm);
	case BPF_LD:
		return snprintf(text, size, "r%d = map %d ll", i->dst_reg,
				i->imm);
	case BPF_ALU:
	case BPF_ALU64:
		return disasm_alu(text, size, i);
	}
	return disasm_jump(text, size, i, at);
}
