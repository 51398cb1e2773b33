// SPDX-License-Identifier: GPL-2.0
/* Which segments belong to a VAS; in the order of their numbers, so that a listing can go on. */
#include <linux/errno.h>
#include <linux/slab.h>

#include "internal.h"

struct binding {
	struct list_head node;
	u64 segment;
	u32 access;
};

/* A VAS that is read whole for a listing must stay readable. */
#define BINDINGS_MAX 4096

int vas_bind(struct vas_object *space, struct vas_object *segment, u32 access)
{
	struct binding *other, *made;
	unsigned int count = 0;

	list_for_each_entry(other, &space->bindings, node) {
		if (other->segment == segment->id) {
			other->access = access;
			return 0;
		}
		if (other->segment > segment->id)
			break;
		count++;
	}
	if (count >= BINDINGS_MAX)
		return -ENOSPC;
	made = kmalloc(sizeof(*made), GFP_KERNEL_ACCOUNT);
	if (!made)
		return -ENOMEM;
	made->segment = segment->id;
	made->access = access;
	/* Before the first with a greater number, or at the end. */
	list_add_tail(&made->node, &other->node);
	return 0;
}

int vas_unbind(struct vas_object *space, u64 segment)
{
	struct binding *binding;

	list_for_each_entry(binding, &space->bindings, node) {
		if (binding->segment == segment) {
			list_del(&binding->node);
			kfree(binding);
			return 0;
		}
	}
	return -ENOENT;
}

int vas_binding_next(struct vas_object *space, struct vas_binding *into)
{
	struct binding *binding;

	list_for_each_entry(binding, &space->bindings, node) {
		if (binding->segment > into->segment) {
			into->segment = binding->segment;
			into->access = binding->access;
			return 0;
		}
	}
	return -ENOENT;
}

void vas_bindings_free(struct vas_object *space)
{
	struct binding *binding, *next;

	list_for_each_entry_safe(binding, next, &space->bindings, node)
		kfree(binding);
	INIT_LIST_HEAD(&space->bindings);
}
