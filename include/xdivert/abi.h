/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What crosses between the BPF programs and user space. Every struct here is
 * the value of a pinned map or a record in one, so bpftool prints its fields.
 * Host byte order unless a comment says otherwise; times are CLOCK_MONOTONIC
 * nanoseconds.
 */
#ifndef XDIVERT_ABI_H
#define XDIVERT_ABI_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define XDV_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#elif __STDC_VERSION__ >= 201112L
#define XDV_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#else
#define XDV_SIZE(type, size)                                                   \
	extern char xdv_size_is_right[sizeof(type) == (size) ? 1 : -1]
#endif

/* Changes with every struct below: two versions do not share maps. */
#define XDV_ABI 18

#define XDV_MAX_IFACES	 64
#define XDV_MAX_QUEUES	 64 /* receive queues of one interface */
/* The rows behind the interfaces': one a tap, which the TC hook feeds. */
#define XDV_TAP_SLOT	 XDV_MAX_IFACES
#define XDV_ROWS	 ((XDV_MAX_IFACES + 1) * XDV_MAX_QUEUES)
#define XDV_TAPPED	 16384 /* packets in the taps at once, power of two */
/* ns: what has not come out of a tap by then was lost in it */
#define XDV_TRANSIT_MAX	 1000000000
#define XDV_MAX_RULES	 512
#define XDV_HITS	 4096 /* rows of hits; more than rules are kept */
#define XDV_RULES_KEPT	 2048 /* in whatever state */
#define XDV_MAX_CALLOUTS 16   /* of one rule */
/* Programs of a rule set: a packet may take the chain twice, and the kernel
 * allows 33 tail calls.
 */
#define XDV_CHAIN_MAX	 14
#define XDV_NAME_LEN	 32
#define XDV_TEXT_LEN	 1024
#define XDV_PATH_LEN	 256
#define XDV_FLOWS	 65536 /* decided flows, unless said otherwise */

/* A UMEM frame is one element of xdv_umem. */
#define XDV_FRAME_SIZE	   4096
#define XDV_FRAMES	   8192
/* The IP header starts in the first 512 bytes of its frame ... */
#define XDV_HEAD_MAX	   512
/* ... and is followed by at most this: what a live frame holds beside its
 * Ethernet header (a page less headroom and skb_shared_info, kernel 5.18+).
 */
#define XDV_PACKET_MAX	   3328
/* What AF_XDP writes into one frame, from the link header on; more goes into
 * several, where the kernel can do that (6.6).
 */
#define XDV_FRAME_DATA	   (XDV_FRAME_SIZE - 256)
#define XDV_FRAMES_OF(len) (((len)-1) / XDV_FRAME_DATA + 1)
/*
 * Before that kernel what is longer than XDV_PACKET_MAX goes through a tap as
 * a stub: its beginning in the frame, followed by struct xdv_stub that says in
 * which pages of the tap's xdv_rest the rest is.
 */
#define XDV_STUB_HEAD	   256	/* bytes of the packet */
#define XDV_REST_PAGE	   4080 /* bytes of it in a page */
#define XDV_REST_PAGES	   4096 /* of a tap, power of two */
#define XDV_REST_MOST	   17	/* of a packet */
#define XDV_PAGES_OF(len)  (((len)-1) / XDV_REST_PAGE + 1) /* len of a rest */
/* Longer ones do not leave as live frames; xdv_inject sees their beginning. */
#define XDV_BIG_HEAD	   256
/* Packets up to that go with their descriptor. */
#define XDV_SHORT	   64

#define XDV_INFLIGHT	      1024 /* injections in flight per handle, power of two */
#define XDV_RECENT	      1024  /* completions that xdv_recent remembers */
#define XDV_INJECTED	      65536 /* injections that a host remembers */
/* So many words are searched for one of them; eight lie in an element. */
#define XDV_INJECTED_WAYS     4
#define XDV_INJECTED_SETS     (XDV_INJECTED / XDV_INJECTED_WAYS)
#define XDV_INJECTED_ELEMENTS (1 + XDV_INJECTED + XDV_INJECTED / 8)

/* In front of a diverted frame, in its XDP metadata area. */
struct xdv_meta {
	__u64 timestamp;
	__u32 rule; /* 0: a fragment, the rules are asked about the whole */
	__u32 iif;
	__u32 oif;	 /* from the FIB */
	__u16 l3_offset; /* from the frame's first byte to its IP header */
	__u8 layer;	 /* enum xdv_layer */
	__u8 stub;	 /* 1: of a longer packet */
};
XDV_SIZE(struct xdv_meta, 24);

/* A page of xdv_rest. Pages are numbered as they are taken, from 0 on. */
struct xdv_rest {
	__u64 number; /* one more than its own; another: it was written anew */
	__u64 pad;
	__u8 bytes[XDV_REST_PAGE];
};
XDV_SIZE(struct xdv_rest, 4096);

/* The end of a stub. */
struct xdv_stub {
	__u64 first; /* number of the first page */
	__u32 len;   /* of the rest */
	__u32 pad;
};
XDV_SIZE(struct xdv_stub, 16);

enum xdv_layer {
	XDV_LAYER_NONE,
	XDV_LAYER_FORWARD, /* packets that the FIB forwards */
	XDV_LAYER_RECEIVE, /* packets for this host */
	XDV_LAYER_GROUP,   /* frames to many: multicast and broadcast */
	XDV_LAYERS,
};

/* What a rule matches of datagrams that come in fragments. */
enum xdv_fragment {
	XDV_FRAGMENT_ANY,   /* they are put together and matched as a whole */
	XDV_FRAGMENT_ONLY,  /* only fragments, each as it is */
	XDV_FRAGMENT_NONE,  /* nothing of them */
	XDV_FRAGMENT_WHOLE, /* only such datagrams, put together */
};

enum xdv_fail {
	XDV_FAIL_OPEN,
	XDV_FAIL_CLOSED,
};

enum xdv_hook {
	XDV_HOOK_XDP,
	XDV_HOOK_TC,
};

enum xdv_mode {
	XDV_MODE_NATIVE = 1, /* XDP */
	XDV_MODE_GENERIC,
	XDV_MODE_TCX, /* TC: a link, kernel 6.6 */
	XDV_MODE_CLSACT,
};

/* xdv_ifaces: an attached interface, by ifindex. */
struct xdv_iface {
	__u64 serial; /* no two attachments share one */
	__u32 ifindex;
	__u32 slot;	  /* its rows in xdv_queues and xdv_xsks */
	__u32 fail;	  /* enum xdv_fail */
	__u32 mode;	  /* enum xdv_mode */
	__u32 queues;	  /* XDP; what the TC hook takes goes to the taps */
	__u32 dispatcher; /* 1: attached through the libxdp dispatcher */
	__u32 prog_id;
	__u32 hook;	/* enum xdv_hook */
	__u32 priority; /* CLSACT: of the filter */
	__u32 handle;
	char name[XDV_NAME_LEN];
	__u8 mac[6]; /* what is not sent to it is not ours */
	__u8 pad[2];
	__u32 longest; /* IP packet that comes in and is served */
	__u32 pad2;
};

/* xdv_queues: occupancy of one receive queue. Slot * XDV_MAX_QUEUES + queue. */
struct xdv_queue {
	__u64 produced; /* into the socket, by XDP: frames */
	__u64 lost;	/* redirect refused afterwards */
	/* A tap's: what went into the tap, and how much of that came out of it
	 * or was passed by what came behind.
	 */
	__u64 entered;
	__u64 left;
	__u64 last;	  /* when something went in */
	__u64 seq;	  /* the last that came out */
	__u64 run;	  /* how much of it */
	__u64 rest_taken; /* a tap's: pages of xdv_rest, ever */
	__u64 consumed;	  /* by the daemon; on its own cache line */
	__u64 limit;
	__u64 serial;	 /* of the attachment that the daemon serves here */
	__u64 rests;	 /* a tap's: pages of xdv_rest that there are, or 0 */
	__u64 rest_done; /* of those taken, how many are free again */
	__u64 pad1[3];
};
XDV_SIZE(struct xdv_queue, 128);

/* Which of `shares` handles that serve together serves a row. */
#define XDV_SHARE_OF(row, shares)                                              \
	(((row) / XDV_MAX_QUEUES + (row) % XDV_MAX_QUEUES) % (shares))

/* xdv_stats: per CPU, by ifindex; ifindex 0 is any target without a row. */
struct xdv_stats {
	__u64 seen;
	__u64 redirected; /* to AF_XDP; queue_dropped is part of it */
	__u64 unserved;
	__u64 queue_dropped;
	__u64 flow_passed; /* by a decided flow: neither matched nor asked */
	__u64 flow_dropped;
	__u64 injected; /* this and the next two: towards this interface */
	__u64 completed;
	__u64 failed;
	/* Through a tap, where a GSO packet becomes many. seen counts them as
	 * they come out: the difference at rest was lost.
	 */
	__u64 tap_in;
	__u64 tap_out;
};

/*
 * xdv_flows: a table with the flows that are decided. A flow is a TCP or UDP
 * connection in both directions; its key has the lower end first.
 */
struct xdv_flow_key {
	__u32 address[2][4]; /* network order; IPv4 in the first word */
	__u16 port[2];	     /* network order */
	__u8 protocol;
	__u8 family; /* AF_INET, AF_INET6 */
	__u8 pad[2];
};
XDV_SIZE(struct xdv_flow_key, 40);

enum xdv_flow_verdict {
	XDV_FLOW_NONE,
	XDV_FLOW_PASS,
	XDV_FLOW_DROP,
};

struct xdv_flow {
	__u64 last;    /* packet */
	__u64 timeout; /* ns without one, then it is forgotten */
	__u64 after;   /* packets that are diverted first */
	__u64 seen;    /* of those */
	/* What the verdict took, [0] from the key's first end to the second. */
	__u64 packets[2];
	__u64 bytes[2]; /* of the frames */
	__u32 verdict;	/* enum xdv_flow_verdict */
	__u32 rule;	/* id */
	__u64 epoch;	/* xdv_control's flow_epoch, or it is void */
};

/* Put the ends into the key in their order; 1 if that is the other one. */
static inline __u32 xdv_flow_key_set(struct xdv_flow_key *key,
				     const __u32 source[4],
				     const __u32 destination[4],
				     __u16 source_port, __u16 destination_port)
{
	__u32 other = source_port > destination_port;
	int i;

	for (i = 3; i >= 0; i--)
		if (source[i] != destination[i])
			other = source[i] > destination[i];
	for (i = 0; i < 4; i++) {
		key->address[0][i] = other ? destination[i] : source[i];
		key->address[1][i] = other ? source[i] : destination[i];
	}
	key->port[0] = other ? destination_port : source_port;
	key->port[1] = other ? source_port : destination_port;
	return other;
}

/* xdv_control: one element, shared by everyone in the compartment. */
struct xdv_control {
	__u64 abi;	  /* XDV_ABI of whoever created the maps */
	__u64 netns;	  /* its cookie: a new namespace may bear an old name */
	__u64 generation; /* of the rules; bumped before a packet can see them
			   */
	__u64 next_injection;
	__u64 completions; /* ever written to xdv_recent */
	__u64 originated;  /* made in user space, not received */
	__u64 dropped;	   /* by a callout */
	__u64 abandoned;   /* part of dropped: lost with a daemon that died */
	__u64 returned;	   /* part of diverted: seen again after injection */
	/* Injections that failed without BPF: not counted in xdv_stats at all,
	 * and counted there as injected.
	 */
	__u64 refused;
	__u64 unknown;
	__u64 unpassed; /* counted completed, but the stack did not take them */
	__u32 next_rule;
	__u32 daemon_pid;
	__u64 flow_epoch;  /* bumped when rules changed: no flow is decided */
	__u32 bank;	   /* where the rules' chains are among the stages */
	__u32 fragments;   /* 1 << enum xdv_layer: rules want those of it */
	__u64 reassembled; /* groups that matched a rule */
	/* Fragments whose datagram did not become whole: too late, too many,
	 * invalid.
	 */
	__u64 fragments_lost[3];
	__u8 mac[6]; /* source of our own frames: to the stack, to a tap */
	__u8 pad[2];
	__u64 tapped;		   /* ever sent into a tap */
	__u32 taps;		   /* of the daemon, a share of it has one */
	__u32 tap[XDV_MAX_QUEUES]; /* its ifindex here, 0: none */
	__u32 tap_longest;	   /* IP packet that its socket takes */
	struct xdv_stats gone;	   /* rows of interfaces that are no more */
};

/* A packet may be on its way to the daemon before and after its rule is in
 * force.
 */
enum xdv_rule_state {
	XDV_RULE_IN_FORCE,
	XDV_RULE_STAGED, /* about to be */
	XDV_RULE_RETIRED,
};
/* xdv_tapped: a packet in a tap, by its number. The number travels in the
 * frame's destination address, which all segments of a GSO packet share.
 */
struct xdv_tapped {
	__u64 seq;	/* its number; another: this one is gone */
	__u64 position; /* in its tap: entered before it */
	__u32 segments;
	__u32 row;  /* of its tap in xdv_queues and xdv_xsks */
	__u32 slot; /* of its rule in xdv_hits */
	__u32 pad;
	struct xdv_meta meta;
};
XDV_SIZE(struct xdv_tapped, 56);

/* xdv_rules: a rule as it was given, by id. The id is never reused. */
struct xdv_rule {
	__u64 retired; /* when it was */
	__u32 id;
	__s32 priority;
	__u32 layer;	 /* enum xdv_layer; 0: forward */
	__u32 slot;	 /* its row in xdv_hits */
	__u32 state;	 /* enum xdv_rule_state */
	__u32 order;	 /* among those of its priority */
	__u32 fragment;	 /* enum xdv_fragment */
	__u32 via_stack; /* 1: through the stack of the target */
	__u32 returned;	 /* 1: also what was injected before and came back */
	char name[XDV_NAME_LEN];
	char iif[XDV_NAME_LEN];
	char oif[XDV_NAME_LEN];
	char to[XDV_NAME_LEN];
	char src_set[XDV_PATH_LEN]; /* a file of prefixes, or "" */
	char dst_set[XDV_PATH_LEN];
	char filter[XDV_TEXT_LEN];
	char actions[XDV_TEXT_LEN]; /* one --do a line */
};

enum xdv_frag {
	XDV_FRAG_NO, /* or nobody wants to know */
	XDV_FRAG_AWAITED,
	XDV_FRAG_ALONE, /* the rules see it as it is */
};

/* xdv_scratch: what the hook's stages tell each other about a packet. */
struct xdv_scratch {
	__u64 now; /* when it came, as far as the FIB was asked */
	__u32 iif;
	__u32 start;	  /* first rule to try, by position */
	__u32 generation; /* of the rule set that start belongs to */
	__u32 layer;	  /* enum xdv_layer, from the FIB; valid if fib_done */
	__u32 frag;	  /* enum xdv_frag */
	__u32 router;	  /* it has options that routers act on */
	__u32 fib_done;
	__u32 oif;
	__u32 rule;	  /* matched: id */
	__u32 position;	  /* matched: position in the set */
	__u32 want_oif;	  /* matched: required egress, 0 any */
	__u32 want_layer; /* matched: required layer */
	__u32 slot;	  /* matched: row in xdv_hits */
	__u32 stage;	  /* the rules' program to come back to */
	__u32 piece;	  /* TC: bytes of the longest segment, from IP on */
	__u32 pieces;	  /* and how many */
	__u32 frames;	  /* of the UMEM that it takes */
	/* The packet's first bytes with the VLAN tag that the device took out,
	 * for xdv_tc_stages' tagged rules.
	 */
	__u8 head[20];
};

/* xdv_stages and xdv_tc_stages: the hooks' tail calls. */
enum xdv_stage {
	XDV_STAGE_RULES,
	XDV_STAGE_DIVERT,
	XDV_STAGE_RULES_TAGGED, /* TC: the VLAN tag is in the metadata */
	XDV_STAGE_RULES_RAW,	/* TC: no link header */
	XDV_STAGE_CHAINS,	/* what follows the rules' first programs */
	XDV_STAGES = XDV_STAGE_CHAINS + 3 * 2 * XDV_CHAIN_MAX,
};

/*
 * xdv_hits: per CPU, by a rule's slot. What matched in every respect, layer
 * and egress included; the sum over all rules that there were is `matched`.
 */
struct xdv_hits {
	__u64 hits;
	__u64 bytes; /* of the frames */
	__u64 last;
};

#define XDV_DESC_DECREMENT_TTL 0x1
#define XDV_DESC_RECEIVE       0x2  /* into the local stack, not out */
#define XDV_DESC_VIA_STACK     0x4  /* through the target's own stack */
#define XDV_DESC_COUNTED       0x8  /* as injected */
#define XDV_DESC_VERDICT       0x10 /* user space says what became of it */
#define XDV_DESC_PART	       0x20 /* user space counts and records the whole */
#define XDV_DESC_BIG	       0x40 /* user space hands it to the stack */

enum xdv_desc_state {
	XDV_DESC_QUEUED,
	XDV_DESC_TAKEN,	    /* redirected, fate not yet known */
	XDV_DESC_SENT,	    /* counted; user space makes the record */
	XDV_DESC_PASSED,    /* counted; the run's result says whether taken */
	XDV_DESC_TOO_BIG,   /* not sent; user space may cut it */
	XDV_DESC_AFTER_CUT, /* not sent; user space does, after TOO_BIG ones */
	XDV_DESC_NO_ROUTE,  /* failed and counted; user space says why */
	XDV_DESC_HANDED,    /* user space hands it to the stack */
	/* From here on the ring has done with it. */
	XDV_DESC_HELD,	   /* user space puts it into the ring again */
	XDV_DESC_ENTERING, /* on its way to the stack */
	XDV_DESC_TRACKED,  /* in it */
	XDV_DESC_DONE,	   /* its completion is written */
};

/* xdv_inflight: injections that have no completion yet, in any order; the
 * ring holds their slots.
 */
struct xdv_desc {
	__u64 id;
	__u64 context;
	__u64 submitted;
	__u32 frame;  /* element of xdv_umem */
	__u16 offset; /* of the IP header in it */
	__u16 len;    /* of the IP packet */
	__u32 ifindex;
	__u32 compartment;
	__u32 flags;
	__u16 state;	  /* enum xdv_desc_state */
	__u16 engine;	  /* enum xdv_engine */
	__u8 mac[6];	  /* RECEIVE: of the interface */
	__u16 slot;	  /* its own */
	__u64 waiting;	  /* id while the stack has it: who clears that may
			   * complete it
			   */
	__u64 completed;  /* SENT */
	__u32 nexthop[4]; /* network order */
	__u16 family;	  /* of nexthop */
	__u16 lane;	  /* in xdv_lanes */
	__u16 hop;	  /* in xdv_hops */
	__u16 pad;
	__u32 asking;	       /* counted in its hop's asking */
	__u32 mtu;	       /* TOO_BIG, PART: of the route */
	__s32 status;	       /* HELD, VERDICT: so far */
	__u32 reason;	       /* VERDICT */
	__u8 bytes[XDV_SHORT]; /* of a short packet */
	__u8 pad2[16];
};
XDV_SIZE(struct xdv_desc, 192);

/*
 * What may not be overtaken, by hashes: xdv_lanes of a flow's packets, xdv_hops
 * of those of a next hop. A packet is held while one at its hop or in its lane
 * asks for a neighbour, or one before it in its lane is held. xdv_cut is the
 * lowest id of a flow's packets that user space is to cut, 0 if there are none.
 */
#define XDV_LANES 16384
#define XDV_HOPS  16384
#define XDV_CUTS  1024 /* two flows that share one do so for a moment */

struct xdv_lane {
	__u64 held; /* lowest id in user space that waits for its turn, or 0 */
	__u32 asking;  /* in the stack, but not yet past the neighbour */
	__u32 stacked; /* in the stack */
	__u32 entered; /* the last batch that put something into the stack */
	__u32 pad;
};

struct xdv_hop {
	__u32 asking;
	__u32 held; /* how many: there is a limit while it asks */
};

/* Frames in the stack at most, and while neighbours are not resolved; held
 * behind one that waits for its neighbour.
 */
#define XDV_STACK_MAX	   768
#define XDV_UNRESOLVED_MAX 512
#define XDV_HELD_MAX	   128

/* In the place of a link header while a frame is on its way to xdv_neigh. */
struct xdv_stack_tag {
	__u8 unicast; /* and locally administered: 2 */
	__u8 pad;
	__u16 slot;
	__u32 id;
	__u32 batch;
	__u16 protocol; /* EtherType, network order */
} __attribute__((packed));
XDV_SIZE(struct xdv_stack_tag, 14);

/* A frame in the stack, by its sk_buff. */
struct xdv_tracked {
	__u64 id;
	__u64 device; /* that transmits it now */
	__u64 net;    /* with iif: our device, by which it came */
	__u32 iif;
	__u32 slot;
	__u32 cpu; /* where device does */
	__u32 pad;
};

enum xdv_engine {
	XDV_ENGINE_NONE,
	XDV_ENGINE_LIVE,
	XDV_ENGINE_PORT,
	XDV_ENGINE_NEIGH,
};

/* xdv_targets: by compartment << 32 | ifindex. */
struct xdv_target {
	__u64 since;
	__u32 compartment; /* 0: this one */
	__u32 ifindex;
	__u32 engine; /* enum xdv_engine */
	__s32 status; /* why not live: what it said to a live frame */
};
XDV_SIZE(struct xdv_target, 24);

/* Who said no. */
enum xdv_reason {
	XDV_REASON_NONE,
	XDV_REASON_BAD_PACKET,
	XDV_REASON_HOP_LIMIT,
	XDV_REASON_FIB_BLACKHOLE,
	XDV_REASON_FIB_UNREACHABLE,
	XDV_REASON_FIB_PROHIBIT,
	XDV_REASON_FIB_NOT_FWDED,
	XDV_REASON_FIB_FWD_DISABLED,
	XDV_REASON_FIB_UNSUPP_LWT,
	XDV_REASON_FIB_NO_NEIGH,
	XDV_REASON_FIB_FRAG_NEEDED,
	XDV_REASON_NO_DEVICE,
	XDV_REASON_DEVICE_DOWN,
	XDV_REASON_REDIRECT_REFUSED, /* before the device saw the frame */
	XDV_REASON_DEVICE_REFUSED,   /* by ndo_xdp_xmit, none of the batch */
	XDV_REASON_QUEUE_FULL,	     /* ndo_xdp_xmit took fewer than offered */
	XDV_REASON_ENGINE,	     /* the kernel call itself failed */
	XDV_REASON_NO_COMPARTMENT,
	XDV_REASON_CANCELED,
	XDV_REASON_UNKNOWN,	 /* the kernel did not say what it did */
	XDV_REASON_CONSUMED,	 /* taken by something, not dropped */
	XDV_REASON_NEIGH_FAILED, /* where the kernel does not name it */
	XDV_REASONS,
};

/* With this, the rest is of the kernel's enum skb_drop_reason. */
#define XDV_REASON_KERNEL 0x80000000

/* What became of one injection: xdv_completions and xdv_recent. */
struct xdv_completion {
	__u64 id;
	__u64 context;
	__u64 submitted;
	__u64 completed;
	__u64 seq; /* position in xdv_recent's history, from 1 */
	__u32 ifindex;
	__u32 compartment;
	__s32 status; /* 0: handed to the device; else -errno */
	__u32 reason; /* enum xdv_reason, or of the kernel */
	__u32 len;
	__u32 slot;	  /* in xdv_inflight */
	__u32 nexthop[4]; /* EHOSTUNREACH: who did not answer, network order */
	__u16 family;	  /* of nexthop */
	__u16 engine;	  /* enum xdv_engine */
	__u32 mtu;	  /* FRAG_NEEDED: what would fit */
};
XDV_SIZE(struct xdv_completion, 88);

/* In xdv_completions, what one flush sent: so many, one after the other in the
 * injection ring but for those to other targets; each has status 0.
 */
struct xdv_flushed {
	__u64 first; /* id */
	__u64 completed;
	__u32 ifindex;
	__u32 compartment;
	__u32 count;
	__u32 pad;
};
XDV_SIZE(struct xdv_flushed, 32);

/* What user space adds to the row of a target in xdv_stats, and of a rule in
 * xdv_hits.
 */
struct xdv_count {
	__u32 ifindex;
	__u32 injected;
	__u32 completed;
	__u32 failed;
	__u32 slot;
	__u32 hits;
	__u64 bytes;
};

/*
 * xdv_injected: by digest, what was injected on this host; whose it was, and
 * whose the injection before that. Element 0 holds the digests' key and, as its
 * context, how many there were. The elements behind those entries are words
 * that say where an entry is: 40 bits of its tag, 24 of its place.
 */
struct xdv_injected {
	__u64 tag;    /* of its head; where it is looked for */
	__u64 digest; /* of all of it */
	__u64 handle;
	__u64 previous;
	__u64 context;
	__u64 time;
	__u32 ttl;	/* no packet that returns has more */
	__u32 received; /* TTL of what was diverted: its repetitions have that
			 */
	__u64 check;	/* of all the above: a torn write does not match */
};
XDV_SIZE(struct xdv_injected, 64);

/*
 * The injection ring's positions; they only grow. At each stands the slot of a
 * descriptor. The ring is empty when a kernel call has returned, but what it
 * took may still be under way: such a descriptor keeps its slot.
 */
struct xdv_ring {
	__u32 producer; /* user space: next to fill */
	__u32 consumer; /* BPF: next to take */
	__u32 settled;	/* BPF: none before it is XDV_DESC_TAKEN */
	__u32 cpu;	/* of the batch under way */
	__u32 stack;	/* ifindex of the port into the stack, 0: none there */
	__u32 in_stack; /* frames */
	__u32 held;	/* frames of this compartment */
	__u32 waiting;	/* user space: frames that it holds, of all */
	__u32 cut;	/* flows in xdv_cut */
	__u32 batch;	/* user space: of the kernel call under way */
};

#endif
