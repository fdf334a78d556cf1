/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pinned state of a compartment (a network namespace): one folder in
 * bpffs with the maps that the hooks, the daemon and every command share.
 */
#ifndef XDIVERT_STATE_H
#define XDIVERT_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include <xdivert/abi.h>

struct state {
	char dir[256];
	int lock; /* the folder, flocked exclusively; -1 if not */
	int stats, control, ifaces, queues, xsks, recent, stages, scratch,
		rules;
	struct xdv_control *shared;  /* mapped */
	struct xdv_queue *occupancy; /* mapped: XDV_MAX_IFACES * _QUEUES */
};

enum state_open {
	STATE_CREATE, /* make what is missing */
	STATE_READ,   /* -ENOENT if nothing is there */
};

/* The calling thread's network namespace. pin_dir NULL: the default. */
int state_open(struct state *s, const char *pin_dir, enum state_open how);
void state_close(struct state *s);

/* Held while attachments or rules change; state_close() releases it. */
int state_lock(struct state *s);
void state_unlock(struct state *s);

/* Unpin everything and remove the folder. */
void state_remove(struct state *s);

/* Path of a pin in the folder; the buffer is the caller's. */
void state_path(const struct state *s, const char *name, char *path,
		unsigned int size);
int state_pin(const struct state *s, int fd, const char *name);
void state_unpin(const struct state *s, const char *name);

/* Zeroed row of xdv_stats for ifindex, if it has none yet. */
int state_stats_row(const struct state *s, uint32_t ifindex);

/*
 * The daemon's lock: -EBUSY if another one runs. *fd is closed to release it.
 */
int state_daemon_lock(const struct state *s, int *fd);
bool state_daemon_runs(const struct state *s);

/* How many of the interface's queues the daemon serves. */
unsigned int state_served(const struct state *s, const struct xdv_iface *iface);

/* Packets that a daemon had when it died: count them as dropped. */
void state_settle(const struct state *s);

#endif
