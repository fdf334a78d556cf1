/* SPDX-License-Identifier: BSD-2-Clause */
/* The subcommands; each returns the exit code: 0, 1 failure, 2 usage. */
#ifndef XDIVERT_CMD_H
#define XDIVERT_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include <xdivert.h>

#define EXIT_USAGE 2

extern const char *pin_dir; /* --pin-dir, or NULL */

int cmd_attach(int argc, char **argv);
int cmd_detach(int argc, char **argv);
int cmd_rule(int argc, char **argv);
int cmd_rule_test(int argc, char **argv);
int cmd_apply(int argc, char **argv);
int cmd_flow(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_inject(int argc, char **argv);
int cmd_completions(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* One line to stderr, behind "xdivert: "; returns the code. */
int fail(int code, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* 0, or 1 after saying that these are missing. */
int need_privileges(const char *what);
/* Open the state, making it if asked, or explain why there is none; 0 or an
 * exit code.
 */
int open_state(struct xdivert **x, bool create);
/* A whole file as text, - for standard input; NULL and errno. The caller frees
 * it.
 */
char *read_file(const char *path);
/* Rules of a file, or why there are none; how many, or -1. */
int read_rules(const char *path, unsigned int flags, struct xdv_rule **rules);
/* A number in decimal that is in that range, or -1. */
int parse_number(const char *text, long min, long max, long *value);
/* --json alone, or nothing; 0 or an exit code. */
int parse_json(int argc, char **argv, bool *json);
/* For poll: readable once SIGINT or SIGTERM asks the command to end, which
 * then no longer ends it by itself; a second one does. -1: the first does.
 */
int end_fd(void);
struct cJSON;
/* Print and free it; the second on one line. */
void print_json(struct cJSON *o);
void print_json_line(struct cJSON *o);
/* The interface's name, or its number if it has gone. */
const char *ifname_of(uint32_t ifindex, char *name);
/* And that of an injection, which may be another compartment's. */
#define TARGET_LEN 32
const char *target_of(const struct xdv_completion *c, char *name);
void print_completion(const struct xdv_completion *c, bool json);

#endif
