/* SPDX-License-Identifier: GPL-2.0 */
/* What kernels since 6.1 call differently. */
#ifndef VAS_COMPAT_H
#define VAS_COMPAT_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#include <linux/mnt_idmapping.h>
#define vas_idmap(path) mnt_idmap((path)->mnt)
#else
#define vas_idmap(path) mnt_user_ns((path)->mnt)
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define VAS_NORESERVE mk_vma_flags(VMA_NORESERVE_BIT)
#else
#define VAS_NORESERVE VM_NORESERVE
#endif

#endif
