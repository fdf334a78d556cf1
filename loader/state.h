/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pinned state of a compartment (a network namespace): one folder in
 * bpffs with the maps that the hooks, the daemon and every command share.
 */
#ifndef XDIVERT_STATE_H
#define XDIVERT_STATE_H

#include <pthread.h>

#include <xdivert.h>

struct xdivert {
	char dir[256];
	char root[200];	 /* the folder around it */
	int netns;	 /* the namespace */
	uint32_t id;	 /* and its id */
	uint64_t folder; /* inode number of dir, 0 if not open yet */

	/* lock.c */
	pthread_mutex_t mutex;
	pthread_t owner; /* who has it */
	int lock;	 /* the folder, flocked exclusively; -1 if not */

	int stats, control, ifaces, queues, xsks, recent, targets, stages,
		tc_stages, scratch, tapped, rules, hits, flows;
	struct xdv_control *shared;	/* mapped */
	struct xdv_queue *occupancy;	/* mapped: XDV_ROWS */
	struct xdv_completion *history; /* mapped: xdv_recent */
};

/* lock.c: held while attachments or rules change. -ENOTCONN: the state has
 * gone. Unlocking without having it does nothing.
 */
int state_lock(struct xdivert *s);
/* -EWOULDBLOCK: somebody has it. */
int state_trylock(struct xdivert *s);
void state_unlock(struct xdivert *s);
/* Does this thread have it? */
bool state_locked(const struct xdivert *s);

/* Is this thread in the namespace that was opened? */
bool state_here(const struct xdivert *s);
/* -EXDEV if it is not. */
int state_check_here(const struct xdivert *s);

/* Tell the daemon that attachments changed. */
void state_announce(const struct xdivert *s);

/* Under the lock: unpin everything and remove the folder if nothing is
 * attached and nobody has a handle. Does nothing without the lock.
 */
void state_remove_idle(struct xdivert *s);

/* Path of a pin in the folder; the buffer is the caller's. */
void state_path(const struct xdivert *s, const char *name, char *path,
		unsigned int size);
int state_pin(const struct xdivert *s, int fd, const char *name);
void state_unpin(const struct xdivert *s, const char *name);

struct bpf_object;

/* Before it is loaded: its maps of our names are ours. -errno */
int state_share_maps(const struct xdivert *s, struct bpf_object *obj);

int state_make_dir(const char *path);

/* lock.c: flock a folder of that name in ours, LOCK_EX or LOCK_SH, without
 * waiting. -EBUSY: somebody has it.
 */
int state_lock_folder(const struct xdivert *s, const char *name, int how,
		      int *fd);
/*
 * The daemon's lock: -EBUSY if another one runs. *fd is closed to release it.
 */
int state_daemon_lock(const struct xdivert *s, int *fd);
/* Held by every injection handle. */
int state_handle_lock(const struct xdivert *s, int *fd);
bool state_daemon_runs(const struct xdivert *s);
bool state_has_handles(const struct xdivert *s);

/* How many of the interface's queues the daemon serves. */
unsigned int state_served(const struct xdivert *s,
			  const struct xdv_iface *iface);

/* Packets that a handle had when its process died: count them as dropped. */
void state_settle(struct xdivert *s);

#endif
