// SPDX-License-Identifier: BSD-2-Clause
/*
 * NFQUEUE, as good as it gets: many packets a system call in both directions,
 * buffers that do not overflow, nothing but the packet copied. Each verdict
 * carries the edited packet. A fifth word "gso" takes GSO packets whole.
 * Somebody else sends packets to queue 0 (iptables).
 */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>

#include "peer.h"

#define QUEUE	 0
#define MAXLEN	 16384	    /* packets that the kernel queues */
#define BUFFER	 (64 << 20) /* of the socket */
#define BATCH	 64
#define MESSAGE	 (66 << 10) /* the longest packet and its attributes */
#define VERDICTS (256 << 10)

static char verdicts[VERDICTS];
static size_t used;
static int fd;

/* The kernel forwards: it decrements the TTL and knows the next hop. */
static void edit(struct iphdr *ip)
{
	word16 *word = (word16 *)ip;
	__u16 old = *word;

	ip->tos = TOS_EF;
	ip->check = edit_sum(ip->check, old, *word);
}

static struct nlmsghdr *message(void *at, int type, int flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(at);
	struct nfgenmsg *nfg =
		mnl_nlmsg_put_extra_header(nlh, sizeof(struct nfgenmsg));

	nlh->nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(QUEUE);
	return nlh;
}

static void flush(void)
{
	if (used && send(fd, verdicts, used, 0) < 0)
		peer_fail("send verdicts");
	used = 0;
}

static void answer(const struct nfqnl_msg_packet_hdr *header, void *packet,
		   size_t len)
{
	struct nfqnl_msg_verdict_hdr verdict = {
		.verdict = htonl(NF_ACCEPT),
		.id = header->packet_id,
	};
	struct nlmsghdr *nlh;

	if (used + len + 128 > sizeof(verdicts))
		flush();
	nlh = message(verdicts + used, NFQNL_MSG_VERDICT, 0);
	mnl_attr_put(nlh, NFQA_VERDICT_HDR, sizeof(verdict), &verdict);
	edit(packet);
	mnl_attr_put(nlh, NFQA_PAYLOAD, len, packet);
	used += NLMSG_ALIGN(nlh->nlmsg_len);
}

static void receive(const struct nlmsghdr *nlh)
{
	const struct nfqnl_msg_packet_hdr *header = NULL;
	const struct nlattr *attr, *payload = NULL;

	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) == NFQA_PACKET_HDR)
			header = mnl_attr_get_payload(attr);
		else if (mnl_attr_get_type(attr) == NFQA_PAYLOAD)
			payload = attr;
	}
	if (header && payload)
		answer(header, mnl_attr_get_payload(payload),
		       mnl_attr_get_payload_len(payload));
}

static void loop(void)
{
	static char buffers[BATCH][MESSAGE];
	struct iovec iovecs[BATCH];
	struct mmsghdr messages[BATCH];
	int i, n;

	memset(messages, 0, sizeof(messages));
	for (i = 0; i < BATCH; i++) {
		iovecs[i] = (struct iovec){buffers[i], MESSAGE};
		messages[i].msg_hdr.msg_iov = &iovecs[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (!peer_stop) {
		n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		for (i = 0; i < n; i++)
			receive((struct nlmsghdr *)buffers[i]);
		flush();
	}
}

static void request(struct nlmsghdr *nlh)
{
	char reply[MNL_SOCKET_BUFFER_SIZE];
	const struct nlmsgerr *error;

	if (send(fd, nlh, nlh->nlmsg_len, 0) < 0 ||
	    recv(fd, reply, sizeof(reply), 0) < 0)
		peer_fail("configure the queue");
	error = mnl_nlmsg_get_payload((struct nlmsghdr *)reply);
	errno = -error->error;
	if (errno)
		peer_fail("configure the queue");
}

static void configure(__u32 flags)
{
	struct nfqnl_msg_config_params params = {
		.copy_range = htonl(0xffff),
		.copy_mode = NFQNL_COPY_PACKET,
	};
	struct nfqnl_msg_config_cmd bind = {
		.command = NFQNL_CFG_CMD_BIND,
		.pf = htons(AF_INET),
	};
	char buffer[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = message(buffer, NFQNL_MSG_CONFIG, NLM_F_ACK);

	mnl_attr_put(nlh, NFQA_CFG_CMD, sizeof(bind), &bind);
	request(nlh);
	nlh = message(buffer, NFQNL_MSG_CONFIG, NLM_F_ACK);
	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof(params), &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(MAXLEN));
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO));
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(flags));
	request(nlh);
}

static void open_socket(void)
{
	int size = BUFFER, one = 1;

	fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof(one)))
		peer_fail("netlink");
}

int main(int argc, char **argv)
{
	struct side sides[2];

	peer_parse(argc, argv, sides);
	open_socket();
	configure(argc > 5 && !strcmp(argv[5], "gso") ? NFQA_CFG_F_GSO : 0);
	peer_ready();
	loop();
	return 0;
}
