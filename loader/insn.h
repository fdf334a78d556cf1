/* SPDX-License-Identifier: BSD-2-Clause */
/* eBPF instructions by name; libbpf ships none. */
#ifndef XDIVERT_INSN_H
#define XDIVERT_INSN_H

#include <linux/bpf.h>

#include "filter.h"

#define INSN(CODE, DST, SRC, OFF, IMM)                                         \
	((struct bpf_insn){.code = (CODE),                                     \
			   .dst_reg = (DST),                                   \
			   .src_reg = (SRC),                                   \
			   .off = (OFF),                                       \
			   .imm = (IMM)})
#define INSN_MOV64_REG(D, S)	    INSN(BPF_ALU64 | BPF_MOV | BPF_X, D, S, 0, 0)
#define INSN_MOV64_IMM(D, I)	    INSN(BPF_ALU64 | BPF_MOV | BPF_K, D, 0, 0, I)
#define INSN_MOV32_REG(D, S)	    INSN(BPF_ALU | BPF_MOV | BPF_X, D, S, 0, 0)
#define INSN_MOV32_IMM(D, I)	    INSN(BPF_ALU | BPF_MOV | BPF_K, D, 0, 0, I)
#define INSN_ALU64_REG(OP, D, S)    INSN(BPF_ALU64 | (OP) | BPF_X, D, S, 0, 0)
#define INSN_ALU64_IMM(OP, D, I)    INSN(BPF_ALU64 | (OP) | BPF_K, D, 0, 0, I)
#define INSN_ALU32_REG(OP, D, S)    INSN(BPF_ALU | (OP) | BPF_X, D, S, 0, 0)
#define INSN_ALU32_IMM(OP, D, I)    INSN(BPF_ALU | (OP) | BPF_K, D, 0, 0, I)
#define INSN_TO_BE(D, BITS)	    INSN(BPF_ALU | BPF_END | BPF_TO_BE, D, 0, 0, BITS)
#define INSN_LDX_MEM(SZ, D, S, OFF) INSN(BPF_LDX | (SZ) | BPF_MEM, D, S, OFF, 0)
#define INSN_STX_MEM(SZ, D, S, OFF) INSN(BPF_STX | (SZ) | BPF_MEM, D, S, OFF, 0)
#define INSN_ST_MEM(SZ, D, OFF, I)  INSN(BPF_ST | (SZ) | BPF_MEM, D, 0, OFF, I)
#define INSN_JMP_IMM(OP, D, I, OFF) INSN(BPF_JMP | (OP) | BPF_K, D, 0, OFF, I)
#define INSN_JMP_REG(OP, D, S, OFF) INSN(BPF_JMP | (OP) | BPF_X, D, S, OFF, 0)
#define INSN_JMP32_IMM(OP, D, I, OFF)                                          \
	INSN(BPF_JMP32 | (OP) | BPF_K, D, 0, OFF, I)
#define INSN_JMP32_REG(OP, D, S, OFF)                                          \
	INSN(BPF_JMP32 | (OP) | BPF_X, D, S, OFF, 0)
#define INSN_JA(OFF)	INSN(BPF_JMP | BPF_JA, 0, 0, OFF, 0)
#define INSN_CALL(FUNC) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, FUNC)
#define INSN_EXIT()	INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static inline void insn_ld_map_fd(struct insns *is, int dst, int fd)
{
	insns_add(is, INSN(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_FD, 0,
			   fd));
	insns_add(is, INSN(0, 0, 0, 0, 0));
}

#endif
