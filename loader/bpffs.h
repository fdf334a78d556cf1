/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XDIVERT_BPFFS_H
#define XDIVERT_BPFFS_H

#include <stddef.h>

#define BPFFS "/sys/fs/bpf"

/* Where bpffs is, mounted if nobody has; path, or a constant. */
const char *bpffs_path(char *path, size_t size);

#endif
