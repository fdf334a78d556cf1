/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules in user space, for what the hook cannot ask them about: datagrams
 * that come in fragments.
 */
#ifndef XDIVERT_ASK_H
#define XDIVERT_ASK_H

#include <xdivert.h>

struct asker;

struct asker *asker_new(void);
void asker_free(struct asker *m);

/*
 * The id of the first rule that matches, and its row in xdv_hits; 0: none
 * does. frame is Ethernet's
 * header and one IP packet: a whole datagram that was put together, or a
 * fragment as it came, which only rules of XDV_FRAGMENT_ONLY match.
 */
uint32_t asker_ask(struct asker *m, struct xdivert *x, const uint8_t *frame,
		   uint32_t len, const struct xdivert_metadata *meta,
		   bool whole, uint32_t *slot);

/* For xdv_control: which layers' fragments these rules want. */
uint32_t ask_fragments(const struct xdv_rule *rules, int n);

#endif
