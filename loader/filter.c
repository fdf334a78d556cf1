// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdio.h>

#include "filter.h"

int filter_compile(const char *expression, struct bpf_program *classic,
		   char *err, size_t errlen)
{
	pcap_t *pcap = pcap_open_dead(DLT_EN10MB, 65535);
	int rc = 0;

	if (!pcap)
		return -ENOMEM;
	if (pcap_compile(pcap, classic, expression, 1, PCAP_NETMASK_UNKNOWN)) {
		snprintf(err, errlen, "'%s': %s", expression,
			 pcap_geterr(pcap));
		rc = -EINVAL;
	}
	pcap_close(pcap);
	return rc;
}
