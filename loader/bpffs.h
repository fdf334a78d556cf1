/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XDIVERT_BPFFS_H
#define XDIVERT_BPFFS_H

#include <stdbool.h>
#include <stddef.h>

#define BPFFS "/sys/fs/bpf"

bool is_bpffs(const char *path);
/* Where bpffs is, mounted if nobody has; path, or a constant. */
const char *bpffs_path(char *path, size_t size);

#endif
