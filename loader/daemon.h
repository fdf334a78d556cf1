/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon: receive, ask the callouts, inject. */
#ifndef XDIVERT_DAEMON_H
#define XDIVERT_DAEMON_H

#include "state.h"

/* Serve until SIGTERM or SIGINT, drain, return 0; or -errno after a message. */
int daemon_run(struct state *s);

#endif
