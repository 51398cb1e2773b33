//! The parts of `Segment.info()`: lanes, structures, heap, as plain dicts and lists.

use crate::attached::Attached;
use crate::segment::kind_name;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::BTreeSet;
use vasmem_engine::layout::GRANULE;
use vasmem_engine::{Error, Kind, directory};
use vasmem_structs::{Array, BTree, HashMap, Queue, TypedMap};

/// Lanes that tell an owner: `{lane, pid, alive}`; `alive` is None for a read-only attachment,
/// which may not look at locks.
///
/// # Errors
/// Those of the system's locks.
pub fn lanes<'py>(py: Python<'py>, attached: &Attached) -> PyResult<Bound<'py, PyList>> {
    attached.ensure_open()?;
    let engine = &attached.engine;
    let lanes = PyList::empty(py);
    for lane in 0..engine.lanes_used() as u16 {
        let pid = engine.owner_pid(lane);
        if pid != 0 {
            let lives = engine.owner_lives(lane).map_err(|error| attached.raise(error, None))?;
            let facts = PyDict::new(py);
            facts.set_item("lane", lane)?;
            facts.set_item("pid", pid)?;
            facts.set_item("alive", lives)?;
            lanes.append(facts)?;
        }
    }
    Ok(lanes)
}

/// pids of all lanes that tell one.
pub fn owners(attached: &Attached) -> BTreeSet<u32> {
    let engine = &attached.engine;
    let pids = (0..engine.lanes_used() as u16).map(|lane| engine.owner_pid(lane));
    pids.filter(|&pid| pid != 0).collect()
}

/// Structures: `{name, kind, length, load}`, as committed last, not as an open transaction sees it.
///
/// # Errors
/// As exceptions.
pub fn structures<'py>(py: Python<'py>, attached: &Attached) -> PyResult<Bound<'py, PyList>> {
    let first = attached.engine.geometry.directory_at;
    let found = attached.detached(py, |engine, waiter| {
        let mut found = Vec::new();
        for (named, _) in engine.read(waiter, |access| directory::list(access, first))? {
            let figures = engine.read(waiter, |access| match named.kind {
                Kind::HASH_HEADER => {
                    let map = HashMap::of(access, &named)?;
                    Ok(Some((map.len(access)?, Some(map.slots(access)?))))
                }
                Kind::ARRAY => Ok(Some((Array::of(access, &named)?.len(access)?, None))),
                Kind::TREE_HEADER | Kind::TYPED_TREE => {
                    let tree = BTree::of(access, &named)?;
                    Ok(Some((tree.len(access)?, Some(tree.slots(access)?))))
                }
                Kind::TYPED => {
                    let map = TypedMap::of(access, &named)?;
                    Ok(Some((map.len(access)?, Some(map.slots(access)?))))
                }
                Kind::QUEUE_HEADER => {
                    let queue = Queue::of(access, &named)?;
                    let (ready, leases) = queue.counts(access)?;
                    Ok(Some((ready + leases.len() as u64, Some(queue.size))))
                }
                _ => Ok(None),
            });
            match figures {
                Err(Error::Removed) => {}
                figures => found.push((named, figures?)),
            }
        }
        Ok(found)
    })?;
    let structures = PyList::empty(py);
    for (named, figures) in found {
        let facts = PyDict::new(py);
        facts.set_item("name", named.name)?;
        facts.set_item("kind", kind_name(named.kind, named.flags))?;
        facts.set_item("length", figures.map(|(length, _)| length))?;
        let load = figures.and_then(|(length, slots)| Some(length as f64 / slots?.max(1) as f64));
        facts.set_item("load", load)?;
        structures.append(facts)?;
    }
    Ok(structures)
}

/// The heap: free bytes, the largest free piece, and a row for each class of blocks.
///
/// # Errors
/// `VasmemError` once closed.
pub fn heap<'py>(py: Python<'py>, attached: &Attached) -> PyResult<Bound<'py, PyDict>> {
    let usage = attached.detached(py, |engine, _| Ok(engine.usage()))?;
    let classes = PyList::empty(py);
    let (mut taken, mut used) = (0, 0);
    for (&number, sum) in &usage.kinds {
        let kind = Kind(number);
        let facts = PyDict::new(py);
        facts.set_item("name", class_name(kind))?;
        facts.set_item("block_bytes", (kind != Kind::SPAN).then(|| kind.block_bytes()))?;
        facts.set_item("blocks", sum.blocks)?;
        facts.set_item("blocks_used", sum.blocks_used)?;
        facts.set_item("used_bytes", sum.used_bytes)?;
        facts.set_item("free_bytes", (sum.granules * GRANULE).saturating_sub(sum.used_bytes))?;
        classes.append(facts)?;
        taken += sum.granules * GRANULE;
        used += sum.used_bytes;
    }
    let heap = PyDict::new(py);
    heap.set_item("tables_bytes", usage.table_granules * GRANULE)?;
    heap.set_item("used_bytes", used)?;
    heap.set_item("free_in_classes_bytes", taken.saturating_sub(used))?;
    heap.set_item("free_bytes", usage.free_granules * GRANULE)?;
    heap.set_item("free_piece_max_bytes", usage.free_granules_max * GRANULE)?;
    heap.set_item("classes", classes)?;
    Ok(heap)
}

fn class_name(kind: Kind) -> &'static str {
    match kind {
        Kind::SPAN => "extent",
        Kind::DIRECTORY => "directory",
        Kind::ARRAY => "array header",
        Kind::HASH_HEADER => "hashmap header",
        Kind::HASH_DIRECTORY => "hashmap directory",
        Kind::HASH_TABLE => "hashmap table",
        Kind::HASH_TABLE_SMALL => "hashmap small table",
        Kind::VALUE => "large value",
        Kind::TREE_HEADER => "btree header",
        Kind::TREE_NODE => "btree node",
        Kind::TREE_LEAF => "btree typed leaf",
        Kind::COUNTER => "counter",
        Kind::LOCK => "lock",
        Kind::QUEUE_HEADER => "queue header",
        Kind::QUEUE_TABLE => "queue slots",
        kind if Kind::TYPED_TABLES.contains(&kind) => "hashmap typed table",
        kind if kind.is_node() || kind.block_bytes() == 0 => "unknown",
        _ => "data",
    }
}
