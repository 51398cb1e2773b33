// SPDX-License-Identifier: GPL-2.0
/* /proc/vas: a line for each object, which anyone may read as anyone may list /dev/shm. */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "internal.h"

static int show(struct seq_file *listing, void *unused)
{
	struct vas_attributes *found = kmalloc(sizeof(*found), GFP_KERNEL);
	struct vas_object *object;
	u64 id = 0;

	if (!found)
		return -ENOMEM;
	seq_puts(listing, "id kind mode uid gid size max used attached name\n");
	mutex_lock(&vas_table);
	while ((object = vas_object_next(0, id))) {
		id = object->id;
		vas_object_describe(object, found);
		seq_printf(listing, "%llu %s %04o %u %u %llu %llu %llu %u ", id,
			   found->kind == VAS_SEGMENT ? "segment" : "vas", found->mode, found->uid,
			   found->gid, found->size_bytes, found->max_bytes, found->used_bytes,
			   found->attached);
		seq_escape(listing, found->name, " \t\n\\");
		seq_putc(listing, '\n');
	}
	mutex_unlock(&vas_table);
	kfree(found);
	return 0;
}

int vas_listing_init(void)
{
	return proc_create_single("vas", 0444, NULL, show) ? 0 : -ENOMEM;
}

void vas_listing_exit(void)
{
	remove_proc_entry("vas", NULL);
}
