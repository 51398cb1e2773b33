/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the module share. */
#ifndef VAS_INTERNAL_H
#define VAS_INTERNAL_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/path.h>
#include <linux/types.h>

#include "vas.h"

struct dentry;
struct file;

/* What a file of ours is. */
enum vas_role { VAS_MEMORY, VAS_LOCK, VAS_ANCHOR };

/*
 * A named object. It is in the table from its publication to its deletion, and pins the module.
 * Whoever attaches gets descriptors of the files, never of the object: the file system counts them,
 * so a killed process is counted out like one that closes.
 */
struct vas_object {
	u64 id;
	u32 kind;
	/* The memory of a segment, or what carries owner, group and mode of a VAS. */
	struct path path;
	/* The lock file of a segment. */
	struct path lock;
	/* The segments of a VAS. */
	struct list_head bindings;
	char name[VAS_NAME_BYTES];
};

/* Files that an ioctl gives to its caller, and where their descriptors are told; both or none. */
struct vas_gift {
	struct file *file;
	__s32 *told;
};

#define VAS_GIFTS 2

/* files.c */
int vas_files_init(void);
struct file *vas_file_make(enum vas_role role, umode_t mode, u64 max_bytes);
struct file *vas_file_open(const struct path *path, int flags);
bool vas_file_is(struct file *file, enum vas_role role);
bool vas_file_is_dax(struct file *file);
u64 vas_max_bytes(const struct dentry *dentry);
int vas_file_bound(const struct dentry *dentry);
void vas_file_unbound(const struct dentry *dentry);

/* objects.c; the table is read and changed under its lock only */
extern struct mutex vas_table;
int vas_object_add(struct file *file, struct file *lock, const char *name, u64 *id);
struct vas_object *vas_object_get(u64 id, u32 kind);
struct vas_object *vas_object_find(u32 kind, const char *name);
struct vas_object *vas_object_next(u32 kind, u64 after);
void vas_object_drop(struct vas_object *object);
int vas_object_may(const struct vas_object *object, u32 access);
bool vas_object_is_mine(const struct vas_object *object);
u32 vas_object_attached(const struct vas_object *object);
void vas_object_describe(const struct vas_object *object, struct vas_attributes *into);
int vas_object_set(struct vas_object *object, const struct vas_attributes *from);

/* bindings.c; under the lock of the table */
int vas_bind(struct vas_object *space, struct vas_object *segment, u32 access);
int vas_unbind(struct vas_object *space, u64 segment);
int vas_binding_next(struct vas_object *space, struct vas_binding *binding);
void vas_bindings_free(struct vas_object *space);

/* listing.c */
int vas_listing_init(void);
void vas_listing_exit(void);

#endif
