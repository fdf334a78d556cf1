// SPDX-License-Identifier: BSD-2-Clause
/* What became of injections: reading the history, and naming what it says. */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include <xdivert.h>

#include "reason.h"
#include "state.h"

/*
 * A position is counted before its record is written: a record that is older
 * than expected will come in a moment, unless many have come after it.
 */
#define SETTLE 256

/* Twice the same: no writer came between. Who is half-way has no seq there. */
static int read_record(const struct xdivert *x, __u32 key,
		       struct xdv_completion *record)
{
	struct xdv_completion again;

	do {
		if (bpf_map_lookup_elem(x->recent, &key, &again) ||
		    bpf_map_lookup_elem(x->recent, &key, record))
			return -1;
	} while (memcmp(&again, record, sizeof(again)));
	return 0;
}

int xdivert_completions(struct xdivert *x, uint64_t *seen,
			struct xdv_completion *list, int n, uint64_t *missed)
{
	uint64_t last =
		__atomic_load_n(&x->shared->completions, __ATOMIC_ACQUIRE);
	uint64_t lost = 0;
	int count = 0;
	__u32 key;

	if (last - *seen > XDV_RECENT) {
		lost = last - *seen - XDV_RECENT;
		*seen = last - XDV_RECENT;
	}
	for (; *seen != last && count < n; ++*seen) {
		key = *seen & (XDV_RECENT - 1);
		if (read_record(x, key, &list[count]))
			break;
		if (list[count].seq == *seen + 1)
			count++;
		else if (list[count].seq < *seen + 1 && last - *seen < SETTLE)
			break;
		else
			lost++;
	}
	if (missed)
		*missed += lost;
	return count;
}

const char *xdivert_status_text(int status)
{
	switch (-status) {
	case 0:
		return "handed to the device";
	case ENODEV:
		return "no such interface";
	case ENETDOWN:
		return "interface down";
	case EOPNOTSUPP:
		return "neither XDP frames nor the stack";
	case ENXIO:
		return "no carrier";
	case ENOBUFS:
	case ENOSPC:
		return "queue full";
	case EMSGSIZE:
		return "too big";
	case EHOSTUNREACH:
		return "no neighbour";
	case ENETUNREACH:
		return "no route";
	case ENOTCONN:
		return "compartment gone";
	case ECANCELED:
		return "handle destroyed first";
	case EINVAL:
		return "not a sound IP packet";
	case EIO:
		return "dropped in the stack";
	case EPERM:
		return "dropped by TC";
	case EACCES:
		return "prohibited by a route";
	case ETIMEDOUT:
		return "fate unknown";
	case ETIME:
		return "hop limit exceeded";
	}
	return strerror(-status);
}

const char *xdivert_reason_name(unsigned int reason)
{
	static const char *const names[XDV_REASONS] = {
		[XDV_REASON_NONE] = "NONE",
		[XDV_REASON_BAD_PACKET] = "BAD_PACKET",
		[XDV_REASON_HOP_LIMIT] = "HOP_LIMIT",
		[XDV_REASON_FIB_BLACKHOLE] = "FIB_BLACKHOLE",
		[XDV_REASON_FIB_UNREACHABLE] = "FIB_UNREACHABLE",
		[XDV_REASON_FIB_PROHIBIT] = "FIB_PROHIBIT",
		[XDV_REASON_FIB_NOT_FWDED] = "FIB_NOT_FWDED",
		[XDV_REASON_FIB_FWD_DISABLED] = "FIB_FWD_DISABLED",
		[XDV_REASON_FIB_UNSUPP_LWT] = "FIB_UNSUPP_LWT",
		[XDV_REASON_FIB_NO_NEIGH] = "FIB_NO_NEIGH",
		[XDV_REASON_FIB_FRAG_NEEDED] = "FIB_FRAG_NEEDED",
		[XDV_REASON_NO_DEVICE] = "NO_DEVICE",
		[XDV_REASON_DEVICE_DOWN] = "DEVICE_DOWN",
		[XDV_REASON_REDIRECT_REFUSED] = "REDIRECT_REFUSED",
		[XDV_REASON_DEVICE_REFUSED] = "DEVICE_REFUSED",
		[XDV_REASON_QUEUE_FULL] = "QUEUE_FULL",
		[XDV_REASON_ENGINE] = "ENGINE",
		[XDV_REASON_NO_COMPARTMENT] = "NO_COMPARTMENT",
		[XDV_REASON_CANCELED] = "CANCELED",
		[XDV_REASON_UNKNOWN] = "UNKNOWN",
		[XDV_REASON_CONSUMED] = "CONSUMED",
		[XDV_REASON_NEIGH_FAILED] = "NEIGH_FAILED",
	};

	const char *name = NULL;

	if (reason & XDV_REASON_KERNEL)
		name = reason_of_kernel(reason & ~XDV_REASON_KERNEL);
	else if (reason < XDV_REASONS)
		name = names[reason];
	return name ? name : "?";
}

const char *xdivert_layer_name(unsigned int layer)
{
	static const char *const names[] = {"none", "forward", "receive",
					    "group"};

	return layer < XDV_LAYERS ? names[layer] : "unknown";
}

const char *xdivert_engine_name(unsigned int engine)
{
	static const char *const names[] = {"none", "live", "port", "neigh"};

	return engine < 4 ? names[engine] : "unknown";
}
