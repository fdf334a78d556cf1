/* SPDX-License-Identifier: BSD-2-Clause */
/* A pcap-filter expression, compiled by libpcap and turned into eBPF. */
#ifndef XDIVERT_FILTER_H
#define XDIVERT_FILTER_H

#include <stddef.h>

#include "libpcap.h"

/* eBPF instructions under construction; grows as needed. */
struct insns {
	struct bpf_insn *insn;
	size_t count, room;
	int error; /* first -errno; later calls do nothing */
};

void insns_add(struct insns *is, struct bpf_insn insn);
void insns_free(struct insns *is);

/*
 * libpcap's classic BPF for an Ethernet frame. The caller frees it with
 * pcap_freecode(). 0 or -EINVAL after error_set() with libpcap's sentence.
 */
int filter_compile(const char *expression, struct bpf_program *classic);

/*
 * Append eBPF that evaluates classic over a packet. On entry r7 = data, r8 =
 * data_end; r6 to r9 are kept, r0 to r5 and stack below fp are used. Control
 * falls through to the end of the emitted code in both cases, with r0 = 1 if
 * the filter matches and 0 if not. A load beyond the packet's end makes the
 * filter false, as in libpcap. 0, -ENOTSUP for an instruction that has no
 * meaning here, -EINVAL for a program that is not valid, -ENOMEM.
 */
int filter_translate(const struct bpf_program *classic, struct insns *is);

#endif
