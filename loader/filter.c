// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>

#include "error.h"
#include "filter.h"

int filter_compile(const char *expression, int link_type,
		   struct bpf_program *classic)
{
	pcap_t *pcap = pcap_open_dead(link_type, 65535);
	int rc = 0;

	if (!pcap)
		return -ENOMEM;
	if (pcap_compile(pcap, classic, expression, 1, PCAP_NETMASK_UNKNOWN)) {
		rc = error_set(-EINVAL, "'%s': %s", expression,
			       pcap_geterr(pcap));
	}
	pcap_close(pcap);
	return rc;
}

/* IPv6's fragment header stands behind at most one other, as RFC 8200 has it
 * for what is not fragmented.
 */
#define FRAGMENT                                                               \
	"(ip[6:2] & 0x3fff != 0 or ip6[6] = 44 or "                            \
	"((ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 60) and ip6[40] = 44))"

int filter_compile_rule(const struct xdv_rule *rule, int link_type,
			struct bpf_program *classic)
{
	char text[sizeof(rule->filter) + sizeof(FRAGMENT) + 20];

	if (!rule->fragment || rule->fragment == XDV_FRAGMENT_WHOLE)
		return filter_compile(rule->filter, link_type, classic);
	snprintf(text, sizeof(text), "%s%s%s%s" FRAGMENT,
		 *rule->filter ? "(" : "", rule->filter,
		 *rule->filter ? ") and " : "",
		 rule->fragment == XDV_FRAGMENT_ONLY ? "" : "not ");
	return filter_compile(text, link_type, classic);
}
