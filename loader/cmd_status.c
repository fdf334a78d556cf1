// SPDX-License-Identifier: BSD-2-Clause
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <cjson/cJSON.h>

#include "cmd.h"

static const char *mode_name(const struct xdv_iface *f)
{
	return f->mode == XDV_MODE_NATIVE ? "native" : "generic";
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
	cJSON_AddStringToObject(o, "hook", "xdp");
	cJSON_AddStringToObject(o, "mode", mode_name(f));
	cJSON_AddStringToObject(o, "fail", fail_name(f));
	cJSON_AddStringToObject(o, "attach",
				f->dispatcher ? "dispatcher" : "link");
	cJSON_AddNumberToObject(o, "queues", f->queues);
	cJSON_AddNumberToObject(o, "served", served);
	cJSON_AddItemToArray(array, o);
}

static void print_iface(const struct xdv_iface *f, unsigned int served)
{
	printf("%s: hook xdp, mode %s, fail %s, attached by %s, %u of %u "
	       "queues served\n",
	       f->name, mode_name(f), fail_name(f),
	       f->dispatcher ? "dispatcher" : "link", served, f->queues);
}

static void each_iface(const struct state *s, bool runs, cJSON *array)
{
	__u32 key, *previous = NULL;
	unsigned int served;
	struct xdv_iface f;

	while (!bpf_map_get_next_key(s->ifaces, previous, &key)) {
		previous = &key;
		if (bpf_map_lookup_elem(s->ifaces, &key, &f))
			continue;
		if_indextoname(key, f.name);
		served = runs ? state_served(s, &f) : 0;
		if (array)
			add_iface(array, &f, served);
		else
			print_iface(&f, served);
	}
}

static void print_json(const struct state *s, bool runs)
{
	cJSON *o = cJSON_CreateObject();
	char *text;

	cJSON_AddBoolToObject(o, "daemon", runs);
	cJSON_AddNumberToObject(o, "pid", runs ? s->shared->daemon_pid : 0);
	cJSON_AddStringToObject(o, "pin_dir", s->dir);
	each_iface(s, runs, cJSON_AddArrayToObject(o, "interfaces"));
	text = cJSON_Print(o);
	puts(text);
	free(text);
	cJSON_Delete(o);
}

int cmd_status(int argc, char **argv)
{
	bool json = argc == 2 && !strcmp(argv[1], "--json"), runs;
	struct state s;
	int rc;

	if (argc > 2 || (argc == 2 && !json))
		return fail(EXIT_USAGE, "status: '%s' is not an option",
			    argv[argc - 1]);
	rc = open_state(&s, STATE_READ);
	if (rc)
		return rc;
	runs = state_daemon_runs(&s);
	if (json) {
		print_json(&s, runs);
	} else {
		printf("daemon: %s\npins: %s\n",
		       runs ? "running" : "not running", s.dir);
		each_iface(&s, runs, NULL);
	}
	state_close(&s);
	return 0;
}
