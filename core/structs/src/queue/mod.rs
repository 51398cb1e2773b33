//! Queue: a ring of slots, and leases of those that took an item and are not done with it.
//!
//! **Q1** positions go up by one with each item; the slot of position p is p mod the size, and the
//! items from head to tail stand in their slots, no others. **Q2** an item is in one slot or one
//! lease, and moves from one to the other in one transaction. **Q3** a lease that nobody has, or
//! an owner who is gone, comes before all slots: it was taken before them.
//!
//! Producers write the tail and a slot, consumers the head and a slot: they meet only where the
//! queue is empty or full, which the slot tells.

mod layout;
mod lease;
mod verify;

use crate::record::{self, RECORD_BYTES_MAX, VALUE_BYTES_MAX, check_length};
use crate::root::Root;
use layout::{Place, SLOT, header};
use std::ops::Range;
use vasmem_engine::directory::Named;
use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{Access, Host, Invariant, Memory, Offset, Result, Touched, Transaction};

pub use layout::{LEASES_MAX, SIZE_MAX};
pub use lease::{Lease, Take, Taken};
pub use verify::Item;

/// A queue of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    root: Root,
    /// Items that it takes.
    pub size: u64,
}

/// A slot or a lease, as it was seen: its view, its place, its record.
struct Slot<V> {
    view: V,
    at: Offset,
    record: Offset,
}

impl Queue {
    /// The queue of a first node.
    ///
    /// # Errors
    /// `Removed`; `Corrupted` if it has an impossible size.
    pub fn at<A: Access>(access: &mut A, root: Root) -> Result<Queue> {
        let view = root.navigate(access)?;
        let size = access.word(&view, root.node + header::SIZE);
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(access.broken(&view, Invariant::Queue, root.node));
        }
        access.check(&view)?;
        Ok(Queue { root, size })
    }

    /// The queue that a directory entry names.
    ///
    /// # Errors
    /// `WrongKind`; as `at`.
    pub fn of<A: Access>(access: &mut A, named: &Named) -> Result<Queue> {
        let root = Root::of(access, named, Kind::QUEUE_HEADER)?;
        Queue::at(access, root)
    }

    /// Makes an empty queue of 1 to [`SIZE_MAX`] items called `name`, which is not there yet.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        (name, flags): (&str, u8),
        id: u64,
        size: u64,
    ) -> Result<Root> {
        Root::create(tx, (name, Kind::QUEUE_HEADER, flags), id, &[size])
    }

    /// The node whose version word moves when an item comes.
    pub fn arrivals(&self) -> Offset {
        self.root.node + header::TAIL_LINE
    }

    /// The node whose version word moves when an item goes.
    pub fn departures(&self) -> Offset {
        self.root.node + header::HEAD_LINE
    }

    /// A line of the header that leads to others or counts.
    fn line<A: Access>(&self, access: &mut A, line: u64) -> Result<A::View> {
        let root = self.root.navigate(access)?;
        access.navigate(Some(&root), self.root.node + line, Kind::QUEUE_HEADER)
    }

    /// As `line`, of one that decides.
    fn deciding_line<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        line: u64,
    ) -> Result<Touched> {
        let root = self.root.navigate(tx)?;
        tx.read(Some(&root), self.root.node + line, Kind::QUEUE_HEADER)
    }

    /// A slot or lease; `None` where its table was never made.
    fn slot<A: Access>(&self, access: &mut A, place: Place) -> Result<Option<Slot<A::View>>> {
        let leads = self.line(access, place.line)?;
        let table = access.word(&leads, self.root.node + place.line + place.word);
        if table == 0 {
            access.check(&leads)?;
            return Ok(None);
        }
        let at = table.wrapping_add(place.within);
        let view = access.read(Some(&leads), at, Kind::QUEUE_TABLE)?;
        let record = access.word(&view, at + SLOT.record);
        Ok(Some(Slot { view, at, record }))
    }

    /// As `slot`; makes the table.
    fn slot_to_fill<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        place: Place,
    ) -> Result<Slot<Touched>> {
        if self.slot(tx, place)?.is_none() {
            let leads = self.deciding_line(tx, place.line)?;
            let table = tx.alloc_nodes(Kind::QUEUE_TABLE)?;
            tx.fill_nodes(table, &vec![0; (Kind::QUEUE_TABLE.block_bytes() / 8) as usize]);
            tx.write(&leads, self.root.node + place.line + place.word, table);
        }
        self.slot(tx, place)?.ok_or(vasmem_engine::Error::Conflict)
    }

    /// Puts an item at the end; false if there is no room.
    ///
    /// # Errors
    /// `Full`, `TooLarge`, `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn put<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        item: &[u8],
    ) -> Result<bool> {
        check_length("an item", item.len(), VALUE_BYTES_MAX)?;
        let tail = self.deciding_line(tx, header::TAIL_LINE)?;
        let tail_at = self.arrivals() + header::POSITION;
        let position = tx.word(&tail, tail_at);
        let slot = self.slot_to_fill(tx, Place::of_slot(position % self.size))?;
        if slot.record != 0 {
            return Ok(false);
        }
        let record = record::make(tx, b"", item)?;
        tx.write(&slot.view, slot.at + SLOT.position, position);
        tx.write(&slot.view, slot.at + SLOT.record, record);
        tx.write(&tail, tail_at, position.wrapping_add(1));
        Ok(true)
    }

    /// The item of a record that a slot or lease leads to: a range of `buffer`; and where its value
    /// stands, if that is apart.
    fn item<A: Access>(
        &self,
        access: &mut A,
        slot: &Slot<A::View>,
        buffer: &mut Vec<u8>,
    ) -> Result<(Range<usize>, Option<Offset>)> {
        let head = record::read(access, &slot.view, slot.record, RECORD_BYTES_MAX, buffer)?;
        if head.key_bytes() != 0 {
            return Err(access.broken(&slot.view, Invariant::Queue, slot.record));
        }
        let node = record::large_node(buffer, head);
        let range = record::value(access, &slot.view, head, buffer)?;
        Ok((range, node))
    }

    /// Items in the ring, and the owner of each lease.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn counts<A: Access>(
        &self,
        access: &mut A,
    ) -> Result<(u64, Vec<Option<vasmem_engine::Owner>>)> {
        let head = self.line(access, header::HEAD_LINE)?;
        let tail = self.line(access, header::TAIL_LINE)?;
        let first = access.word(&head, self.departures() + header::POSITION);
        let end = access.word(&tail, self.arrivals() + header::POSITION);
        access.check(&head)?;
        access.check(&tail)?;
        let ready = end.wrapping_sub(first);
        if ready > self.size {
            return Err(access.broken(&tail, Invariant::Queue, self.arrivals()));
        }
        let leases = self.leases(access)?.into_iter().map(|lease| lease.owner);
        Ok((ready, leases.collect()))
    }
}

/// Lines of a table of slots or leases.
const TABLE_LINES: u64 = vasmem_engine::layout::GRANULE / LINE;
