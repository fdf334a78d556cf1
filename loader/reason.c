// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "reason.h"

#define PREFIX	"SKB_DROP_REASON_"
#define NUMBERS 512

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char *names[NUMBERS];

static void read_names(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const struct btf_type *type;
	const struct btf_enum *e;
	const char *name;
	int id, i;

	if (!btf)
		return;
	id = btf__find_by_name_kind(btf, "skb_drop_reason", BTF_KIND_ENUM);
	type = id < 0 ? NULL : btf__type_by_id(btf, id);
	for (i = 0, e = type ? btf_enum(type) : NULL; e && i < btf_vlen(type);
	     i++, e++) {
		name = btf__name_by_offset(btf, e->name_off);
		if (name && !strncmp(name, PREFIX, strlen(PREFIX)) &&
		    e->val >= 0 && e->val < NUMBERS && !names[e->val])
			names[e->val] = strdup(name + strlen(PREFIX));
	}
	btf__free(btf);
}

const char *reason_of_kernel(uint32_t number)
{
	pthread_once(&once, read_names);
	return number < NUMBERS ? names[number] : NULL;
}

static const struct {
	const char *name;
	uint16_t error;
} errors[] = {
	{"NEIGH_FAILED", EHOSTUNREACH}, {"NEIGH_DEAD", EHOSTUNREACH},
	{"NEIGH_CREATEFAIL", ENOBUFS},	{"NEIGH_QUEUEFULL", ENOBUFS},
	{"QDISC_DROP", ENOBUFS},	{"QDISC_OVERLIMIT", ENOBUFS},
	{"QDISC_CONGESTED", ENOBUFS},	{"CAKE_FLOOD", ENOBUFS},
	{"FQ_BAND_LIMIT", ENOBUFS},	{"FQ_FLOW_LIMIT", ENOBUFS},
	{"CPU_BACKLOG", ENOBUFS},	{"FULL_RING", ENOBUFS},
	{"DEV_READY", ENETDOWN},	{"PKT_TOO_BIG", EMSGSIZE},
	{"TC_EGRESS", EPERM},		{"NOMEM", ENOBUFS},
};

void reason_errnos(uint16_t *table, uint32_t n)
{
	const char *name;
	uint32_t i;
	size_t k;

	for (i = 0; i < n; i++) {
		name = reason_of_kernel(i);
		table[i] = EIO;
		for (k = 0; name && k < sizeof(errors) / sizeof(*errors); k++)
			if (!strcmp(name, errors[k].name))
				table[i] = errors[k].error;
	}
}
