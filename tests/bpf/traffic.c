// SPDX-License-Identifier: BSD-2-Clause
#include <stdlib.h>
#include <string.h>

#include "traffic.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

static void put(struct packet_data *p, const void *data, uint32_t len)
{
	if (p->len + len > PACKET_MAX)
		len = PACKET_MAX - p->len;
	memcpy(p->data + p->len, data, len);
	p->len += len;
}

static void put_ethernet(struct packet_data *p, unsigned int *seed,
			 uint16_t type)
{
	uint8_t eth[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	uint8_t vlan[4] = {0x81, 0, 0, 5};
	uint8_t proto[2] = {type >> 8, type};
	int tags = rand_r(seed) % 6;

	if (rand_r(seed) % 8 == 0)
		memset(eth, 0xff, 6);
	put(p, eth, 12);
	for (; tags > 3; tags--) {
		vlan[3] = 5 + 2 * (tags & 1);
		put(p, vlan, 4);
	}
	put(p, proto, 2);
}

static uint8_t any_protocol(unsigned int *seed)
{
	static const uint8_t list[] = {6, 6, 6, 17, 17, 17, 1, 58, 47, 50, 132};

	return list[rand_r(seed) % sizeof(list)];
}

static void put_ipv4(struct packet_data *p, unsigned int *seed,
		     uint8_t protocol)
{
	uint8_t ip[60] = {0x45, 0, 0,  84, 0, 0, 0,  0, 64, 0,
			  0,	0, 10, 0,  0, 1, 10, 0, 0,  2};
	uint32_t words = rand_r(seed) % 4 ? 5 : 5 + rand_r(seed) % 10;

	ip[0] = 0x40 | words;
	ip[1] = rand_r(seed);
	ip[8] = rand_r(seed);
	ip[9] = protocol;
	ip[15] = 1 + rand_r(seed) % 3;
	ip[19] = 1 + rand_r(seed) % 3;
	if (rand_r(seed) % 6 == 0)
		ip[6] = rand_r(seed);
	if (rand_r(seed) % 6 == 0)
		ip[7] = rand_r(seed);
	if (rand_r(seed) % 6 == 0)
		ip[16] = 224;
	put(p, ip, words * 4);
}

static void put_ipv6(struct packet_data *p, unsigned int *seed,
		     uint8_t protocol)
{
	static const uint8_t extensions[] = {0, 43, 44, 51, 60};
	uint8_t ip[40] = {0x60, 0, 0, 0, 0, 64, 0, 64, 0xfd};
	uint8_t header[24] = {0}, *next = &p->data[p->len + 6];
	uint32_t len;

	ip[24] = rand_r(seed) % 4 ? 0xfd : 0xff;
	ip[39] = 1;
	put(p, ip, 40);
	while (rand_r(seed) % 3 == 0 && p->len + 24 < PACKET_MAX) {
		*next = extensions[rand_r(seed) % ARRAY_SIZE(extensions)];
		header[1] = *next == 44 ? 0 : rand_r(seed) % 3;
		len = *next == 51 ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
		next = &p->data[p->len];
		put(p, header, len);
	}
	*next = protocol;
}

static void put_transport(struct packet_data *p, unsigned int *seed,
			  uint8_t protocol)
{
	static const uint16_t ports[] = {53, 80, 443, 22, 1500, 6000};
	static const char *const payloads[] = {"GET / HTTP/1.1", "abcd", ""};
	uint16_t port = ports[rand_r(seed) % ARRAY_SIZE(ports)];
	uint8_t header[20] = {0};
	const char *payload = payloads[rand_r(seed) % 3];

	header[0] = port >> 8;
	header[1] = port;
	port = ports[rand_r(seed) % ARRAY_SIZE(ports)];
	header[2] = port >> 8;
	header[3] = port;
	header[12] = 0x50 + (rand_r(seed) % 3 << 4);
	header[13] = rand_r(seed);
	if (protocol == 1)
		header[0] = rand_r(seed) % 2 * 8;
	if (protocol == 58)
		header[0] = 128 + rand_r(seed) % 9;
	put(p, header, protocol == 6 ? 20 : 8);
	put(p, payload, strlen(payload));
	put(p, "................................", rand_r(seed) % 32);
}

static void make_packet(struct packet_data *p, unsigned int *seed)
{
	static const uint16_t other[] = {0x0806, 0x88cc, 0x8847, 0x8864};
	int kind = rand_r(seed) % 10;
	uint8_t protocol = any_protocol(seed);
	uint32_t i;

	p->len = 0;
	if (kind < 5) {
		put_ethernet(p, seed, 0x0800);
		put_ipv4(p, seed, protocol);
		put_transport(p, seed, protocol);
	} else if (kind < 8) {
		put_ethernet(p, seed, 0x86dd);
		put_ipv6(p, seed, protocol);
		put_transport(p, seed, protocol);
	} else if (kind == 8) {
		put_ethernet(p, seed, other[rand_r(seed) % 4]);
		put_ipv4(p, seed, protocol);
	} else {
		p->len = 14 + rand_r(seed) % (PACKET_MAX - 14);
		for (i = 0; i < p->len; i++)
			p->data[i] = rand_r(seed) >> 8;
	}
	if (rand_r(seed) % 3 == 0)
		p->len = 14 + rand_r(seed) % (p->len - 13);
}

void traffic_make(struct packet_data *packets, int n, unsigned int seed)
{
	int i;

	for (i = 0; i < n; i++)
		make_packet(&packets[i], &seed);
}

bool makes_skb(const uint8_t *data, uint32_t len)
{
	if (len < 14)
		return false;
	if (data[12] == 0x08 && data[13] == 0x00)
		return len >= 14 + 20;
	if (data[12] == 0x86 && data[13] == 0xdd)
		return len >= 14 + 40;
	return true;
}
