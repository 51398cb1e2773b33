// SPDX-License-Identifier: GPL-2.0
/* The table of named objects: finding, publishing, taking names away, and who may. */
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "compat.h"
#include "internal.h"

static unsigned int objects_max = 4096;
module_param(objects_max, uint, 0644);
MODULE_PARM_DESC(objects_max, "named objects that one user may own (root any number)");

DEFINE_MUTEX(vas_table);
static DEFINE_XARRAY(objects);
/* Numbers are not used again. */
static u64 last_id;

static struct inode *inode_of(const struct vas_object *object)
{
	return d_inode(object->path.dentry);
}

struct vas_object *vas_object_get(u64 id, u32 kind)
{
	struct vas_object *object = id <= last_id ? xa_load(&objects, id) : NULL;

	return object && (!kind || object->kind == kind) ? object : NULL;
}

struct vas_object *vas_object_find(u32 kind, const char *name)
{
	struct vas_object *object;
	unsigned long id;

	xa_for_each(&objects, id, object)
		if (object->kind == kind && !strcmp(object->name, name))
			return object;
	return NULL;
}

struct vas_object *vas_object_next(u32 kind, u64 after)
{
	struct vas_object *object;
	unsigned long id = after;

	if (after >= last_id)
		return NULL;
	object = xa_find_after(&objects, &id, ULONG_MAX, XA_PRESENT);
	while (object && kind && object->kind != kind)
		object = xa_find_after(&objects, &id, ULONG_MAX, XA_PRESENT);
	return object;
}

/* Whether these files may become a new object: not part of one, and not one too many. */
static int check_new(const struct inode *inode, const struct inode *lock)
{
	struct vas_object *object;
	unsigned int owned = 0;
	unsigned long id;

	xa_for_each(&objects, id, object) {
		if (inode_of(object) == inode)
			return -EEXIST;
		if (lock && object->lock.dentry && d_inode(object->lock.dentry) == lock)
			return -EEXIST;
		owned += uid_eq(inode_of(object)->i_uid, inode->i_uid);
	}
	if (owned >= objects_max && !capable(CAP_SYS_RESOURCE))
		return -EDQUOT;
	return 0;
}

static struct vas_object *make(struct file *file, struct file *lock, const char *name)
{
	struct vas_object *object = kzalloc(sizeof(*object), GFP_KERNEL_ACCOUNT);

	if (!object)
		return NULL;
	object->kind = lock ? VAS_SEGMENT : VAS_SPACE;
	INIT_LIST_HEAD(&object->bindings);
	strscpy(object->name, name, sizeof(object->name));
	object->path = file->f_path;
	path_get(&object->path);
	if (lock) {
		object->lock = lock->f_path;
		path_get(&object->lock);
	}
	return object;
}

static void unmake(struct vas_object *object)
{
	vas_bindings_free(object);
	if (object->lock.dentry)
		path_put(&object->lock);
	path_put(&object->path);
	kfree(object);
}

int vas_object_add(struct file *file, struct file *lock, const char *name, u64 *id)
{
	struct vas_object *object;
	int error = check_new(file_inode(file), lock ? file_inode(lock) : NULL);

	if (error)
		return error;
	if (vas_object_find(lock ? VAS_SEGMENT : VAS_SPACE, name))
		return -EEXIST;
	object = make(file, lock, name);
	if (!object)
		return -ENOMEM;
	error = xa_err(xa_store(&objects, last_id + 1, object, GFP_KERNEL_ACCOUNT));
	if (!error) {
		error = vas_file_bound(file->f_path.dentry);
		if (error)
			xa_erase(&objects, last_id + 1);
	}
	if (error) {
		unmake(object);
		return error;
	}
	__module_get(THIS_MODULE);
	object->id = ++last_id;
	*id = object->id;
	return 0;
}

static void unbind_everywhere(u64 segment)
{
	struct vas_object *object;
	unsigned long id;

	xa_for_each(&objects, id, object)
		vas_unbind(object, segment);
}

void vas_object_drop(struct vas_object *object)
{
	xa_erase(&objects, object->id);
	unbind_everywhere(object->id);
	vas_file_unbound(object->path.dentry);
	unmake(object);
	module_put(THIS_MODULE);
}

int vas_object_may(const struct vas_object *object, u32 access)
{
	int wanted = access == VAS_READ ? MAY_READ : MAY_READ | MAY_WRITE;

	return inode_permission(vas_idmap(&object->path), inode_of(object), wanted);
}

bool vas_object_is_mine(const struct vas_object *object)
{
	return inode_owner_or_capable(vas_idmap(&object->path), inode_of(object));
}

u32 vas_object_attached(const struct vas_object *object)
{
	/* A DAX file may be open for reasons of its own; its lock file is not. One is the table's. */
	bool counted = object->kind == VAS_SPACE || !IS_DAX(inode_of(object));
	const struct path *path = counted ? &object->path : &object->lock;

	return d_count(path->dentry) - 1;
}

void vas_object_describe(const struct vas_object *object, struct vas_attributes *into)
{
	const struct inode *inode = inode_of(object);

	memset(into, 0, sizeof(*into));
	into->id = object->id;
	into->kind = object->kind;
	into->mode = inode->i_mode & 07777;
	into->uid = from_kuid_munged(current_user_ns(), inode->i_uid);
	into->gid = from_kgid_munged(current_user_ns(), inode->i_gid);
	into->attached = vas_object_attached(object);
	into->size_bytes = i_size_read(inode);
	into->max_bytes = vas_max_bytes(object->path.dentry);
	into->used_bytes = (u64)inode->i_blocks << 9;
	strscpy(into->name, object->name, sizeof(into->name));
}

static int change(const struct path *path, struct iattr wanted)
{
	struct inode *inode = d_inode(path->dentry);
	int error;

	inode_lock(inode);
	error = notify_change(vas_idmap(path), path->dentry, &wanted, NULL);
	inode_unlock(inode);
	return error;
}

/* Those who may write the segment, for both: nobody else may disturb its writers. */
static umode_t lock_mode(umode_t mode)
{
	umode_t writers = mode & 0222;

	return writers | writers << 1;
}

/* As fchmod and fchown do it, and by their rules. */
int vas_object_set(struct vas_object *object, const struct vas_attributes *from)
{
	struct iattr wanted = { .ia_valid = ATTR_CTIME };
	int error;

	if (!S_ISREG(inode_of(object)->i_mode) || IS_DAX(inode_of(object)))
		return -EOPNOTSUPP;
	if (from->which & VAS_SET_MODE) {
		wanted.ia_valid |= ATTR_MODE;
		wanted.ia_mode = S_IFREG | from->mode;
	}
	if (from->which & VAS_SET_USER) {
		wanted.ia_valid |= ATTR_UID;
		wanted.ia_uid = make_kuid(current_user_ns(), from->uid);
		if (!uid_valid(wanted.ia_uid))
			return -EINVAL;
	}
	if (from->which & VAS_SET_GROUP) {
		wanted.ia_valid |= ATTR_GID;
		wanted.ia_gid = make_kgid(current_user_ns(), from->gid);
		if (!gid_valid(wanted.ia_gid))
			return -EINVAL;
	}
	error = change(&object->path, wanted);
	if (error || !object->lock.dentry)
		return error;
	wanted.ia_mode = S_IFREG | lock_mode(from->mode);
	return change(&object->lock, wanted);
}
