// SPDX-License-Identifier: GPL-2.0
/*
 * The files behind objects: inodes of the kernel's own shmem, with owner, group and mode, so that
 * the file system decides who may open them again through /proc and counts who has them open.
 *
 * A published memory is sealed against any change of its size, and grows by fallocate alone, which
 * for it is ours and knows its maximum. These operations pin the module as long as they are open.
 * Without its name a memory is the file system's again: then nothing of it leads into the module.
 */
#include <linux/cred.h>
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/shmem_fs.h>

#include "compat.h"
#include "internal.h"

#define GROWTH_BITS 4

static const struct file_operations *native;
static struct file_operations bounded;
static struct super_block *home;
/* Growth of one memory is one at a time; which lock is its own is found by the inode's address. */
static struct mutex growth[1 << GROWTH_BITS];

/*
 * What a file is stands in its name, which the kernel gives and nobody changes; other files of this
 * file system are named "memfd:..." or "SYSV...". The inode has no room: i_private is shmem's own.
 */
static const char *const role_names[] = {
	[VAS_MEMORY] = "vas:memory:",
	[VAS_LOCK] = "vas:lock:",
	[VAS_ANCHOR] = "vas:space:",
};

static const char *after_role(const struct dentry *dentry, enum vas_role role)
{
	const char *name = dentry->d_name.name;
	size_t length = strlen(role_names[role]);

	if (dentry->d_sb != home || strncmp(name, role_names[role], length))
		return NULL;
	return name + length;
}

u64 vas_max_bytes(const struct dentry *dentry)
{
	const char *digits = after_role(dentry, VAS_MEMORY);
	u64 bytes;

	if (digits && !kstrtoull(digits, 16, &bytes))
		return bytes;
	return i_size_read(d_inode(dentry));
}

static void set_size(struct inode *inode, loff_t size)
{
	inode_lock(inode);
	i_size_write(inode, size);
	inode_unlock(inode);
}

/* Backs a range. Where it reaches past the end the end moves first, since the seal is against it. */
static long bounded_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	struct mutex *mine = &growth[hash_ptr(inode, GROWTH_BITS)];
	loff_t end, old;
	long error;

	if (mode)
		return native->fallocate(file, mode, offset, len);
	if (check_add_overflow(offset, len, &end) || (u64)end > vas_max_bytes(file->f_path.dentry))
		return -EFBIG;
	if (mutex_lock_killable(mine))
		return -EINTR;
	old = i_size_read(inode);
	if (end > old)
		set_size(inode, end);
	error = native->fallocate(file, mode, offset, len);
	if (error && end > old)
		set_size(inode, old);
	mutex_unlock(mine);
	return error;
}

int vas_files_init(void)
{
	struct file *probe = shmem_file_setup("vas", 0, VAS_NORESERVE);
	unsigned int i;

	if (IS_ERR(probe))
		return PTR_ERR(probe);
	native = file_inode(probe)->i_fop;
	home = file_inode(probe)->i_sb;
	fput(probe);
	if (!native->fallocate)
		return -EOPNOTSUPP;
	bounded = *native;
	bounded.owner = THIS_MODULE;
	bounded.fallocate = bounded_fallocate;
	/* That of shmem insists on being called for its own operations. */
	bounded.get_unmapped_area = NULL;
	for (i = 0; i < ARRAY_SIZE(growth); i++)
		mutex_init(&growth[i]);
	return 0;
}

struct file *vas_file_open(const struct path *path, int flags)
{
	return dentry_open(path, flags | O_LARGEFILE, current_cred());
}

struct file *vas_file_make(enum vas_role role, umode_t mode, u64 max_bytes)
{
	/* A lock file has a page, for those who lock bytes and for whoever notes something there. */
	loff_t size = role == VAS_LOCK ? PAGE_SIZE : 0;
	struct file *first, *opened;
	struct inode *inode;
	char name[32];

	snprintf(name, sizeof(name), "%s%llx", role_names[role], max_bytes);
	first = shmem_file_setup(name, size, VAS_NORESERVE);
	if (IS_ERR(first))
		return first;
	inode = file_inode(first);
	inode->i_mode = S_IFREG | mode;
	SHMEM_I(inode)->seals = F_SEAL_SEAL | F_SEAL_SHRINK;
	if (role != VAS_MEMORY)
		SHMEM_I(inode)->seals |= F_SEAL_GROW;
	opened = vas_file_open(&first->f_path, O_RDWR);
	fput(first);
	return opened;
}

bool vas_file_is(struct file *file, enum vas_role role)
{
	return after_role(file->f_path.dentry, role);
}

bool vas_file_is_dax(struct file *file)
{
	const struct inode *inode = file_inode(file);

	return S_ISREG(inode->i_mode) && IS_DAX(inode) && inode->i_sb != home;
}

/* From now on it ends at its maximum. */
int vas_file_bound(const struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);
	int error = 0;

	if (!after_role(dentry, VAS_MEMORY))
		return 0;
	inode_lock(inode);
	if ((u64)i_size_read(inode) > vas_max_bytes(dentry)) {
		error = -EFBIG;
	} else {
		SHMEM_I(inode)->seals |= F_SEAL_GROW;
		WRITE_ONCE(inode->i_fop, &bounded);
	}
	inode_unlock(inode);
	return error;
}

void vas_file_unbound(const struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);

	if (!after_role(dentry, VAS_MEMORY))
		return;
	inode_lock(inode);
	SHMEM_I(inode)->seals &= ~F_SEAL_GROW;
	WRITE_ONCE(inode->i_fop, native);
	inode_unlock(inode);
}
