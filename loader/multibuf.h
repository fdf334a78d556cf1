/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets that are longer than a frame of the UMEM. */
#ifndef XDIVERT_MULTIBUF_H
#define XDIVERT_MULTIBUF_H

#include <stdbool.h>

/* <linux/if_xdp.h> of older kernels does not have these yet. */
#ifndef XDP_USE_SG
#define XDP_USE_SG    (1 << 4)
#define XDP_PKT_CONTD (1 << 0)
#endif

/* The longest IP packet that a socket takes with them. */
#define MULTIBUF_LONGEST 65535

struct bpf_program;

/* Does AF_XDP write a packet into several frames? Since kernel 6.6. */
bool multibuf_works(void);
/* What multibuf_program() gives to a hook's programs: all or none of those that
 * tail calls join may have it.
 */
unsigned int multibuf_flags(void);
void multibuf_program(struct bpf_program *prog);

#endif
