// SPDX-License-Identifier: BSD-2-Clause
#include <string.h>

#include "bytes.h"
#include "group.h"

bool group_mac_of(const struct xdivert_packet *p, uint8_t *mac)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const uint8_t *ip = p->data;

	if (ip[0] >> 4 == 6 && ip[24] == 0xff) {
		put16(mac, 0x3333);
		memcpy(mac + 2, ip + 36, 4);
		return true;
	}
	if (ip[0] >> 4 == 4 && ip[16] >> 4 == 0xe) {
		put32(mac, 0x01005e00);
		memcpy(mac + 3, ip + 17, 3);
		mac[3] &= 0x7f;
		return true;
	}
	/* A net's own broadcast address is nothing special to look at. */
	if (p->meta.layer != XDV_LAYER_GROUP &&
	    !(ip[0] >> 4 == 4 && be32(ip + 16) == 0xffffffff))
		return false;
	memcpy(mac, all, sizeof(all));
	return true;
}
