/* SPDX-License-Identifier: BSD-2-Clause */
/* xdivert run: the rules' callouts on every packet that the hook diverts. */
#ifndef XDIVERT_DAEMON_H
#define XDIVERT_DAEMON_H

#include <xdivert.h>

/* Until SIGTERM or SIGINT; the exit code. */
int daemon_run(struct xdivert *x);

#endif
