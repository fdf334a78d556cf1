// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cmd.h"

static const char *mode_name(const struct xdv_iface *f)
{
	switch (f->mode) {
	case XDV_MODE_NATIVE:
		return "native";
	case XDV_MODE_TCX:
		return "tcx";
	case XDV_MODE_CLSACT:
		return "clsact";
	}
	return "generic";
}

static const char *hook_name(const struct xdv_iface *f)
{
	return f->hook == XDV_HOOK_TC ? "tc" : "xdp";
}

static const char *attach_name(const struct xdv_iface *f)
{
	if (f->mode == XDV_MODE_CLSACT)
		return "filter";
	return f->dispatcher ? "dispatcher" : "link";
}

static const char *fail_name(const struct xdv_iface *f)
{
	return f->fail == XDV_FAIL_CLOSED ? "closed" : "open";
}

static void add_iface(cJSON *array, const struct xdv_iface *f,
		      unsigned int served)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "ifname", f->name);
	cJSON_AddNumberToObject(o, "ifindex", f->ifindex);
	cJSON_AddStringToObject(o, "hook", hook_name(f));
	cJSON_AddStringToObject(o, "mode", mode_name(f));
	cJSON_AddStringToObject(o, "fail", fail_name(f));
	cJSON_AddStringToObject(o, "attach", attach_name(f));
	cJSON_AddNumberToObject(o, "queues", f->queues);
	cJSON_AddNumberToObject(o, "served", served);
	cJSON_AddItemToArray(array, o);
}

static void print_iface(const struct xdv_iface *f, unsigned int served)
{
	printf("%s: hook %s, mode %s, fail %s, attached by %s, %u of %u "
	       "queues served\n",
	       f->name, hook_name(f), mode_name(f), fail_name(f),
	       attach_name(f), served, f->queues);
}

static const char *why(const struct xdv_target *t)
{
	switch (-t->status) {
	case 0:
		return "";
	case EOPNOTSUPP:
		return "the device cannot transmit XDP frames";
	case ENXIO:
		return "its peer is down or takes no XDP frames";
	}
	return strerror(-t->status);
}

static void add_target(cJSON *array, const struct xdv_target *t)
{
	cJSON *o = cJSON_CreateObject();
	char name[IF_NAMESIZE];

	if (t->compartment)
		cJSON_AddNullToObject(o, "ifname");
	else
		cJSON_AddStringToObject(o, "ifname",
					ifname_of(t->ifindex, name));
	cJSON_AddNumberToObject(o, "ifindex", t->ifindex);
	cJSON_AddNumberToObject(o, "compartment", t->compartment);
	cJSON_AddStringToObject(o, "engine", xdivert_engine_name(t->engine));
	cJSON_AddNumberToObject(o, "status", t->status);
	cJSON_AddStringToObject(o, "why", why(t));
	cJSON_AddItemToArray(array, o);
}

static void print_target(const struct xdv_target *t)
{
	char name[IF_NAMESIZE];

	printf("target ");
	if (t->compartment)
		printf("%u of compartment %u", t->ifindex, t->compartment);
	else
		printf("%s", ifname_of(t->ifindex, name));
	printf(": engine %s%s%s\n", xdivert_engine_name(t->engine),
	       t->status ? ", for " : "", why(t));
}

/* The caller frees *list; 0 on failure. */
static int read_targets(struct xdivert *x, struct xdv_target **list)
{
	int n = xdivert_targets(x, NULL, 0), read;

	*list = n > 0 ? calloc(n, sizeof(**list)) : NULL;
	if (!*list)
		return 0;
	read = xdivert_targets(x, *list, n);
	return read < n ? read : n;
}

static void print_targets(struct xdivert *x, cJSON *array)
{
	struct xdv_target *list;
	int i, n = read_targets(x, &list);

	for (i = 0; i < n; i++) {
		if (array)
			add_target(array, &list[i]);
		else
			print_target(&list[i]);
	}
	free(list);
}

static void print_status(struct xdivert *x,
			 const struct xdivert_interface *list, int n)
{
	pid_t pid = xdivert_daemon(x);
	int i;

	if (pid)
		printf("daemon: running, pid %d\n", pid);
	else
		printf("daemon: not running; matched packets are unserved\n");
	printf("pins: %s\n", xdivert_pins(x));
	if (!n)
		printf("nothing is attached\n");
	for (i = 0; i < n; i++)
		print_iface(&list[i].iface, list[i].served);
	print_targets(x, NULL);
}

static void print_status_json(struct xdivert *x,
			      const struct xdivert_interface *list, int n)
{
	cJSON *o = cJSON_CreateObject(), *array;
	pid_t pid = xdivert_daemon(x);
	int i;

	cJSON_AddBoolToObject(o, "daemon", pid != 0);
	cJSON_AddNumberToObject(o, "pid", pid);
	cJSON_AddStringToObject(o, "pin_dir", xdivert_pins(x));
	array = cJSON_AddArrayToObject(o, "interfaces");
	for (i = 0; i < n; i++)
		add_iface(array, &list[i].iface, list[i].served);
	print_targets(x, cJSON_AddArrayToObject(o, "targets"));
	print_json(o);
}

int cmd_status(int argc, char **argv)
{
	struct xdivert_interface list[XDV_MAX_IFACES];
	struct xdivert *x;
	bool json;
	int rc, n;

	rc = parse_json(argc, argv, &json);
	rc = rc ? rc : open_state(&x, false);
	if (rc)
		return rc;
	n = xdivert_interfaces(x, list, XDV_MAX_IFACES);
	if (json)
		print_status_json(x, list, n);
	else
		print_status(x, list, n);
	xdivert_close(x);
	return 0;
}
