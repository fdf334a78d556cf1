// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lab.h"
#include "netdev.h"
#include "unit.h"

struct lab lab;

void sh(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command))
		fail_msg("failed: %s", command);
}

int lab_wire(const char *ifname)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
				      .sll_protocol = htons(3)};
	int size = 1 << 24;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(3));

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	address.sll_ifindex = if_nametoindex(ifname);
	if (fd < 0 || bind(fd, (void *)&address, sizeof(address)))
		return -1;
	return fd;
}

void lab_neighbours(void)
{
	sh("ip link set w0 up; ip addr replace fd02::1/64 dev w0 nodad");
	sh("for n in v w; do"
	   " mac=$(nsenter --net=/run/netns/%s ip -br link show ${n}1"
	   " | awk '{print $3}');"
	   " test $n = v && i=1 || i=2;"
	   " ip neigh replace 10.$i.0.2 lladdr $mac dev ${n}0 nud permanent;"
	   " ip neigh replace fd0$i::2 lladdr $mac dev ${n}0 nud permanent;"
	   "done",
	   lab.far);
}

static void connect_namespaces(void)
{
	sh("ip link set lo up");
	sh("ip link add v0 type veth peer name v1 netns %s", lab.far);
	sh("ip link add w0 type veth peer name w1 netns %s", lab.far);
	sh("ip addr add 10.1.0.1/24 dev v0; ip addr add 10.2.0.1/24 dev w0");
	sh("ip addr add fd01::1/64 dev v0 nodad;"
	   "ip addr add fd02::1/64 dev w0 nodad");
	sh("ip link set v0 up; ip link set w0 up");
	sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	sh("nsenter --net=/run/netns/%s sh -ec '"
	   "ip link set lo up; sysctl -qw net.ipv4.ip_forward=1;"
	   "ip addr add 10.1.0.2/24 dev v1; ip addr add 10.2.0.2/24 dev w1;"
	   "ip addr add fd01::2/64 dev v1 nodad;"
	   "ip addr add fd02::2/64 dev w1 nodad;"
	   "ip link set v1 up; ip link set w1 up;"
	   "ethtool -K v1 gro on; ethtool -K w1 gro on'",
	   lab.far);
	lab_neighbours();
}

static int open_wires(void)
{
	char path[64];
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int far;

	snprintf(path, sizeof(path), "/run/netns/%s", lab.far);
	far = open(path, O_RDONLY | O_CLOEXEC);
	if (home < 0 || far < 0 || setns(far, CLONE_NEWNET))
		return -1;
	lab.wire_v = lab_wire("v1");
	lab.wire_w = lab_wire("w1");
	lab.v1 = if_nametoindex("v1");
	netdev_mac(lab.v1, lab.mac_v1);
	if (setns(home, CLONE_NEWNET))
		return -1;
	close(home);
	close(far);
	return lab.wire_v < 0 || lab.wire_w < 0 ? -1 : 0;
}

int lab_open(void **state)
{
	struct xdivert_open_opts opts = {
		.sz = sizeof(opts), .pin_dir = lab.pins, .create = true};
	struct xdivert_attach_opts attach = {.sz = sizeof(attach)};

	(void)state;
	snprintf(lab.pins, sizeof(lab.pins), "/sys/fs/bpf/xdivert-test-%d",
		 getpid());
	snprintf(lab.far, sizeof(lab.far), "xdct%d", getpid());
	sh("ip netns add %s", lab.far);
	if (unshare(CLONE_NEWNET))
		return -1;
	connect_namespaces();
	lab.v0 = if_nametoindex("v0");
	lab.w0 = if_nametoindex("w0");
	netdev_mac(lab.v0, lab.mac_v0);
	netdev_mac(lab.w0, lab.mac_w0);
	if (open_wires() || xdivert_open(&lab.x, &opts) ||
	    xdivert_attach(lab.x, "v0", &attach)) {
		print_error("%s\n", xdivert_error());
		return -1;
	}
	return 0;
}

int lab_close(void **state)
{
	(void)state;
	xdivert_detach_all(lab.x);
	xdivert_close(lab.x);
	close(lab.wire_v);
	close(lab.wire_w);
	sh("ip netns del %s", lab.far);
	if (access(lab.pins, F_OK))
		return 0;
	/* cmocka does not count a group's teardown among the failures. */
	print_error("%s is left\n", lab.pins);
	exit(1);
}

static void address(uint8_t *to, int family, int net, int host)
{
	if (family == 4) {
		to[0] = 10;
		to[1] = net;
		to[3] = host;
	} else {
		to[0] = 0xfd;
		to[1] = net;
		to[15] = host;
	}
}

uint32_t lab_build(const struct udp *u, uint8_t *data)
{
	uint32_t size = u->family == 4 ? 20 : 40;
	uint32_t text = strlen(u->text), len = size + 8 + text;
	uint8_t *udp = data + size;

	memset(data, 0, size + 8);
	if (u->family == 4) {
		data[0] = 0x45;
		data[2] = len >> 8;
		data[3] = len;
		data[8] = u->ttl ? u->ttl : 64;
		data[9] = IPPROTO_UDP;
	} else {
		data[0] = 0x60;
		data[4] = (len - 40) >> 8;
		data[5] = len - 40;
		data[6] = IPPROTO_UDP;
		data[7] = u->ttl ? u->ttl : 64;
	}
	address(data + (u->family == 4 ? 12 : 8), u->family, u->from_net,
		u->from);
	address(data + (u->family == 4 ? 16 : 24), u->family, u->to_net, u->to);
	udp[0] = u->sport >> 8;
	udp[1] = u->sport;
	udp[2] = u->dport >> 8;
	udp[3] = u->dport;
	udp[4] = (8 + text) >> 8;
	udp[5] = 8 + text;
	udp[6] = u->family == 6; /* any: finished below */
	memcpy(udp + 8, u->text, text);
	return len;
}

void lab_seal(uint8_t *ip)
{
	uint16_t sum;

	if (ip[0] >> 4 == 6)
		return;
	memset(ip + 10, 0, 2);
	sum = xdivert_checksum(ip, 20, 0);
	memcpy(ip + 10, &sum, 2);
}

struct xdivert_packet *lab_packet(struct xdivert_injection *h,
				  const struct udp *u)
{
	uint8_t data[2000];
	uint32_t len = lab_build(u, data);
	struct xdivert_packet *p = xdivert_packet_alloc(h, len);

	assert_non_null(p);
	memcpy(xdivert_packet_data(p), data, len);
	assert_int_equal(xdivert_packet_finish(p), 0);
	return p;
}

void lab_send(const uint8_t *data, uint32_t len)
{
	uint8_t frame[9100];

	memcpy(frame, lab.mac_v0, 6);
	memcpy(frame + 6, lab.mac_v1, 6);
	frame[12] = data[0] >> 4 == 4 ? 0x08 : 0x86;
	frame[13] = data[0] >> 4 == 4 ? 0x00 : 0xdd;
	memcpy(frame + 14, data, len);
	assert_int_equal(send(lab.wire_v, frame, 14 + len, 0), 14 + len);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int lab_receive(int wire, const char *text, uint8_t *frame, int ms)
{
	struct pollfd fd = {.fd = wire, .events = POLLIN};
	size_t want = text ? strlen(text) : 0;
	struct sockaddr_ll from;
	int64_t end = now_ms() + ms;
	socklen_t size;
	ssize_t n;

	while (poll(&fd, 1, end > now_ms() ? end - now_ms() : 0) == 1) {
		size = sizeof(from);
		n = recvfrom(wire, frame, 2100, 0, (void *)&from, &size);
		if (n < 14 || from.sll_pkttype == PACKET_OUTGOING)
			continue;
		if (n > (ssize_t)want && !memcmp(frame + n - want, text, want))
			return n;
	}
	return 0;
}
