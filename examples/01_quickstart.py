"""The twelve lines of the README: a map that lives outside of any process."""

import vasmem

seg = vasmem.open("quickstart", size="64M", max_size="8G")  # attach, or create
users = seg.hashmap("users")  # a MutableMapping in shared memory
users["ada"] = {"balance": 10}
users["bob"] = {"balance": 0}

with seg.transaction():  # all or nothing, for every other process too
    users["ada"] = {"balance": 5}
    users["bob"] = {"balance": 5}

reader = vasmem.attach("quickstart", readonly=True)  # any process may do this
print(dict(reader["users"]))
assert seg.check() == []  # every block is where it should be
vasmem.remove("quickstart")
