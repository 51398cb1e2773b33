/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What programs and the module say to each other through /dev/vas.
 *
 * Objects are segments and VASes; each has a name, unique for its kind, and a number that no later
 * object gets. Every structure has one size for all processors. Reserved fields must be 0.
 */
#ifndef VAS_H
#define VAS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VAS_VERSION 1
/* With the NUL at the end. */
#define VAS_NAME_BYTES 256

enum vas_kind { VAS_SEGMENT = 1, VAS_SPACE = 2 };

/* How an object is attached, and a segment bound: as O_RDONLY and O_RDWR are. */
#define VAS_READ 0
#define VAS_READ_WRITE 2

/* A new object without a name: nothing but descriptors, gone with the last of them. */
struct vas_create {
	__u32 kind;
	/* Permission bits, of 0666. */
	__u32 mode;
	/* Bytes that a segment may grow to; 0 for a VAS. */
	__u64 max_bytes;
	/* Instead of memory, a file of the caller on a DAX file system; else -1. */
	__s32 dax_fd;
	/* Out: the memory (-1 with dax_fd) or the VAS, and the lock file of a segment (-1 for a VAS). */
	__s32 fd;
	__s32 lock_fd;
	__u32 reserved;
};

/* Gives what vas_create made its name. The descriptors stay as they are; attach it for others. */
struct vas_publish {
	__s32 fd;
	__s32 lock_fd;
	/* Out. */
	__u64 id;
	char name[VAS_NAME_BYTES];
};

struct vas_find {
	__u32 kind;
	__u32 reserved;
	/* Out. */
	__u64 id;
	char name[VAS_NAME_BYTES];
};

/* Descriptors of its own for an object; the lock file comes with VAS_READ_WRITE only, else -1. */
struct vas_attach {
	__u64 id;
	__u32 access;
	/* Out. */
	__s32 fd;
	__s32 lock_fd;
	__u32 reserved;
};

#define VAS_SET_MODE 1
#define VAS_SET_USER 2
#define VAS_SET_GROUP 4

struct vas_attributes {
	/* For VAS_NEXT the number to go on after, replaced by the one found. */
	__u64 id;
	/* For VAS_NEXT the kind looked for, 0 for both; replaced by the one found. */
	__u32 kind;
	/* What VAS_SET is to set. */
	__u32 which;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	/* Open descriptions of it, mappings without one included. */
	__u32 attached;
	__u64 size_bytes;
	__u64 max_bytes;
	/* Of memory or storage that are taken. */
	__u64 used_bytes;
	char name[VAS_NAME_BYTES];
};

/* The name is taken away even if someone is attached, who goes on; with this flag it is EBUSY. */
#define VAS_IF_UNUSED 1

struct vas_delete {
	__u64 id;
	__u32 flags;
	__u32 reserved;
};

struct vas_binding {
	__u64 space;
	/* For VAS_NEXT_BINDING the number to go on after, replaced by the one found. */
	__u64 segment;
	__u32 access;
	__u32 reserved;
};

#define VAS_GET_VERSION _IOR('V', 0, __u32)
#define VAS_CREATE _IOWR('V', 1, struct vas_create)
#define VAS_PUBLISH _IOWR('V', 2, struct vas_publish)
#define VAS_FIND _IOWR('V', 3, struct vas_find)
#define VAS_ATTACH _IOWR('V', 4, struct vas_attach)
#define VAS_GET _IOWR('V', 5, struct vas_attributes)
#define VAS_SET _IOW('V', 6, struct vas_attributes)
#define VAS_NEXT _IOWR('V', 7, struct vas_attributes)
#define VAS_DELETE _IOW('V', 8, struct vas_delete)
#define VAS_BIND _IOW('V', 9, struct vas_binding)
#define VAS_UNBIND _IOW('V', 10, struct vas_binding)
#define VAS_NEXT_BINDING _IOWR('V', 11, struct vas_binding)

#endif
