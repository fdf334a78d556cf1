// SPDX-License-Identifier: GPL-2.0-only
/* Count the generator's frames, look at the edit, and drop them. */
#include "frame.h"
#include "sink.h"

const volatile struct expectation expected;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally);
} tally SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} latency SEC(".maps");

static __always_inline void measure(__u64 sent)
{
	__u32 bucket = bucket_of(bpf_ktime_get_ns() - sent);
	__u64 *count = bpf_map_lookup_elem(&latency, &bucket);

	if (count)
		++*count;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct stamp *stamp = (void *)(ip + 1) + sizeof(struct udphdr);
	struct tally *t;
	__u32 zero = 0;

	if ((void *)(stamp + 1) > (void *)(long)ctx->data_end ||
	    stamp->magic != FRAME_MAGIC)
		return XDP_PASS;
	if (stamp->time)
		measure(stamp->time);
	t = bpf_map_lookup_elem(&tally, &zero);
	if (!t)
		return XDP_DROP;
	t->packets++;
	if (ip->tos != expected.tos || ip->ttl != expected.ttl ||
	    frame_fold(frame_sum(ip, 10)) != 0xffff)
		t->bad++;
	if (stamp->seq < t->last)
		t->late++;
	t->last = stamp->seq;
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
