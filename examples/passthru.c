/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every packet that a rule diverts is absorbed, cloned, and the clone injected
 * where the original was going; the original is freed when that has completed.
 *
 *     xdivert attach eth0; xdivert rule add all --filter ip; ./passthru
 */
#include <stdio.h>
#include <sys/socket.h>

#include <xdivert.h>

static struct xdivert_injection *handle;

static void completed(void *original, struct xdivert_packet *clone,
		      const struct xdv_completion *c)
{
	printf("%u bytes to interface %u: %s\n", c->len, c->ifindex,
	       xdivert_status_text(c->status));
	fflush(stdout);
	xdivert_packet_free(clone);
	xdivert_packet_free(original);
}

static void classify(void *arg, struct xdivert_packet *packet,
		     const struct xdivert_metadata *m,
		     enum xdivert_verdict *verdict)
{
	struct xdivert_packet *clone = xdivert_packet_clone(packet);
	int family =
		*xdivert_packet_data(packet) >> 4 == 6 ? AF_INET6 : AF_INET;
	(void)arg;
	*verdict = XDIVERT_DROP;
	if (!clone)
		return;
	/* An edit of the clone goes here; xdivert_packet_finish() after it. */
	if (xdivert_inject_forward_async(handle, 0, 0, family, 0, m->oif, clone,
					 completed, packet))
		xdivert_packet_free(clone);
	else
		*verdict = XDIVERT_ABSORB;
}

int main(void)
{
	struct xdivert *x;

	if (xdivert_open(&x, NULL) ||
	    xdivert_injection_create(&handle, x, AF_UNSPEC, XDIVERT_KIND_ALL) ||
	    xdivert_callout_register(handle, classify, NULL) ||
	    xdivert_serve(handle))
		return fprintf(stderr, "passthru: %s\n", xdivert_error()), 1;
	puts("ready");
	fflush(stdout);
	while (xdivert_dispatch(handle, -1) >= 0)
		;
	return fprintf(stderr, "passthru: %s\n", xdivert_error()), 1;
}
