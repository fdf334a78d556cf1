// SPDX-License-Identifier: BSD-2-Clause
/* What several commands print, and how they open the state. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmd.h"

int open_state(struct state *s, enum state_open how)
{
	int err = state_open(s, pin_dir, how);

	if (err == -ENOENT)
		return fail(1, "not ready: nothing is attached in this network "
			       "namespace; try 'xdivert attach IFACE'");
	if (err == -EPROTO)
		return fail(1,
			    "%s was made by another version of xdivert; detach "
			    "with that one, or 'rm -r' it",
			    s->dir);
	if (err)
		return fail(1, "cannot open the pinned state in %s: %s", s->dir,
			    strerror(-err));
	return 0;
}

const char *ifname_of(uint32_t ifindex, char *name)
{
	if (!if_indextoname(ifindex, name))
		snprintf(name, IF_NAMESIZE, "if%u", ifindex);
	return name;
}

const char *status_text(int status)
{
	switch (-status) {
	case 0:
		return "handed to the device";
	case ENODEV:
		return "no such interface";
	case ENETDOWN:
		return "interface down";
	case EOPNOTSUPP:
		return "device cannot transmit XDP frames";
	case ENXIO:
		return "the device's peer is down or takes no XDP frames";
	case ENOBUFS:
	case ENOSPC:
		return "queue full";
	case EMSGSIZE:
		return "too big";
	case EHOSTUNREACH:
		return "no neighbour";
	case ENETUNREACH:
		return "no route";
	case ETIMEDOUT:
		return "fate unknown";
	case ETIME:
		return "hop limit exceeded";
	}
	return strerror(-status);
}

const char *reason_name(unsigned int reason)
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
		[XDV_REASON_UNKNOWN] = "UNKNOWN",
	};

	return reason < XDV_REASONS ? names[reason] : "?";
}

const char *engine_name(unsigned int engine)
{
	static const char *const names[] = {"none", "live", "port", "neigh"};

	return engine < 4 ? names[engine] : "unknown";
}

static void print_json(const struct xdv_completion *c, const char *ifname)
{
	cJSON *o = cJSON_CreateObject();
	char *text;

	cJSON_AddNumberToObject(o, "id", c->id);
	cJSON_AddNumberToObject(o, "context", c->context);
	cJSON_AddNumberToObject(o, "ifindex", c->ifindex);
	cJSON_AddStringToObject(o, "ifname", ifname);
	cJSON_AddNumberToObject(o, "status", c->status);
	cJSON_AddStringToObject(o, "error",
				c->status ? status_text(c->status) : "");
	cJSON_AddStringToObject(o, "reason", reason_name(c->reason));
	cJSON_AddStringToObject(o, "engine", engine_name(c->engine));
	cJSON_AddNumberToObject(o, "len", c->len);
	cJSON_AddNumberToObject(o, "latency_ns", c->completed - c->submitted);
	text = cJSON_PrintUnformatted(o);
	puts(text ? text : "{}");
	free(text);
	cJSON_Delete(o);
}

void print_completion(const struct xdv_completion *c, bool json)
{
	char name[IF_NAMESIZE];

	ifname_of(c->ifindex, name);
	if (json)
		print_json(c, name);
	else
		printf("%llu\t%s\t%u bytes\t%s\t%s\t%s\t%llu ns\n",
		       (unsigned long long)c->id, name, c->len,
		       engine_name(c->engine), status_text(c->status),
		       reason_name(c->reason),
		       (unsigned long long)(c->completed - c->submitted));
}
