/* SPDX-License-Identifier: BSD-2-Clause */
/* The ways into the stacks of compartments, for the universal engine. */
#ifndef XDIVERT_STACK_H
#define XDIVERT_STACK_H

#include "inject.h"

/* This thread is in that compartment. ifindex of the device through which its
 * stack is reached, 0: stack_open() was not called.
 */
int stack_port(struct xdivert_injection *h, uint32_t compartment);
int stack_open(struct xdivert_injection *h, uint32_t compartment);
/* Send what has state HANDED, from its compartment. */
void stack_hand_over(struct xdivert_injection *h, struct xdv_desc *desc);
/* Its device has gone. */
void stack_forget(struct xdivert_injection *h, uint32_t compartment);
void stack_close(struct xdivert_injection *h);
/* Forget what changed links make doubtful. */
void stack_look(struct xdivert_injection *h);

#endif
