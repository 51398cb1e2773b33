//! What can be read of counters, locks and queues of a damaged segment.

use crate::error::Kind as Exception;
use crate::salvage::Damaged;
use crate::segment::{RAW, Segment, random_id};
use crate::value;
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use std::collections::HashSet;
use vasmem_engine::directory::Named;
use vasmem_engine::{Invariant, Kind, Losses, Offset};
use vasmem_structs::queue::Item;
use vasmem_structs::{Counter, Lock, Queue};

/// Whether a structure is one of these.
pub fn is_small(named: &Named) -> bool {
    [Kind::COUNTER, Kind::LOCK, Kind::QUEUE_HEADER].contains(&named.kind)
}

impl Damaged {
    /// Makes the structure and copies what it holds; tells how much that is. A lock is free.
    pub fn copy_small(
        &self,
        py: Python<'_>,
        named: &Named,
        target: &Segment,
        taken: &mut HashSet<Offset>,
    ) -> PyResult<(u64, Losses)> {
        let mut losses = Losses::default();
        let (id, to) = (random_id()?, &target.attached);
        match named.kind {
            Kind::COUNTER => {
                let number = self.detached(py, |waiter| {
                    let read =
                        self.engine.read(waiter, |access| Counter::of(access, named)?.get(access));
                    losses.unless_broken(read, "a counter")
                })?;
                let Some(number) = number else { return Ok((0, losses)) };
                to.write(py, |tx| Counter::create(tx, &named.name, id, number))?;
                Ok((1, losses))
            }
            Kind::LOCK => {
                to.write(py, |tx| Lock::create(tx, &named.name, id))?;
                Ok((1, losses))
            }
            _ => {
                let copied = self.copy_queue(py, named, target, (&mut losses, taken), id)?;
                Ok((copied, losses))
            }
        }
    }

    fn copy_queue(
        &self,
        py: Python<'_>,
        named: &Named,
        target: &Segment,
        (losses, taken): (&mut Losses, &mut HashSet<Offset>),
        id: u64,
    ) -> PyResult<u64> {
        let queue = self.detached(py, |waiter| {
            let queue = self.engine.read(waiter, |access| Queue::of(access, named));
            losses.unless_broken(queue, "the whole queue: its header is not readable")
        })?;
        let Some(queue) = queue else { return Ok(0) };
        let mut items = self.detached(py, |waiter| {
            let mut items: Vec<Item> = Vec::new();
            for number in 0..queue.places() {
                let read = self.engine.read(waiter, |access| queue.item_at(access, number));
                let item = losses.unless_broken(read, "an item of a queue")?.flatten();
                items.extend(item.filter(|item| {
                    let once = taken.insert(item.record);
                    if !once {
                        let text = "an item that two places lead to";
                        losses.note(Invariant::Reachable, item.record, text);
                    }
                    once
                }));
            }
            Ok(items)
        })?;
        items.sort_by_key(|item| item.position);
        let attached = &target.attached;
        let root = attached
            .write(py, |tx| Queue::create(tx, (&named.name, named.flags), id, queue.size))?;
        let corrupted = Exception::SegmentCorrupted.class(py)?;
        let mut copied = 0;
        for item in items {
            let decoded = match named.flags & RAW != 0 {
                true => Ok(()),
                false => value::decode(py, &item.bytes).map(|_| ()),
            };
            match decoded {
                Err(error) if error.is_instance(py, corrupted) => {
                    losses.note(Invariant::Queue, item.record, error.value(py).to_string());
                    continue;
                }
                Err(error) if !error.is_instance_of::<PyImportError>(py) => return Err(error),
                _ => {}
            }
            let put = attached.write(py, |tx| Queue::at(tx, root)?.put(tx, &item.bytes))?;
            match put {
                true => copied += 1,
                false => losses.note(Invariant::Queue, item.record, "more items than fit"),
            }
        }
        Ok(copied)
    }
}
