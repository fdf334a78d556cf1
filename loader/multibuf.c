// SPDX-License-Identifier: BSD-2-Clause
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "multibuf.h"

/* Only a bound socket would tell otherwise. */
static bool has_member(const struct btf *btf, const char *type,
		       const char *member)
{
	const struct btf_type *t;
	const struct btf_member *m;
	int id = btf__find_by_name_kind(btf, type, BTF_KIND_STRUCT), i;

	if (id < 0)
		return false;
	t = btf__type_by_id(btf, id);
	m = btf_members(t);
	for (i = 0; i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, m[i].name_off), member))
			return true;
	return false;
}

static bool kernel_can(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool can = btf && has_member(btf, "xdp_sock", "sg");

	btf__free(btf);
	return can;
}

bool multibuf_works(void)
{
	static int can = -1;

	/* As an older kernel, for tests. */
	if (getenv("XDIVERT_NO_MULTIBUF"))
		return false;
	if (__atomic_load_n(&can, __ATOMIC_RELAXED) < 0)
		__atomic_store_n(&can, kernel_can(), __ATOMIC_RELAXED);
	return can;
}

unsigned int multibuf_flags(void)
{
	return multibuf_works() ? BPF_F_XDP_HAS_FRAGS : 0;
}

void multibuf_program(struct bpf_program *prog)
{
	bpf_program__set_flags(prog,
			       bpf_program__flags(prog) | multibuf_flags());
}
