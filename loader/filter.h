/* SPDX-License-Identifier: BSD-2-Clause */
/* A pcap-filter expression, compiled by libpcap and turned into eBPF. */
#ifndef XDIVERT_FILTER_H
#define XDIVERT_FILTER_H

#include <stddef.h>

#include <xdivert/abi.h>

#include "libpcap.h"

/* eBPF instructions under construction; grows as needed. */
struct insns {
	struct bpf_insn *insn;
	size_t count, room;
	int error; /* first -errno; later calls do nothing */
};

void insns_add(struct insns *is, struct bpf_insn insn);
void insns_free(struct insns *is);

/* Where the classic program's M[k] lies on the stack, in host order. */
#define FILTER_MEM(k) (-16 - 4 * (int)((k) + 1))

/* How the program that evaluates an expression sees the packet. */
enum filter_view {
	FILTER_XDP, /* more may follow behind data_end */
	FILTER_SKB,
	FILTER_SKB_TAGGED, /* and its VLAN tag is in the metadata */
};

/*
 * libpcap's classic BPF for a link type (DLT_EN10MB, DLT_RAW). The caller frees
 * it with pcap_freecode(). 0 or -EINVAL after error_set() with libpcap's
 * sentence.
 */
int filter_compile(const char *expression, int link_type,
		   struct bpf_program *classic);

/* The same for all that a rule asks of the packet itself. */
int filter_compile_rule(const struct xdv_rule *rule, int link_type,
			struct bpf_program *classic);

/*
 * Append eBPF that evaluates classic over a packet. On entry r6 = context, r7
 * = data, r8 = data_end, and for a tagged packet r9 = struct xdv_scratch with
 * its head; they are kept, r0 to r5 and stack below fp - 4 are used. Control
 * falls through to the end of the emitted code in both cases, with r0 = 1 if
 * the filter matches and 0 if not. A load beyond the packet's end makes the
 * filter false, as in libpcap. 0, -ENOTSUP for an instruction that has no
 * meaning here, -EINVAL for a program that is not valid, -ENOMEM.
 */
int filter_translate(const struct bpf_program *classic, enum filter_view view,
		     struct insns *is);

#endif
