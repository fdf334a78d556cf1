// SPDX-License-Identifier: BSD-2-Clause
/*
 * The far end. sink IFACE TOS TTL attaches the counter, says "ready", and
 * answers a line on its input with a line of JSON:
 *   count WARM RUN   what it counted in the RUN milliseconds after WARM
 *   begin, end       what it counted between the two, with percentiles
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "sink.h"
#include "sink.skel.h"

struct snapshot {
	__u64 time;
	struct tally tally;
	__u64 latency[BUCKETS];
};

static struct sink *skel;
static int cpus;

static __u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void sleep_until(__u64 time)
{
	struct timespec t = {time / 1000000000, time % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

static void take_tally(struct snapshot *s)
{
	struct tally rows[cpus];
	__u32 zero = 0;
	int i;

	s->time = now();
	memset(&s->tally, 0, sizeof(s->tally));
	if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.tally), &zero, rows))
		return;
	for (i = 0; i < cpus; i++) {
		s->tally.packets += rows[i].packets;
		s->tally.bad += rows[i].bad;
		s->tally.late += rows[i].late;
	}
}

static void take_latency(struct snapshot *s)
{
	int i, map = bpf_map__fd(skel->maps.latency);
	__u64 rows[cpus];
	__u32 key;

	memset(s->latency, 0, sizeof(s->latency));
	for (key = 0; key < BUCKETS; key++) {
		if (bpf_map_lookup_elem(map, &key, rows))
			continue;
		for (i = 0; i < cpus; i++)
			s->latency[key] += rows[i];
	}
}

static __u64 percentile(const struct snapshot *a, const struct snapshot *b,
			double p)
{
	__u64 all = 0, seen = 0;
	int i;

	for (i = 0; i < BUCKETS; i++)
		all += b->latency[i] - a->latency[i];
	for (i = 0; i < BUCKETS; i++) {
		seen += b->latency[i] - a->latency[i];
		if (seen && seen >= all * p)
			return bucket_value(i);
	}
	return 0;
}

static void print_tally(const struct snapshot *a, const struct snapshot *b)
{
	printf("{\"ns\": %llu, \"packets\": %llu, \"bad\": %llu, "
	       "\"late\": %llu",
	       b->time - a->time, b->tally.packets - a->tally.packets,
	       b->tally.bad - a->tally.bad, b->tally.late - a->tally.late);
}

static void count(unsigned int warm, unsigned int run)
{
	static struct snapshot a, b;
	__u64 start = now();

	sleep_until(start + warm * 1000000ull);
	take_tally(&a);
	sleep_until(start + (warm + run) * 1000000ull);
	take_tally(&b);
	print_tally(&a, &b);
	puts("}");
}

static void serve(void)
{
	static struct snapshot a, b;
	unsigned int warm, run;
	char line[80];

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "count %u %u", &warm, &run) == 2) {
			count(warm, run);
		} else if (!strcmp(line, "begin\n")) {
			take_tally(&a);
			take_latency(&a);
			puts("{}");
		} else if (!strcmp(line, "end\n")) {
			take_tally(&b);
			take_latency(&b);
			print_tally(&a, &b);
			printf(", \"p50\": %llu, \"p99\": %llu, "
			       "\"p999\": %llu}\n",
			       percentile(&a, &b, .5), percentile(&a, &b, .99),
			       percentile(&a, &b, .999));
		}
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);

	if (argc != 4) {
		fputs("usage: sink IFACE TOS TTL\n", stderr);
		return 2;
	}
	cpus = libbpf_num_possible_cpus();
	skel = sink__open();
	if (!skel)
		return 1;
	*(struct expectation *)&skel->rodata->expected = (struct expectation){
		.tos = strtoul(argv[2], NULL, 0),
		.ttl = strtoul(argv[3], NULL, 0),
	};
	if (sink__load(skel))
		return 1;
	if (bpf_link_create(bpf_program__fd(skel->progs.sink),
			    if_nametoindex(argv[1]), BPF_XDP, &opts) < 0) {
		fprintf(stderr, "sink: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	puts("ready");
	fflush(stdout);
	serve();
	return 0;
}
