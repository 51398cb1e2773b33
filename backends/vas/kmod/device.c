// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/vas: copies arguments in and out, checks them, and does nothing else. Descriptors are
 * installed last, when nothing can fail any more.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "internal.h"

union arguments {
	__u32 version;
	struct vas_create create;
	struct vas_publish publish;
	struct vas_find find;
	struct vas_attach attach;
	struct vas_attributes attributes;
	struct vas_delete delete;
	struct vas_binding binding;
};

static bool is_kind(u32 kind)
{
	return kind == VAS_SEGMENT || kind == VAS_SPACE;
}

static bool is_access(u32 access)
{
	return access == VAS_READ || access == VAS_READ_WRITE;
}

static int check_name(const char *name)
{
	size_t length = strnlen(name, VAS_NAME_BYTES);

	if (!length)
		return -EINVAL;
	return length < VAS_NAME_BYTES ? 0 : -ENAMETOOLONG;
}

static int get_version(union arguments *a, struct vas_gift *gifts)
{
	a->version = VAS_VERSION;
	return 0;
}

static int give(struct vas_gift *gift, struct file *file, __s32 *told)
{
	if (IS_ERR(file))
		return PTR_ERR(file);
	gift->file = file;
	gift->told = told;
	return 0;
}

static int create(union arguments *a, struct vas_gift *gifts)
{
	struct vas_create *c = &a->create;
	umode_t writers = c->mode & 0222;
	int error;

	if (!is_kind(c->kind) || c->mode & ~0666 || c->reserved)
		return -EINVAL;
	c->fd = c->lock_fd = -1;
	if (c->kind == VAS_SPACE) {
		if (c->max_bytes || c->dax_fd >= 0)
			return -EINVAL;
		return give(gifts, vas_file_make(VAS_ANCHOR, c->mode, 0), &c->fd);
	}
	if (c->dax_fd < 0) {
		if (!c->max_bytes || c->max_bytes > MAX_LFS_FILESIZE >> 4)
			return -EINVAL;
		c->max_bytes = PAGE_ALIGN(c->max_bytes);
		error = give(gifts, vas_file_make(VAS_MEMORY, c->mode, c->max_bytes), &c->fd);
		if (error)
			return error;
	}
	return give(gifts + 1, vas_file_make(VAS_LOCK, writers | writers << 1, 0), &c->lock_fd);
}

/* Only one's own files, open for writing, and of the right kind, can get a name. */
static int check_publishable(struct file *file, struct file *lock)
{
	if (!inode_owner_or_capable(vas_idmap(&file->f_path), file_inode(file)))
		return -EACCES;
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (!lock)
		return vas_file_is(file, VAS_ANCHOR) ? 0 : -EINVAL;
	if (!vas_file_is(lock, VAS_LOCK))
		return -EINVAL;
	if (!uid_eq(file_inode(lock)->i_uid, file_inode(file)->i_uid))
		return -EACCES;
	return vas_file_is(file, VAS_MEMORY) || vas_file_is_dax(file) ? 0 : -EINVAL;
}

static int publish(union arguments *a, struct vas_gift *gifts)
{
	struct vas_publish *p = &a->publish;
	struct file *file, *lock = NULL;
	int error = check_name(p->name);

	if (error)
		return error;
	file = fget(p->fd);
	if (!file)
		return -EBADF;
	error = -EBADF;
	if (p->lock_fd >= 0) {
		lock = fget(p->lock_fd);
		if (!lock)
			goto out;
	}
	error = check_publishable(file, lock);
	if (!error) {
		mutex_lock(&vas_table);
		error = vas_object_add(file, lock, p->name, &p->id);
		mutex_unlock(&vas_table);
	}
out:
	if (lock)
		fput(lock);
	fput(file);
	return error;
}

static int find(union arguments *a, struct vas_gift *gifts)
{
	struct vas_find *f = &a->find;
	struct vas_object *object;
	int error = check_name(f->name);

	if (error)
		return error;
	if (!is_kind(f->kind) || f->reserved)
		return -EINVAL;
	mutex_lock(&vas_table);
	object = vas_object_find(f->kind, f->name);
	f->id = object ? object->id : 0;
	mutex_unlock(&vas_table);
	return object ? 0 : -ENOENT;
}

static int attach(union arguments *a, struct vas_gift *gifts)
{
	struct vas_attach *t = &a->attach;
	struct vas_object *object;
	int error = -ENOENT;

	if (!is_access(t->access) || t->reserved)
		return -EINVAL;
	t->fd = t->lock_fd = -1;
	mutex_lock(&vas_table);
	object = vas_object_get(t->id, 0);
	if (object)
		error = vas_object_may(object, t->access);
	if (!error)
		error = give(gifts, vas_file_open(&object->path, t->access), &t->fd);
	if (!error && object->kind == VAS_SEGMENT && t->access == VAS_READ_WRITE)
		error = give(gifts + 1, vas_file_open(&object->lock, O_RDWR), &t->lock_fd);
	mutex_unlock(&vas_table);
	return error;
}

static int get(union arguments *a, struct vas_gift *gifts)
{
	struct vas_object *object;

	mutex_lock(&vas_table);
	object = vas_object_get(a->attributes.id, 0);
	if (object)
		vas_object_describe(object, &a->attributes);
	mutex_unlock(&vas_table);
	return object ? 0 : -ENOENT;
}

static int set(union arguments *a, struct vas_gift *gifts)
{
	const struct vas_attributes *s = &a->attributes;
	u32 known = VAS_SET_MODE | VAS_SET_USER | VAS_SET_GROUP;
	struct vas_object *object;
	int error = -ENOENT;

	if (s->which & ~known || (s->which & VAS_SET_MODE && s->mode & ~0666))
		return -EINVAL;
	mutex_lock(&vas_table);
	object = vas_object_get(s->id, 0);
	if (object)
		error = vas_object_set(object, s);
	mutex_unlock(&vas_table);
	return error;
}

static int next(union arguments *a, struct vas_gift *gifts)
{
	struct vas_object *object;

	if (a->attributes.kind && !is_kind(a->attributes.kind))
		return -EINVAL;
	mutex_lock(&vas_table);
	object = vas_object_next(a->attributes.kind, a->attributes.id);
	if (object)
		vas_object_describe(object, &a->attributes);
	mutex_unlock(&vas_table);
	return object ? 0 : -ENOENT;
}

static int delete(union arguments *a, struct vas_gift *gifts)
{
	struct vas_object *object;
	int error = 0;

	if (a->delete.flags & ~VAS_IF_UNUSED || a->delete.reserved)
		return -EINVAL;
	mutex_lock(&vas_table);
	object = vas_object_get(a->delete.id, 0);
	if (!object)
		error = -ENOENT;
	else if (!vas_object_is_mine(object))
		error = -EACCES;
	else if (a->delete.flags & VAS_IF_UNUSED && vas_object_attached(object))
		error = -EBUSY;
	else
		vas_object_drop(object);
	mutex_unlock(&vas_table);
	return error;
}

static int bind(union arguments *a, struct vas_gift *gifts)
{
	const struct vas_binding *b = &a->binding;
	struct vas_object *space, *segment;
	int error = -ENOENT;

	if (!is_access(b->access) || b->reserved)
		return -EINVAL;
	mutex_lock(&vas_table);
	space = vas_object_get(b->space, VAS_SPACE);
	segment = vas_object_get(b->segment, VAS_SEGMENT);
	if (space && segment) {
		error = vas_object_may(space, VAS_READ_WRITE);
		if (!error)
			error = vas_object_may(segment, b->access);
		if (!error)
			error = vas_bind(space, segment, b->access);
	}
	mutex_unlock(&vas_table);
	return error;
}

static int unbind(union arguments *a, struct vas_gift *gifts)
{
	struct vas_object *space;
	int error = -ENOENT;

	mutex_lock(&vas_table);
	space = vas_object_get(a->binding.space, VAS_SPACE);
	if (space)
		error = vas_object_may(space, VAS_READ_WRITE);
	if (!error)
		error = vas_unbind(space, a->binding.segment);
	mutex_unlock(&vas_table);
	return error;
}

static int next_binding(union arguments *a, struct vas_gift *gifts)
{
	struct vas_object *space;
	int error = -ENOENT;

	mutex_lock(&vas_table);
	space = vas_object_get(a->binding.space, VAS_SPACE);
	if (space)
		error = vas_object_may(space, VAS_READ);
	if (!error)
		error = vas_binding_next(space, &a->binding);
	mutex_unlock(&vas_table);
	return error;
}

static const struct {
	unsigned int command;
	int (*serve)(union arguments *a, struct vas_gift *gifts);
} calls[] = {
	{ VAS_GET_VERSION, get_version },
	{ VAS_CREATE, create },
	{ VAS_PUBLISH, publish },
	{ VAS_FIND, find },
	{ VAS_ATTACH, attach },
	{ VAS_GET, get },
	{ VAS_SET, set },
	{ VAS_NEXT, next },
	{ VAS_DELETE, delete },
	{ VAS_BIND, bind },
	{ VAS_UNBIND, unbind },
	{ VAS_NEXT_BINDING, next_binding },
};

/* Reserves descriptors for all gifts and tells their numbers. */
static int reserve(struct vas_gift *gifts)
{
	unsigned int i;
	int fd;

	for (i = 0; i < VAS_GIFTS; i++) {
		if (!gifts[i].file)
			continue;
		fd = get_unused_fd_flags(O_CLOEXEC);
		if (fd < 0)
			return fd;
		*gifts[i].told = fd;
	}
	return 0;
}

static void take_back(struct vas_gift *gifts)
{
	unsigned int i;

	for (i = 0; i < VAS_GIFTS; i++) {
		if (!gifts[i].file)
			continue;
		if (*gifts[i].told >= 0)
			put_unused_fd(*gifts[i].told);
		fput(gifts[i].file);
	}
}

static long serve(struct file *device, unsigned int command, unsigned long address)
{
	void __user *user = (void __user *)address;
	struct vas_gift gifts[VAS_GIFTS] = {};
	unsigned int number = _IOC_NR(command), i;
	union arguments a = {};
	int error;

	if (number >= ARRAY_SIZE(calls) || command != calls[number].command)
		return -ENOTTY;
	if (_IOC_DIR(command) & _IOC_WRITE && copy_from_user(&a, user, _IOC_SIZE(command)))
		return -EFAULT;
	error = calls[number].serve(&a, gifts);
	if (!error)
		error = reserve(gifts);
	if (!error && _IOC_DIR(command) & _IOC_READ && copy_to_user(user, &a, _IOC_SIZE(command)))
		error = -EFAULT;
	if (error) {
		take_back(gifts);
		return error;
	}
	for (i = 0; i < VAS_GIFTS; i++)
		if (gifts[i].file)
			fd_install(*gifts[i].told, gifts[i].file);
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = serve,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vas",
	.fops = &operations,
	.mode = 0666,
};

static int __init vas_init(void)
{
	int error = vas_files_init();

	if (error)
		return error;
	error = vas_listing_init();
	if (error)
		return error;
	error = misc_register(&device);
	if (error)
		vas_listing_exit();
	return error;
}

static void __exit vas_exit(void)
{
	misc_deregister(&device);
	vas_listing_exit();
}

module_init(vas_init);
module_exit(vas_exit);
MODULE_AUTHOR("The vasmem authors");
MODULE_DESCRIPTION("Named segments and address spaces, kept by the kernel");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
