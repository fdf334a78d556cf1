// SPDX-License-Identifier: GPL-2.0-only
/* Somebody else's TC program: it marks every packet and lets it go on. */
#include <linux/bpf.h>

__attribute__((section("tc"), used)) int mark(struct __sk_buff *skb)
{
	skb->mark = 7;
	return -1; /* TC_ACT_UNSPEC */
}

char _license[] __attribute__((section("license"), used)) = "GPL";
