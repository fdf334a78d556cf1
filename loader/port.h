/* SPDX-License-Identifier: BSD-2-Clause */
/* The device of our own, xdvN, that xdv_inject is attached to. */
#ifndef XDIVERT_PORT_H
#define XDIVERT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "pair.h"

struct port {
	int ifindex;
	int tap; /* what is written here, the program sends; -1: nothing */
	struct pair pair;
};
#define PORT_NONE ((struct port){.tap = -1, .pair.netns = -1})

/* -errno */
int port_open(struct port *port);
/* No engine, but unlike a tap it does not keep its namespace alive. */
int port_open_pair(struct port *port);
void port_close(struct port *port);

/* Is there an engine behind it? */
static inline bool port_usable(const struct port *port)
{
	return port->tap >= 0;
}

/*
 * Run the program on an IP packet, and flush every device: what becomes of it
 * is known when this returns. -errno: the program may not have run.
 */
int port_send(const struct port *port, const uint8_t *packet, uint32_t len);

#endif
