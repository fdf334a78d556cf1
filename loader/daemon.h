/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker of xdivert run: the rules' callouts on every packet of its share of
 * the receive queues.
 */
#ifndef XDIVERT_DAEMON_H
#define XDIVERT_DAEMON_H

#include <xdivert.h>

struct daemon;

#define BUSY_POLL -1

/* 0, or an exit code; idle_poll in us. */
int daemon_open(struct daemon **d, unsigned int share, unsigned int shares,
		long idle_poll);
/* Limits of what waits for its rest, for all workers. */
int daemon_reassembly(struct daemon *d,
		      const struct xdivert_reassembly_opts *opts);
/* Serve until daemon_stop(). */
void daemon_loop(struct daemon *d);
void daemon_close(struct daemon *d);

/* From any thread: drain and end; read the rules anew. */
void daemon_stop(struct daemon *d);
void daemon_reload(struct daemon *d);

/* How many receive queues are served, by all workers. */
unsigned int daemon_queues(const struct daemon *d);

#endif
