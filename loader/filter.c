// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>

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
