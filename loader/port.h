/* SPDX-License-Identifier: BSD-2-Clause */
/* The device of our own (xdv0) that keeps a handle's program ready to run. */
#ifndef XDIVERT_PORT_H
#define XDIVERT_PORT_H

struct port {
	int netns; /* of the far end; the device goes when this is closed */
	int ifindex;
};

/* Creates xdvN here and its peer in a namespace of its own; -errno. */
int port_open(struct port *port);
void port_close(struct port *port);

#endif
