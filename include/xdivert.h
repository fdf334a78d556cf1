/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libxdivert: take packets out of the forwarding path, edit them, put them
 * back, and learn what became of each.
 *
 * Functions that can fail return 0 (or a count) or a negative errno;
 * xdivert_error() then has a sentence for a person; but those of packets (push,
 * pull, put, trim, finish, parse) leave it as it was. ifindexes, lengths and
 * times are in host byte order, packets in network order. Times are
 * CLOCK_MONOTONIC nanoseconds. Linux 6.1 or newer.
 *
 * Errors that initiating an injection can return; the completion is then not
 * called and the packet is still the caller's:
 *
 *   -ENOTCONN      not ready: the compartment is gone or was never there
 *   -ESHUTDOWN     the handle is closing
 *   -ENOBUFS       XDIVERT_PENDING_MAX injections are pending; dispatch first
 *   -EINVAL        flags that are not zero, or a packet that is not one sound
 *                  IP packet of that family
 *   -EAFNOSUPPORT  a family that is not AF_INET or AF_INET6, or that the
 *                  handle was not created for
 *   -EOPNOTSUPP    a kind of injection that the handle was not created for
 *
 * Statuses of a completion (0: the device, or the local stack, took it):
 *
 *   -ENODEV        no such interface in the compartment
 *   -ENETDOWN      the interface is down
 *   -EOPNOTSUPP    its stack cannot be reached, which is needed (the kernel
 *                  lacks clsact or cls_bpf)
 *   -ENXIO         it has no carrier (a veth: its peer is down)
 *   -ENOBUFS       the device's queue, its qdisc, or the library's own for a
 *                  next hop that is being resolved is full, or it was in that
 *                  for XDIVERT_BOUND_MS and never had its turn, or there is no
 *                  memory, or no frame to cut a long packet into
 *   -EMSGSIZE      longer than the MTU of its interface, or of its route
 *   -EHOSTUNREACH  the next hop does not answer ARP or neighbour discovery
 *   -EIO           its stack dropped it (the record's reason says why)
 *   -EPERM         a TC program of the interface dropped it
 *   -ENETUNREACH   no route through this interface, or one that says
 *                  blackhole or unreachable, or the interface does not forward
 *                  (reason FIB_FWD_DISABLED: net.ipv4.conf.*.forwarding)
 *   -EACCES        a prohibit route
 *   -ETIME         TTL or hop limit ends here
 *   -ENOTCONN      the compartment has gone meanwhile, or the dispatching
 *                  thread may not enter it
 *   -ECANCELED     the handle was destroyed first; what the stack had by then
 *                  (engine neigh) may still leave
 *   -EINVAL        the packet's IP header was spoilt after initiation
 *   -ETIMEDOUT     the kernel did not say what it did with the frame: not in
 *                  XDIVERT_BOUND_MS, or it has meanwhile used the frame's
 *                  sk_buff for another; the frame may have left, or leave later
 *
 * and, with reason ENGINE, what the kernel call said that was to send it.
 *
 * A frame that the interface cannot transmit as an XDP frame, whose next hop is
 * not resolved, or which shall pass the qdisc (XDIVERT_PACKET_VIA_STACK) takes
 * the engine "neigh", through the stack: its completion comes when the driver
 * has taken it from the qdisc. Reason CONSUMED: somebody took the frame without
 * calling that a drop. With status 0 that was the device, which had been handed
 * the frame; with -ETIMEDOUT something before it (a TC action, say), whatever
 * that did with the frame. Until then up to XDV_STACK_MAX frames wait in the
 * stack, and up to XDV_HELD_MAX in user space for each next hop that is being
 * resolved.
 */
#ifndef XDIVERT_H
#define XDIVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <xdivert/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define XDIVERT_API __attribute__((visibility("default")))

#define XDIVERT_PACKET_MAX  65575 /* an IPv6 header, and 65,535 bytes */
#define XDIVERT_PENDING_MAX 1024
#define XDIVERT_SHARES_MAX  64
/* An injection completes at most this long after dispatch took it up. */
#define XDIVERT_BOUND_MS    10000

/* The last failure of this thread, "" if there was none. Valid until the
 * thread's next call.
 */
XDIVERT_API const char *xdivert_error(void);

/* ---- a compartment ------------------------------------------------------ */

/*
 * A compartment is a network namespace. Its id is the namespace's inode
 * number, as `ls -i /run/netns` and lsns(8) show it; 0 is the namespace of
 * the handle.
 */
#define XDIVERT_COMPARTMENT_UNSPECIFIED 0

/* The id of a name of `ip netns`. -ENOTCONN: there is none. */
XDIVERT_API int xdivert_compartment_find(const char *name, uint32_t *id);
/* Move the calling thread into it, for good. -ENOTCONN: there is none; -EPERM:
 * without CAP_SYS_ADMIN.
 */
XDIVERT_API int xdivert_compartment_enter(const char *name);

/*
 * The interface that a rule's --to names: "IFACE" of the thread's namespace
 * (*compartment is 0), or "IFACE@NETNS" of another one, which goes by its name
 * or by its id. -ENODEV: no such interface; -ENOTCONN: no such compartment;
 * -EPERM: not without CAP_SYS_ADMIN.
 */
XDIVERT_API int xdivert_interface_find(const char *name, uint32_t *compartment,
				       uint32_t *ifindex);

/*
 * The pinned state of the calling thread's namespace: its attachments, rules
 * and counters. It lives in bpffs while an interface is attached or a daemon
 * runs, or somebody has a handle. Any number of processes may have it open, and
 * any number of threads may use one object, in the namespace that it was opened
 * in: from others those that change something return -EXDEV, and names of
 * interfaces are those of the time when they were attached. Handles and what
 * is done with them take locks of their object only for moments: what reads or
 * changes it may be called beside a dispatching thread. Once everything
 * was detached an object is of no use, whatever was attached since: its
 * functions return -ENOTCONN.
 */
struct xdivert;

struct xdivert_open_opts {
	size_t sz;	     /* sizeof(this) */
	const char *pin_dir; /* NULL: $XDIVERT_PIN_DIR, /sys/fs/bpf/xdivert */
	bool create;	     /* make what is missing */
};

/* opts may be NULL. -ENOTCONN: nothing is there and create is not set;
 * -EPROTO: another version of the library made what is there; -EPERM:
 * privileges are missing, or the folder is not in a bpffs.
 */
XDIVERT_API int xdivert_open(struct xdivert **x,
			     const struct xdivert_open_opts *opts);
XDIVERT_API void xdivert_close(struct xdivert *x);
/* Where the maps are pinned; x's. */
XDIVERT_API const char *xdivert_pins(const struct xdivert *x);

struct xdivert_attach_opts {
	size_t sz;	   /* sizeof(this) */
	unsigned int mode; /* enum xdv_mode of the hook, 0: the best it can */
	unsigned int fail; /* enum xdv_fail */
	unsigned int hook; /* enum xdv_hook */
};

/*
 * Put the hook on an interface. opts may be NULL. -ENODEV: no such interface;
 * -EEXIST: attached already; -EBUSY: another XDP program is in the way;
 * -EMSGSIZE: the MTU is too big for the XDP hook (before kernel 6.6);
 * -EOPNOTSUPP: not in this mode, or not on this kind of device; -EINVAL: a mode
 * of the other hook. On failure nothing has changed.
 *
 * XDV_HOOK_TC takes packets from TC ingress: GSO packets come in segments,
 * checksums complete, and the device may be one without link headers. Its
 * mode is a tcx link where the kernel has them (6.6), else a filter of the
 * clsact qdisc, which is made if need be and stays.
 */
XDIVERT_API int xdivert_attach(struct xdivert *x, const char *ifname,
			       const struct xdivert_attach_opts *opts);
/* -ENOENT: not attached. The last one takes all pinned state with it, unless
 * a daemon runs.
 */
XDIVERT_API int xdivert_detach(struct xdivert *x, const char *ifname);
XDIVERT_API int xdivert_detach_all(struct xdivert *x);

struct xdivert_interface {
	struct xdv_iface iface;
	/* How many of its queues (TC: of the daemon's taps) are served. */
	uint32_t served;
};

/* The attached interfaces; how many there are (n may be less). */
XDIVERT_API int xdivert_interfaces(struct xdivert *x,
				   struct xdivert_interface *list, int n);
/* The daemon's pid, 0 if none runs. */
XDIVERT_API pid_t xdivert_daemon(struct xdivert *x);

/* Rules. rule->id is set. All or nothing; a packet sees the rules before or
 * after. -EEXIST: the name is taken; -ENODEV: it names an interface that is not
 * there; -EINVAL: see xdivert_error().
 */
XDIVERT_API int xdivert_rule_add(struct xdivert *x, struct xdv_rule *rule);
/* -ENOENT: there is none of that name. */
XDIVERT_API int xdivert_rule_del(struct xdivert *x, const char *name);
XDIVERT_API int xdivert_rule_flush(struct xdivert *x);
/* Those in force: how many, in the order in which they are tried. The caller
 * frees *list.
 */
XDIVERT_API int xdivert_rules(struct xdivert *x, struct xdv_rule **list);
/* Also those that a packet on its way to the daemon may have matched. */
XDIVERT_API int xdivert_rules_all(struct xdivert *x, struct xdv_rule **list);

/*
 * These rules instead of those that are there: all or nothing, and a packet
 * sees the rules before or after. Of one priority, they are tried in the order
 * of the array. A rule that is there already, in every respect, keeps its id
 * and what it counted. -EINVAL, -EEXIST, -ENODEV: see xdivert_error(); -E2BIG:
 * more than XDV_MAX_RULES.
 */
XDIVERT_API int xdivert_rules_apply(struct xdivert *x,
				    const struct xdv_rule *rules, int n);
/* Read the address sets' files again. All or nothing. */
XDIVERT_API int xdivert_rules_reload(struct xdivert *x);
/* What a rule of xdivert_rules() matched so far. */
XDIVERT_API int xdivert_rule_hits(struct xdivert *x,
				  const struct xdv_rule *rule,
				  struct xdv_hits *hits);

/*
 * Rules as text: NAME --filter EXPRESSION [--iif ...]..., as on the command
 * line of 'xdivert rule add', which these words may precede. A rule a line, a
 * shell's quotes, # begins a comment. Needs no privileges.
 */
/* Interfaces need not exist. */
#define XDIVERT_RULES_OFFLINE 0x1

/* How many; the caller frees *list. file is the text's name in the error:
 * "FILE:LINE:COLUMN: expected ...". -EINVAL.
 */
XDIVERT_API int xdivert_rules_parse(const char *text, const char *file,
				    unsigned int flags, struct xdv_rule **list);
/* One rule from words. Only the words are checked. -EINVAL. */
XDIVERT_API int xdivert_rule_parse(int argc, char **argv,
				   struct xdv_rule *rule);
/* A line without its end that the above reads; what snprintf() would return.
 */
XDIVERT_API int xdivert_rule_format(const struct xdv_rule *rule, char *text,
				    size_t size);
/*
 * All that is to be known of a rule: its text, what libpcap makes of its
 * filter, how it is looked up, and the eBPF that runs otherwise. The caller
 * frees *text. -EINVAL.
 */
XDIVERT_API int xdivert_rule_explain(const struct xdv_rule *rule, char **text);

/*
 * Ask the rules about a packet without the kernel: the answer is the hook's
 * own. The rules are copied. link_type is libpcap's (DLT_EN10MB, ...).
 */
struct xdivert_matcher;
struct xdivert_where {
	const char *iif, *oif; /* "": unknown; no rule that names one matches */
	uint32_t layer;	       /* enum xdv_layer */
};
XDIVERT_API int xdivert_matcher_create(struct xdivert_matcher **m,
				       const struct xdv_rule *rules, int n,
				       int link_type);
/* The index of the rule that wins in the array, -1: none. caplen bytes are
 * there of a packet of len bytes.
 */
XDIVERT_API int xdivert_matcher_find(const struct xdivert_matcher *m,
				     const struct xdivert_where *where,
				     const void *packet, uint32_t caplen,
				     uint32_t len);
XDIVERT_API void xdivert_matcher_free(struct xdivert_matcher *m);

/* Changes before a packet can match a rule that was not there before. */
XDIVERT_API uint64_t xdivert_generation(const struct xdivert *x);

/* seen = unmatched + matched; matched = diverted + unserved + queue_dropped;
 * diverted + originated = injected + dropped + held;
 * injected = completed + failed + in_flight.
 */
struct xdivert_stats {
	uint32_t ifindex; /* 0: the total */
	uint64_t seen, unmatched, matched;
	uint64_t diverted, unserved, queue_dropped;
	uint64_t flow_passed, flow_dropped; /* part of unmatched */
	uint64_t injected, completed, failed, in_flight;
	/* The total's only. abandoned is part of dropped: lost with a daemon
	 * that died. returned is part of diverted: seen again after injection.
	 */
	uint64_t originated, dropped, abandoned, held, returned;
	/* The total's only: groups of fragments that were put together and
	 * matched, and fragments of datagrams that did not become whole: in
	 * time, for want of memory, and because they were invalid. They count
	 * as diverted, held, injected or dropped like any packet; a group that
	 * was put together counts for all its fragments.
	 */
	uint64_t reassembled, fragments_expired, fragments_evicted,
		fragments_discarded;
};

/* Rows of up to n interfaces (row may be NULL); how many, or -errno. */
XDIVERT_API int xdivert_stats_read(struct xdivert *x,
				   struct xdivert_stats *total,
				   struct xdivert_stats *row, int n);

/*
 * Up to n completions after the *seen-th, oldest first; *seen moves on. Only
 * the last XDV_RECENT are kept: *missed (may be NULL) counts the rest.
 */
XDIVERT_API int xdivert_completions(struct xdivert *x, uint64_t *seen,
				    struct xdv_completion *list, int n,
				    uint64_t *missed);

/*
 * The targets of injections that were seen here, and the engine that each
 * takes: live frames, or through its stack because it refused those (status
 * says how). How many there are (n may be less), or -errno. One that refused is
 * tried again when a link changes, and every few seconds.
 */
XDIVERT_API int xdivert_targets(struct xdivert *x, struct xdv_target *list,
				int n);

/* What people call a layer of a rule, and a status, a reason and an engine of a
 * completion.
 */
XDIVERT_API const char *xdivert_layer_name(unsigned int layer);
XDIVERT_API const char *xdivert_status_text(int status);
XDIVERT_API const char *xdivert_reason_name(unsigned int reason);
XDIVERT_API const char *xdivert_engine_name(unsigned int engine);

/* ---- packets ------------------------------------------------------------ */

/*
 * A packet is one IP packet without a link header, in a frame of a handle's
 * UMEM or, if it is longer than XDV_PACKET_MAX, in memory of its own. It
 * belongs to whoever allocated or received it, until it is injected or freed;
 * it must go back to the handle it came from. Allocating, cloning and freeing
 * may be done on any thread.
 */
struct xdivert_packet;
struct xdivert_injection;

/* From the FIB and the hook, for a packet that was diverted. */
struct xdivert_metadata {
	uint64_t received; /* ns */
	uint32_t rule;	   /* id */
	uint32_t iif;
	uint32_t oif;	      /* forward layer: where the FIB sends it */
	uint32_t compartment; /* id */
	uint32_t layer;	      /* enum xdv_layer */
	uint32_t flags;	      /* XDIVERT_META_ */
};

/* A group of fragments, put together; see xdivert_packet_fragments(). */
#define XDIVERT_META_REASSEMBLED 0x1
/* A fragment as it came, for a rule of XDV_FRAGMENT_ONLY. */
#define XDIVERT_META_FRAGMENT	 0x2

/* A fragment of a group that was put together. */
struct xdivert_fragment {
	uint16_t len;	 /* of the fragment, an IP packet */
	uint16_t offset; /* of its payload in the datagram's, bytes */
};

/* The TTL or hop limit is decremented when it is injected forward. */
#define XDIVERT_PACKET_FORWARDED   0x1
/* It leaves through the stack of its target, whose egress qdisc it passes,
 * whatever else the target can do.
 */
#define XDIVERT_PACKET_VIA_STACK   0x2
/* Longer than the MTU, it completes with -EMSGSIZE: nobody cuts it, ... */
#define XDIVERT_PACKET_NO_FRAGMENT 0x4
/* ... and nobody tells its sender by ICMP. */
#define XDIVERT_PACKET_NO_ICMP	   0x8

/* len bytes of zeroes; NULL: no frame or memory is free, or len is too big. */
XDIVERT_API struct xdivert_packet *
xdivert_packet_alloc(struct xdivert_injection *h, uint32_t len);
/* A copy, flags, metadata and injection state included. NULL: no frame. */
XDIVERT_API struct xdivert_packet *
xdivert_packet_clone(const struct xdivert_packet *p);
/* A diverted packet that is freed was dropped, and is counted so. Freeing
 * twice is a bug that builds with XDIVERT_DEBUG abort on.
 */
XDIVERT_API void xdivert_packet_free(struct xdivert_packet *p);

/* The IP header. Valid until the packet is injected, freed or resized. */
XDIVERT_API uint8_t *xdivert_packet_data(struct xdivert_packet *p);
XDIVERT_API uint32_t xdivert_packet_len(const struct xdivert_packet *p);
/* Zeroes if it was not diverted. Valid as long as the packet is yours. */
XDIVERT_API const struct xdivert_metadata *
xdivert_packet_metadata(const struct xdivert_packet *p);
XDIVERT_API uint32_t xdivert_packet_flags(const struct xdivert_packet *p);
XDIVERT_API void xdivert_packet_set_flags(struct xdivert_packet *p,
					  uint32_t flags);

/*
 * How a packet was cut that is a group of fragments, put together: up to n of
 * them by offset. How many there are; 0: it was none.
 */
XDIVERT_API int xdivert_packet_fragments(const struct xdivert_packet *p,
					 struct xdivert_fragment *list, int n);

/* Bytes that push, and put, could add. */
XDIVERT_API uint32_t xdivert_packet_headroom(const struct xdivert_packet *p);
XDIVERT_API uint32_t xdivert_packet_tailroom(const struct xdivert_packet *p);
/* Add n bytes, not initialised, in front or behind; take n away. -ENOSPC. */
XDIVERT_API int xdivert_packet_push(struct xdivert_packet *p, uint32_t n);
XDIVERT_API int xdivert_packet_pull(struct xdivert_packet *p, uint32_t n);
XDIVERT_API int xdivert_packet_put(struct xdivert_packet *p, uint32_t n);
XDIVERT_API int xdivert_packet_trim(struct xdivert_packet *p, uint32_t n);

/* Where things are in a packet; offsets from the IP header. */
struct xdivert_headers {
	uint8_t version;     /* 4 or 6 */
	uint8_t protocol;    /* of the transport header; extensions skipped */
	bool later_fragment; /* not the first: it has no transport header */
	uint16_t transport;  /* offset, 0 if there is none */
	uint16_t payload;    /* offset of the bytes behind TCP, UDP or ICMP */
};

/*
 * 0, or -EINVAL if the IP header is malformed or its length is not len. Never
 * reads past data + len. A packet whose transport header is truncated or of an
 * unknown protocol is valid, with transport (or payload) 0.
 */
XDIVERT_API int xdivert_parse(const void *data, uint32_t len,
			      struct xdivert_headers *headers);

/* Internet checksum (RFC 1071) of data, in memory order; sum is of what came
 * before, unfolded (0 to start). Data before the last must be of even length.
 */
XDIVERT_API uint16_t xdivert_checksum(const void *data, uint32_t len,
				      uint32_t sum);
/* RFC 1624: adjust *sum for len (even) bytes that change. */
XDIVERT_API void xdivert_checksum_update(void *sum, const void *from,
					 const void *to, uint32_t len);
/*
 * Set the packet's IP length, and UDP's, to its own, and compute the checksums
 * of IPv4 and of TCP, UDP, ICMP and ICMPv6. A UDP checksum of 0 over IPv4
 * (none) stays 0. Of a fragment that is one still, only the IP header is
 * finished: the rest is about the whole datagram. -EINVAL: not an IP packet.
 */
XDIVERT_API int xdivert_packet_finish(struct xdivert_packet *p);

/* ---- injection ---------------------------------------------------------- */

#define XDIVERT_KIND_FORWARD 0x1
#define XDIVERT_KIND_RECEIVE 0x2
#define XDIVERT_KIND_ALL     (XDIVERT_KIND_FORWARD | XDIVERT_KIND_RECEIVE)

/*
 * Called exactly once for each injection that was initiated, from
 * xdivert_dispatch() or xdivert_injection_destroy(), on their thread: never
 * from within the initiating call, so never before that has returned to a
 * thread that dispatches itself. If another one does, what that call does last
 * is to let it begin: who must have done something first takes a lock before
 * the call, and in the callback. The packet is the callback's: it must free it
 * or inject it again. Initiating injections in it is allowed, dispatching and
 * destroying the handle are not (-EDEADLK), nor is moving the thread to another
 * network namespace; it may be in that of the injection's compartment.
 */
typedef void (*xdivert_completion_fn)(void *arg, struct xdivert_packet *packet,
				      const struct xdv_completion *completion);

/*
 * An injection handle with its own UMEM, for one family (AF_INET, AF_INET6 or
 * AF_UNSPEC: both) and kinds of injection. x must outlive it. Each has a device
 * of its own (xdvN, down) and 32 MiB of locked kernel memory; where the kernel
 * has no tap devices a namespace has room for 64 of them. -ENOTCONN: not ready;
 * -EINVAL: no such kind; -EAFNOSUPPORT: no
 * such family; -EXDEV: the thread is not in x's namespace; -EPERM: privileges
 * are missing; others of the kernel's when it has no room for it.
 */
XDIVERT_API int xdivert_injection_create(struct xdivert_injection **h,
					 struct xdivert *x, int family,
					 uint32_t kinds);
/*
 * Refuse new injections (-ESHUTDOWN), complete what is pending, and free the
 * handle: no completion is called afterwards. What is not done by timeout_ms
 * (-1: none, 0: at once) completes with -ECANCELED. Packets that the caller
 * still has are gone with the UMEM; the number of them is returned. No other
 * thread may use the handle or its packets any more: it sees -ESHUTDOWN only
 * if it is called from the last completions. -EDEADLK: in a callback of the
 * handle.
 */
XDIVERT_API int xdivert_injection_destroy(struct xdivert_injection *h,
					  int timeout_ms);

/*
 * Queue the packet to leave through an interface of a compartment: the next
 * hop is resolved there, the link header written, TTL decremented if the
 * packet's flags say so. It passes no hook of ours on its way out. flags must
 * be 0. fn may be NULL: the packet is then freed on completion. Returns 0 if
 * the injection was initiated: the packet is the library's until fn. Any
 * thread may call it, for packets that no other thread uses. Packets of a flow
 * (between two addresses, by the same interface) leave in the order in which
 * they were queued; others may overtake one that has to wait, or to be cut.
 */
XDIVERT_API int
xdivert_inject_forward_async(struct xdivert_injection *h, uint64_t context,
			     uint32_t flags, int family, uint32_t compartment,
			     uint32_t ifindex, struct xdivert_packet *packet,
			     xdivert_completion_fn fn, void *arg);

/* The same into the local stack, as if received on ifindex. The completion
 * says that the stack took it, not that a socket did.
 */
XDIVERT_API int
xdivert_inject_receive_async(struct xdivert_injection *h, uint64_t context,
			     uint32_t flags, int family, uint32_t compartment,
			     uint32_t ifindex, struct xdivert_packet *packet,
			     xdivert_completion_fn fn, void *arg);

/*
 * Wait up to timeout_ms (-1: for ever, 0: not at all) for something to do, do
 * it, and call back: send what is queued, deliver completions, and (if the
 * handle has a callout) receive and classify. How much was done, or -errno; 0
 * after a timeout, but also when it was woken and there was nothing to do (an
 * interface came or went): call again. -EINTR: a signal; -EDEADLK: in a
 * callback of the handle; others are trouble with an interface that is to be
 * served. By one thread at a time. In another network namespace than the
 * handle's it goes there meanwhile: callbacks then run there too.
 */
XDIVERT_API int xdivert_dispatch(struct xdivert_injection *h, int timeout_ms);
/* The dispatch that is under way, or else the next one, does not wait any more
 * but returns. From any thread, not from a signal handler.
 */
XDIVERT_API void xdivert_interrupt(struct xdivert_injection *h);
/*
 * From now on dispatch spins while it waits: the least latency, for a whole
 * CPU. It then looks once a millisecond only for interfaces that came or went.
 */
XDIVERT_API void xdivert_busy_poll(struct xdivert_injection *h, bool on);
/*
 * To be woken takes a packet longer than its whole way through user space. So
 * after a sleep, waking included, that was shorter than this many microseconds
 * a dispatch that waits spins for as long before it sleeps. 0: it sleeps at
 * once.
 */
#define XDIVERT_IDLE_POLL_US 25 /* unless said otherwise */
XDIVERT_API void xdivert_idle_poll(struct xdivert_injection *h,
				   unsigned int us);
/* Readable when xdivert_dispatch() has something to do; for poll or epoll,
 * with that timeout in ms (-1: none): dispatch then too.
 */
XDIVERT_API int xdivert_fd(const struct xdivert_injection *h);
XDIVERT_API int xdivert_timeout(const struct xdivert_injection *h);

enum xdivert_injection_state {
	XDIVERT_NOT_INJECTED,
	XDIVERT_INJECTED_BY_SELF,
	XDIVERT_INJECTED_BY_OTHER,
	XDIVERT_PREVIOUSLY_INJECTED_BY_SELF,  /* and by another one since */
	XDIVERT_PREVIOUSLY_INJECTED_BY_OTHER, /* by two, neither of them self */
};

/*
 * Was this packet injected before, by this handle or by any other on this
 * host? *context (may be NULL) is what was given then. Keyed on the whole
 * packet but TTL and IPv4 checksum, and on a TTL not above the injected one
 * and not that which the packet was diverted with;
 * it remembers the last injections of the host, XDV_INJECTED at most (one in
 * 300 is forgotten once 10,000 others followed, half once XDV_INJECTED did),
 * for ten seconds, and of those that are alike in their first 64 bytes the
 * last. It is wrong for a packet that somebody changed on the way (says not
 * injected), and for a repetition, to the byte, with a lower TTL (says
 * injected). The two states of self have a context, the others 0. "This host"
 * is every handle whose pins share a root, in whatever namespace.
 */
XDIVERT_API enum xdivert_injection_state
xdivert_query_injection_state(struct xdivert_injection *h,
			      const struct xdivert_packet *p,
			      uint64_t *context);

/* ---- receiving ---------------------------------------------------------- */

enum xdivert_verdict {
	XDIVERT_CONTINUE, /* ask the next; after the last one: inject */
	XDIVERT_INJECT,	  /* where it was going */
	XDIVERT_DROP,
	XDIVERT_ABSORB, /* it is the callout's, to inject or free later */
};

/* *verdict is XDIVERT_CONTINUE on entry. The packet may be edited and resized.
 */
typedef void (*xdivert_classify_fn)(void *arg, struct xdivert_packet *packet,
				    const struct xdivert_metadata *metadata,
				    enum xdivert_verdict *verdict);

/*
 * Become the daemon of the handle's compartment: from now on packets that
 * match a rule come to this handle. -EBUSY: there is one already; -EALREADY:
 * this handle is it; -EXDEV: the thread is not in that namespace; -EINVAL: the
 * handle is not of AF_UNSPEC and XDIVERT_KIND_ALL, and could not send on
 * whatever a rule diverts.
 */
XDIVERT_API int xdivert_serve(struct xdivert_injection *h);
/*
 * The same for one of `shares` handles of this process that serve together,
 * each on its own thread: this one gets the receive queues that are its share
 * (0 .. shares - 1), so packets of a flow, which arrive in one queue, all come
 * to one handle. Queues of a share that no handle serves are unserved. -EBUSY:
 * another process serves here, or a handle has that share; -EINVAL: no such
 * share, or those that serve already divide the queues into another number of
 * shares.
 */
XDIVERT_API int xdivert_serve_share(struct xdivert_injection *h,
				    unsigned int share, unsigned int shares);
/*
 * Fragments that the rules may want wait in memory of their own until their
 * datagram is whole. Then the rules are asked about it: one that matches comes
 * as one packet, and is cut again when it is injected; one that does not goes
 * on as it came. What does not become whole in time, or is too much, is passed
 * or dropped as the interface's `fail` says. Discarded are datagrams with
 * overlapping fragments (RFC 5722; in IPv4 too, as Linux does), fragments past
 * an end, and a mixture of ECN and none. For all handles that serve together;
 * while nothing waits. Zeroes: as it is.
 */
struct xdivert_reassembly_opts {
	size_t sz;	      /* sizeof(this) */
	uint32_t timeout4_ms; /* from a group's first fragment; 30 s */
	uint32_t timeout6_ms; /* 60 s */
	uint64_t memory;      /* bytes; 16 MiB */
};
/* -ENOTCONN: the handle does not serve. */
XDIVERT_API int xdivert_reassembly(struct xdivert_injection *h,
				   const struct xdivert_reassembly_opts *opts);

/* From now on matched packets are unserved; what has arrived is still
 * received.
 */
XDIVERT_API void xdivert_serve_stop(struct xdivert_injection *h);

/* Callouts classify in the order of registration, called from dispatch.
 * -ENOSPC: there are 16 already.
 */
XDIVERT_API int xdivert_callout_register(struct xdivert_injection *h,
					 xdivert_classify_fn fn, void *arg);

/* Or pull: up to n packets that arrived; they are the caller's. */
XDIVERT_API int xdivert_receive(struct xdivert_injection *h,
				struct xdivert_packet **packets, int n);
/* Inject a packet where it was going: XDIVERT_INJECT, for those who pull. */
XDIVERT_API int xdivert_inject_onward(struct xdivert_injection *h,
				      struct xdivert_packet *packet);

/* ---- flows -------------------------------------------------------------- */

/*
 * A TCP or UDP connection, both directions of it, can be decided: the hook
 * then passes or drops its packets by itself, and neither asks the rules nor
 * hands them to anybody. They count as unmatched, and as flow_passed or
 * flow_dropped.
 */
struct xdivert_flow_opts {
	size_t sz;	      /* sizeof(this) */
	unsigned int verdict; /* XDV_FLOW_PASS or XDV_FLOW_DROP */
	unsigned int timeout; /* s without a packet that end it; 0: 120 */
	uint64_t after;	      /* packets that are still asked about */
};

/*
 * Decide the flow of a packet that was diverted, from now on; the packet
 * itself is still the caller's. Its addresses and ports must be those that it
 * came with. The decision ends when the flow is idle, when TCP opens it anew,
 * when the table is full and others are younger, or when rules change. `after`
 * counts from the first decision on, in both directions; repeating the same
 * decision changes nothing.
 * -EOPNOTSUPP: not TCP or UDP, or a fragment; -ESTALE: the packet's rule is no
 * longer in force; -EINVAL. On the handle's thread only.
 */
XDIVERT_API int xdivert_flow_decide(struct xdivert_injection *h,
				    const struct xdivert_packet *packet,
				    const struct xdivert_flow_opts *opts);

struct xdivert_flow {
	struct xdv_flow_key key;
	struct xdv_flow flow;
	uint64_t idle; /* ns */
};
/* Those that are decided; how many. The caller frees *list. */
XDIVERT_API int xdivert_flows(struct xdivert *x, struct xdivert_flow **list);
/* Forget all decisions. */
XDIVERT_API int xdivert_flow_flush(struct xdivert *x);
/* A new, empty table for that many (1 to 16777216). There is one for XDV_FLOWS
 * from the first decision on. -EINVAL.
 */
XDIVERT_API int xdivert_flow_limit(struct xdivert *x, unsigned int flows);

/* The callouts of --do, "NAME ARGS"; -EINVAL: see xdivert_error(). */
struct xdivert_callout;
XDIVERT_API int xdivert_callout_parse(const char *text,
				      struct xdivert_callout **callout);
XDIVERT_API enum xdivert_verdict
xdivert_callout_run(const struct xdivert_callout *callout,
		    struct xdivert_packet *packet);
XDIVERT_API void xdivert_callout_free(struct xdivert_callout *callout);

#ifdef __cplusplus
}
#endif

#endif
