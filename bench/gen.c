// SPDX-License-Identifier: BSD-2-Clause
/*
 * The generator. As fast as it goes, it lets the kernel run a BPF program over
 * live frames; paced, it sends one packet at a time through AF_PACKET and
 * spins until the next is due. Says "ready" when the first frame is about to
 * leave, ends after a time or with SIGTERM, and prints how many it made.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>

#include "frame.h"
#include "gen.skel.h"

#define CALL	 32768 /* frames a system call */
#define LOOPBACK 1

#define SOURCES	    0x0a400000 /* 10.64.0.0 */
#define DESTINATION 0x0a000202 /* 10.0.2.2 */

struct job {
	struct frame_config frame;
	double seconds;
	double warm; /* of them; those frames bear no time */
	unsigned int rate;
	unsigned int cpus; /* 0: where we are */
};

struct flood {
	const struct job *job;
	pthread_t thread;
	int prog;
	unsigned int cpu;
};

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
	(void)signal;
	stop = 1;
}

static int fail(const char *what)
{
	fprintf(stderr, "gen: %s: %s\n", what, strerror(errno));
	return 1;
}

static __u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

/* On one CPU, until the time is over. */
static void *flood(void *arg)
{
	struct flood *f = arg;
	const __u8 zeroes[FRAME_MAX] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = zeroes,
		    .data_size_in = f->job->frame.size, .repeat = CALL,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
	__u64 end = now() + f->job->seconds * 1e9;
	cpu_set_t set;

	if (f->job->cpus) {
		CPU_ZERO(&set);
		CPU_SET(f->cpu, &set);
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	}
	while (!stop && now() < end)
		if (bpf_prog_test_run_opts(f->prog, &run) && errno != EINTR)
			exit(fail("BPF_PROG_RUN"));
	return NULL;
}

static int flood_all(const struct job *job, struct gen *skel)
{
	LIBBPF_OPTS(bpf_link_create_opts, link, .flags = XDP_FLAGS_SKB_MODE);
	int prog = bpf_program__fd(skel->progs.gen);
	struct flood floods[FRAME_CPUS];
	unsigned int i, made = 0;

	/* Attached, it is in the kernel's XDP dispatcher: otherwise each call
	 * would wait for an RCU grace period.
	 */
	if (bpf_link_create(prog, LOOPBACK, BPF_XDP, &link) < 0)
		return fail("attach to lo");
	ready();
	for (i = 0; i < (job->cpus ? job->cpus : 1); i++) {
		floods[i] = (struct flood){.job = job, .prog = prog, .cpu = i};
		errno = i ? pthread_create(&floods[i].thread, NULL, flood,
					   &floods[i])
			  : 0;
		if (errno)
			return fail("thread");
	}
	flood(&floods[0]);
	while (--i)
		pthread_join(floods[i].thread, NULL);
	for (i = 0; i < FRAME_CPUS; i++)
		made += skel->bss->next[i];
	printf("%u\n", made);
	return 0;
}

static int start_flood(const struct job *job)
{
	struct gen *skel = gen__open();
	int rc;

	if (!skel)
		return fail("open");
	memcpy((void *)&skel->rodata->config, &job->frame, sizeof(job->frame));
	rc = gen__load(skel) ? fail("load") : flood_all(job, skel);
	gen__destroy(skel);
	return rc;
}

static int open_packet(const struct job *job)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = job->frame.ifindex,
	};
	int one = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one,
		       sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)))
		return -1;
	return fd;
}

static int paced(const struct job *job)
{
	static __u8 bytes[FRAME_MAX] __attribute__((aligned(8)));
	__u64 step = 1000000000ull / job->rate, due, end, warm;
	__u32 seq = 0;
	int fd = open_packet(job);

	if (fd < 0)
		return fail("AF_PACKET");
	ready();
	due = now();
	end = due + job->seconds * 1e9;
	warm = due + job->warm * 1e9;
	for (; !stop && due < end; due += step) {
		while (now() < due)
			;
		frame_fill(bytes, &job->frame, seq++, due < warm ? 0 : now());
		send(fd, bytes, job->frame.size, 0);
	}
	printf("%u\n", seq);
	close(fd);
	return 0;
}

static void fill_template(struct frame_config *c)
{
	struct frame *f = &c->frame;
	__u16 len = c->size - sizeof(f->eth);

	f->eth.h_proto = be16(ETH_P_IP);
	f->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = be16(len),
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.daddr = be32(DESTINATION),
	};
	c->ip_sum = frame_sum(&f->ip, sizeof(f->ip) / 2);
	len -= sizeof(f->ip);
	f->udp.dest = be16(FRAME_PORT);
	f->udp.len = be16(len);
	f->stamp.magic = FRAME_MAGIC;
	c->udp_sum = frame_sum32(f->ip.daddr) + be16(IPPROTO_UDP) + be16(len) +
		     frame_sum(&f->udp, sizeof(f->udp) / 2) +
		     frame_sum32(FRAME_MAGIC);
}

static int interface(struct job *job, const char *name)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	job->frame.ifindex = if_nametoindex(name);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request))
		return fail(name);
	memcpy(job->frame.frame.eth.h_source, request.ifr_hwaddr.sa_data, 6);
	close(fd);
	return 0;
}

static int usage(void)
{
	fputs("usage: gen --dev IFACE --mac MAC [--size N] [--flows N] "
	      "[--seconds S] [--warm S] [--rate PPS] [--cpus N] [--stamp]\n",
	      stderr);
	return 2;
}

static bool parse_mac(const char *text, __u8 *mac)
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1,
		      mac + 2, mac + 3, mac + 4, mac + 5) == 6;
}

static const struct option options[] = {
	{"dev", required_argument, NULL, 'd'},
	{"mac", required_argument, NULL, 'm'},
	{"size", required_argument, NULL, 's'},
	{"flows", required_argument, NULL, 'f'},
	{"seconds", required_argument, NULL, 't'},
	{"warm", required_argument, NULL, 'w'},
	{"rate", required_argument, NULL, 'r'},
	{"cpus", required_argument, NULL, 'n'},
	{"stamp", no_argument, NULL, 'S'},
	{0},
};

static int parse(struct job *job, int argc, char **argv)
{
	bool mac = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'd' && interface(job, optarg))
			return 1;
		else if (c == 'm')
			mac = parse_mac(optarg, job->frame.frame.eth.h_dest);
		else if (c == 's')
			job->frame.size = atoi(optarg);
		else if (c == 'f')
			job->frame.flows = atoi(optarg);
		else if (c == 't')
			job->seconds = atof(optarg);
		else if (c == 'w')
			job->warm = atof(optarg);
		else if (c == 'r')
			job->rate = atoi(optarg);
		else if (c == 'n')
			job->cpus = atoi(optarg);
		else if (c == 'S')
			job->frame.stamped = 1;
		else if (c == '?')
			return usage();
	}
	return mac && job->frame.ifindex && job->frame.flows &&
			       job->frame.size >= FRAME_MIN &&
			       job->frame.size <= FRAME_MAX &&
			       job->cpus <= FRAME_CPUS
		       ? 0
		       : usage();
}

int main(int argc, char **argv)
{
	struct job job = {
		.frame = {.size = FRAME_MIN, .flows = 1, .saddr = SOURCES},
		.seconds = 1,
	};
	int rc = parse(&job, argc, argv);

	if (rc)
		return rc;
	fill_template(&job.frame);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	return job.rate ? paced(&job) : start_flood(&job);
}
