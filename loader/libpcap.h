/* SPDX-License-Identifier: BSD-2-Clause */
/* libpcap beside the kernel's BPF: both define a struct bpf_insn. */
#ifndef XDIVERT_LIBPCAP_H
#define XDIVERT_LIBPCAP_H

#define bpf_insn pcap_bpf_insn
#include <pcap/pcap.h>
#undef bpf_insn
/* Its names for the instruction codes are the kernel's. */
#include <linux/bpf.h>

#endif
