/* SPDX-License-Identifier: BSD-2-Clause */
/* Our programs at devices of our own, where nobody else's are. */
#ifndef XDIVERT_DEVICE_H
#define XDIVERT_DEVICE_H

struct bpf_program;

/* XDP, in the driver, as long as the link that is returned; or -errno. */
int device_attach_xdp(const struct bpf_program *prog, int ifindex);
/* TC ingress, as long as there is the device. -errno. */
int device_attach_tc(const struct bpf_program *prog, int ifindex);

#endif
