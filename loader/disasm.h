/* SPDX-License-Identifier: BSD-2-Clause */
/* eBPF instructions as the kernel's verifier and llvm-objdump write them. */
#ifndef XDIVERT_DISASM_H
#define XDIVERT_DISASM_H

#include <stddef.h>

#include <linux/bpf.h>

/* Of the instruction at position at; what snprintf() would return. */
int disasm(char *text, size_t size, const struct bpf_insn *insn, size_t at);

#endif
