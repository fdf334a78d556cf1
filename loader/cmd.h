/* SPDX-License-Identifier: BSD-2-Clause */
/* The subcommands; each returns the exit code: 0, 1 failure, 2 usage. */
#ifndef XDIVERT_CMD_H
#define XDIVERT_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

#define EXIT_USAGE 2

extern const char *pin_dir; /* --pin-dir, or NULL */

int cmd_attach(int argc, char **argv);
int cmd_detach(int argc, char **argv);
int cmd_rule(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_inject(int argc, char **argv);
int cmd_completions(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* One line to stderr, behind "xdivert: "; returns the code. */
int fail(int code, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Open the state, or explain why there is none; 0 or an exit code. */
int open_state(struct state *s, enum state_open how);
/* The interface's name, or its number if it has gone. */
const char *ifname_of(uint32_t ifindex, char *name);
/* A sentence for a completion's status, a name for its reason and engine. */
const char *status_text(int status);
const char *reason_name(unsigned int reason);
const char *engine_name(unsigned int engine);
void print_completion(const struct xdv_completion *c, bool json);

#endif
