// SPDX-License-Identifier: BSD-2-Clause
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

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

bool multibuf_works(void)
{
	struct btf *btf;
	bool works;

	/* As an older kernel, for tests. */
	if (getenv("XDIVERT_NO_MULTIBUF"))
		return false;
	btf = btf__load_vmlinux_btf();
	works = btf && has_member(btf, "xdp_sock", "sg");
	btf__free(btf);
	return works;
}
