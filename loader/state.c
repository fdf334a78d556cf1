// SPDX-License-Identifier: BSD-2-Clause
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach.h"
#include "bpffs.h"
#include "compartment.h"
#include "error.h"
#include "multibuf.h"
#include "opts.h"
#include "state.h"
#include "stats.h"
#include "tap.h"
#include "xdp_ingress.skel.h"

void state_path(const struct xdivert *s, const char *name, char *path,
		unsigned int size)
{
	snprintf(path, size, "%s/%s", s->dir, name);
}

int state_make_dir(const char *path)
{
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

/* Where nothing can be pinned, nothing is left behind. */
static int make_dirs(const struct xdivert *s)
{
	bool made = !mkdir(s->root, 0700);

	if (!made && errno != EEXIST)
		return -errno;
	if (is_bpffs(s->root))
		return state_make_dir(s->dir);
	if (made)
		rmdir(s->root);
	return -EPERM;
}

static int choose_dir(struct xdivert *s, const char *pin_dir, bool create)
{
	char name[NAME_MAX + 1], path[64], *parent = s->root;

	if (!pin_dir)
		pin_dir = getenv("XDIVERT_PIN_DIR");
	if (!pin_dir || !*pin_dir)
		pin_dir = BPFFS "/xdivert";
	/* The usual place may be hidden, or not be mounted yet. */
	if (!strncmp(pin_dir, BPFFS "/", sizeof(BPFFS)))
		snprintf(parent, sizeof(s->root), "%s%s",
			 bpffs_path(path, sizeof(path)),
			 pin_dir + sizeof(BPFFS) - 1);
	else
		snprintf(parent, sizeof(s->root), "%s", pin_dir);
	compartment_name(name, sizeof(name));
	if (snprintf(s->dir, sizeof(s->dir), "%s/%s", parent, name) >=
	    (int)sizeof(s->dir))
		return -ENAMETOOLONG;
	if (!create)
		return access(s->dir, F_OK) ? -ENOENT : 0;
	return make_dirs(s);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Whoever watches the folder sees this. */
void state_announce(const struct xdivert *s)
{
	char path[320];

	state_path(s, "changed", path, sizeof(path));
	mkdir(path, 0700);
	rmdir(path);
}

int state_pin(const struct xdivert *s, int fd, const char *name)
{
	char path[320];

	state_path(s, name, path, sizeof(path));
	unlink(path);
	return bpf_obj_pin(fd, path) ? -errno : 0;
}

void state_unpin(const struct xdivert *s, const char *name)
{
	char path[320];

	state_path(s, name, path, sizeof(path));
	unlink(path);
}

static int pin_object(struct xdivert *s, struct xdp_ingress *skel)
{
	struct bpf_map *map;
	int err = 0, fd;

	bpf_object__for_each_map(map, skel->obj)
	{
		if (strncmp(bpf_map__name(map), "xdv_", 4) || err ||
		    map == skel->maps.xdv_rules)
			continue;
		err = state_pin(s, bpf_map__fd(map), bpf_map__name(map));
	}
	fd = bpf_program__fd(skel->progs.xdv_xdp_divert);
	err = err ? err : state_pin(s, fd, "xdv_xdp_divert");
	/* Last: it says that the folder is complete. */
	fd = bpf_map__fd(skel->maps.xdv_rules);
	return err ? err : state_pin(s, fd, "xdv_rules");
}

static void unpin_object(struct xdivert *s, struct xdp_ingress *skel)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, skel->obj)
		state_unpin(s, bpf_map__name(map));
	state_unpin(s, "xdv_xdp_divert");
}

/* The first words of xdv_control say whose maps these are. */
static int sign(int control)
{
	struct xdv_control first = {.abi = XDV_ABI};
	__u32 zero = 0;
	uint64_t cookie;
	int rc = compartment_cookie(&cookie);

	if (rc)
		return rc;
	first.netns = cookie;
	/* Locally administered and nobody's guess. */
	if (getrandom(first.mac, sizeof(first.mac), 0) !=
	    (ssize_t)sizeof(first.mac))
		return -errno;
	first.mac[0] = (first.mac[0] & 0xfc) | 2;

	return bpf_map_update_elem(control, &zero, &first, BPF_ANY);
}

static int create(struct xdivert *s)
{
	struct xdp_ingress *skel = xdp_ingress__open();
	__u32 stage = XDV_STAGE_DIVERT;
	int err, fd;

	if (!skel)
		return -errno;
	/* The entry program is loaded by whoever attaches it. */
	bpf_program__set_autoload(skel->progs.xdv_xdp_ingress, false);
	/* What shares an array of tail calls has one attach type, and that of
	 * a program in libxdp's dispatcher is none.
	 */
	bpf_program__set_expected_attach_type(skel->progs.xdv_xdp_divert, 0);
	multibuf_program(skel->progs.xdv_xdp_divert);
	err = xdp_ingress__load(skel);
	if (err)
		goto out;
	fd = bpf_program__fd(skel->progs.xdv_xdp_divert);
	err = bpf_map_update_elem(bpf_map__fd(skel->maps.xdv_stages), &stage,
				  &fd, BPF_ANY);
	if (err)
		goto out;
	s->stats = bpf_map__fd(skel->maps.xdv_stats);
	err = stats_row(s, 0);
	if (!err)
		err = sign(bpf_map__fd(skel->maps.xdv_control));
	if (!err)
		err = pin_object(s, skel);
	if (err)
		unpin_object(s, skel);
out:
	s->stats = -1;
	xdp_ingress__destroy(skel);
	return err;
}

static int get(const struct xdivert *s, const char *name, int *fd)
{
	char path[320];

	state_path(s, name, path, sizeof(path));
	*fd = bpf_obj_get(path);
	return *fd < 0 ? -errno : 0;
}

/* Pinned as, and kept in. xdv_rules is pinned last: see pin_object(). */
static const struct {
	const char *name;
	size_t fd;
} maps[] = {
	{"xdv_stats", offsetof(struct xdivert, stats)},
	{"xdv_control", offsetof(struct xdivert, control)},
	{"xdv_ifaces", offsetof(struct xdivert, ifaces)},
	{"xdv_queues", offsetof(struct xdivert, queues)},
	{"xdv_xsks", offsetof(struct xdivert, xsks)},
	{"xdv_recent", offsetof(struct xdivert, recent)},
	{"xdv_targets", offsetof(struct xdivert, targets)},
	{"xdv_stages", offsetof(struct xdivert, stages)},
	{"xdv_tc_stages", offsetof(struct xdivert, tc_stages)},
	{"xdv_scratch", offsetof(struct xdivert, scratch)},
	{"xdv_tapped", offsetof(struct xdivert, tapped)},
	{"xdv_hits", offsetof(struct xdivert, hits)},
	{"xdv_flows", offsetof(struct xdivert, flows)},
	{"xdv_rules", offsetof(struct xdivert, rules)},
};

#define MAPS (sizeof(maps) / sizeof(*maps))

static int *map_fd(const struct xdivert *s, size_t i)
{
	return (int *)((char *)s + maps[i].fd);
}

static int open_maps(struct xdivert *s)
{
	size_t i;
	int err = 0;

	for (i = 0; i < MAPS && !err; i++)
		err = get(s, maps[i].name, map_fd(s, i));
	return err;
}

int state_share_maps(const struct xdivert *s, struct bpf_object *obj)
{
	struct bpf_map *map;
	int err = 0;
	size_t i;

	for (i = 0; i < MAPS && !err; i++) {
		map = bpf_object__find_map_by_name(obj, maps[i].name);
		if (map)
			err = bpf_map__reuse_fd(map, *map_fd(s, i));
	}
	return err;
}

static void *map_shared(int fd, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int create_if_missing(struct xdivert *s)
{
	char path[320];
	int err;

	err = state_lock(s);
	if (err)
		return err;
	state_path(s, "xdv_rules", path, sizeof(path));
	/* As who we are in effect: what we may not see is not missing. */
	if (faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) && errno == ENOENT) {
		err = create(s);
		/* Unless something else is in them. */
		if (err && !rmdir(s->dir))
			rmdir(s->root);
	}
	state_unlock(s);
	return err;
}

static int map_maps(struct xdivert *s)
{
	struct stat st;

	/* A folder of this name that is made later is not this state. */
	if (stat(s->dir, &st))
		return -errno;
	s->folder = st.st_ino;
	s->shared = map_shared(s->control, sizeof(*s->shared));
	s->occupancy = map_shared(s->queues, XDV_ROWS * sizeof(*s->occupancy));
	s->history = map_shared(s->recent, XDV_RECENT * sizeof(*s->history));
	return s->shared && s->occupancy && s->history ? 0 : -ENOMEM;
}

static void close_maps(struct xdivert *s)
{
	size_t i;

	if (s->shared)
		munmap(s->shared, sizeof(*s->shared));
	if (s->occupancy)
		munmap(s->occupancy, XDV_ROWS * sizeof(*s->occupancy));
	if (s->history)
		munmap(s->history, XDV_RECENT * sizeof(*s->history));
	s->history = NULL;
	s->shared = NULL;
	s->occupancy = NULL;
	s->folder = 0;
	for (i = 0; i < MAPS; i++)
		close_fd(map_fd(s, i));
	state_unlock(s);
}

void xdivert_close(struct xdivert *s)
{
	if (!s)
		return;
	close_maps(s);
	close_fd(&s->netns);
	pthread_mutex_destroy(&s->mutex);
	free(s);
}

const char *xdivert_pins(const struct xdivert *x)
{
	return x->dir;
}

static void remove_tree(const char *path)
{
	struct dirent *entry;
	char child[600];
	DIR *dir = opendir(path);

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		if (unlink(child))
			remove_tree(child);
	}
	closedir(dir);
	rmdir(path);
}

static int count_entries(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);
	int n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

/* The folder of all compartments goes with its last one. */
static void remove_root(const struct xdivert *s)
{
	char path[320];
	int lock = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (lock < 0 || flock(lock, LOCK_EX) || rmdir(s->root)) {
		snprintf(path, sizeof(path), "%s/xdv_injected", s->root);
		if (lock >= 0 && count_entries(s->root) == 1) {
			unlink(path);
			rmdir(s->root);
		}
	}
	if (lock >= 0)
		close(lock);
}

static void state_remove(struct xdivert *s)
{
	remove_tree(s->dir);
	remove_root(s);
}

void state_remove_idle(struct xdivert *s)
{
	if (state_locked(s) && !hook_count(s) && !state_daemon_runs(s) &&
	    !state_has_handles(s))
		state_remove(s);
}

static int open_once(struct xdivert *s, bool create)
{
	int err = create ? create_if_missing(s) : 0;
	uint64_t cookie;

	err = err ? err : open_maps(s);
	err = err ? err : map_maps(s);
	err = err ? err : compartment_cookie(&cookie);
	if (err)
		return err;
	if (s->shared->abi != XDV_ABI)
		return -EPROTO;
	return s->shared->netns == cookie ? 0 : -ESTALE;
}

/* Left by a namespace of this name that is gone, unless its daemon lives. */
static int remove_stale(struct xdivert *s)
{
	int err = state_lock(s);

	if (!err && state_daemon_runs(s))
		err = -EBUSY;
	if (!err) {
		hook_forget(s);
		state_remove(s);
	}
	close_maps(s);
	return err;
}

static int open_dir(struct xdivert *s, const char *pin_dir, bool create)
{
	int err = choose_dir(s, pin_dir, create);

	err = err ? err : open_once(s, create);
	if (err != -ESTALE)
		return err;
	if (!create)
		return -ENOENT;
	err = remove_stale(s);
	err = err ? err : choose_dir(s, pin_dir, create);
	return err ? err : open_once(s, create);
}

bool state_here(const struct xdivert *s)
{
	struct stat st;

	return !stat("/proc/thread-self/ns/net", &st) && st.st_ino == s->id;
}

int state_check_here(const struct xdivert *s)
{
	return state_here(s)
		       ? 0
		       : error_set(-EXDEV,
				   "this thread is in another network "
				   "namespace than the one that was opened");
}

static int open_netns(struct xdivert *s)
{
	struct stat st;

	s->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (s->netns < 0 || fstat(s->netns, &st))
		return -errno;
	s->id = st.st_ino;
	return 0;
}

static int explain(const struct xdivert *s, int err)
{
	switch (err) {
	case -ENOTCONN:
		return err;
	case -ENOENT:
		return error_set(
			-ENOTCONN,
			"not ready: nothing is attached in this network "
			"namespace; try 'xdivert attach IFACE'");
	case -EPROTO:
		return error_set(err,
				 "%s was made by another version of xdivert; "
				 "detach with that one, or 'rm -r' it",
				 s->dir);
	case -EBUSY:
		return error_set(err,
				 "%s belongs to a namespace that is gone, but "
				 "its daemon (pid %u) still runs; stop it",
				 s->dir, s->shared ? s->shared->daemon_pid : 0);
	case -EPERM:
		return error_set(err,
				 "cannot pin anything in %s; is it a bpffs?",
				 s->root);
	}
	return error_set(err, "cannot open the pinned state in %s: %s", s->dir,
			 strerror(-err));
}

static struct xdivert *new_state(void)
{
	struct xdivert *s = calloc(1, sizeof(*s));
	size_t i;

	if (!s)
		return NULL;
	s->netns = s->lock = -1;
	for (i = 0; i < MAPS; i++)
		*map_fd(s, i) = -1;
	pthread_mutex_init(&s->mutex, NULL);
	return s;
}

int xdivert_open(struct xdivert **x, const struct xdivert_open_opts *opts)
{
	struct xdivert_open_opts all;
	int err = opts_take(&all, sizeof(all), opts);
	struct xdivert *s;

	if (err)
		return err;
	s = new_state();
	if (!s)
		return error_set(-ENOMEM, "out of memory");
	err = open_netns(s);
	err = err ? err : open_dir(s, all.pin_dir, all.create);
	if (err) {
		err = explain(s, err);
		xdivert_close(s);
		return err;
	}
	*x = s;
	return 0;
}

pid_t xdivert_daemon(struct xdivert *x)
{
	return state_daemon_runs(x) ? (pid_t)x->shared->daemon_pid : 0;
}

unsigned int state_served(const struct xdivert *s,
			  const struct xdv_iface *iface)
{
	const struct xdv_queue *row =
		&s->occupancy[iface->slot * XDV_MAX_QUEUES];
	unsigned int i, n = 0;

	if (iface->hook == XDV_HOOK_TC)
		return tap_served(s);

	for (i = 0; i < iface->queues; i++)
		/* The slot's last user may not have been given up yet. */
		n += __atomic_load_n(&row[i].limit, __ATOMIC_ACQUIRE) &&
		     row[i].serial == iface->serial;
	return n;
}

void state_settle(struct xdivert *s)
{
	struct xdivert_stats total;
	int64_t held;
	int fd;

	/* Whoever has a handle may have packets too. */
	if (state_lock_folder(s, "handles", LOCK_EX, &fd))
		return;
	if (stats_read(s, &total, NULL, 0) < 0) {
		close(fd);
		return;
	}
	held = total.held;
	/* What became of a frame in the stack, nobody has seen. */
	if ((int64_t)total.in_flight > 0)
		__atomic_fetch_add(&s->shared->unknown, total.in_flight,
				   __ATOMIC_RELAXED);
	if (held > 0) {
		__atomic_fetch_add(&s->shared->dropped, held, __ATOMIC_RELAXED);
		__atomic_fetch_add(&s->shared->abandoned, held,
				   __ATOMIC_RELAXED);
	}
	close(fd);
}
