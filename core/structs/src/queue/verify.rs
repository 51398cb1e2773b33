//! Walking all of a queue: its check, its items, its removal.

use super::layout::{LEASES_MAX, Place, SLOT, header};
use super::{Queue, Slot};
use crate::owned::reach_owner;
use crate::record;
use crate::root::free_lines;
use vasmem_engine::layout::{Kind, NODE_WORDS};
use vasmem_engine::{
    Access, Host, Invariant, Memory, Offset, Reached, Result, Touched, Transaction,
};

/// Lines of the header that lead to tables.
const LEADING: std::ops::Range<u64> = header::LEASES_LINE / 64..64;

/// An item where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its position.
    pub position: u64,
    /// Its record.
    pub record: Offset,
    /// What it is.
    pub bytes: Vec<u8>,
}

impl Queue {
    /// All tables.
    fn tables<A: Access>(&self, access: &mut A) -> Result<Vec<Offset>> {
        let mut tables = Vec::new();
        for line in LEADING {
            let view = self.line(access, line * 64)?;
            let words = (1..=NODE_WORDS as u64)
                .map(|word| access.word(&view, self.root.node + line * 64 + word * 8));
            tables.extend(words.filter(|&table| table != 0));
            access.check(&view)?;
        }
        Ok(tables)
    }

    /// All places of slots and leases that there are, leases first, each with its number.
    fn slots<A: Access>(&self, access: &mut A) -> Result<Vec<(u64, Slot<A::View>)>> {
        let leases = (0..LEASES_MAX).map(Place::of_lease);
        let places = leases.chain((0..self.size).map(Place::of_slot));
        let mut found = Vec::new();
        for (number, place) in places.enumerate() {
            if let Some(slot) = self.slot(access, place)? {
                found.push((number as u64, slot));
            }
        }
        Ok(found)
    }

    /// Walks the whole queue while nobody writes: notes its blocks, and what breaks an invariant.
    ///
    /// # Errors
    /// `Corrupted` where it cannot go on.
    pub fn reach<A: Access>(&self, access: &mut A, reached: &mut Reached) -> Result<()> {
        reached.block(self.root.node);
        for table in self.tables(access)? {
            reached.block(table);
        }
        let (ready, leases) = self.counts(access)?;
        let head = self.line(access, header::HEAD_LINE)?;
        let first = access.word(&head, self.departures() + header::POSITION);
        let (mut waiting, mut leased) = (0, 0);
        for (number, slot) in self.slots(access)? {
            if slot.record == 0 {
                continue;
            }
            let position = access.word(&slot.view, slot.at + SLOT.position);
            let fits = if number < LEASES_MAX {
                leased += 1;
                reach_owner(access, &slot.view, slot.at + SLOT.owner, reached);
                position < first
            } else {
                waiting += 1;
                position.wrapping_sub(first) < ready && position % self.size == number - LEASES_MAX
            };
            if !fits {
                let text = format!("an item of position {position} does not belong here");
                reached.broken(Invariant::Queue, slot.at, text);
            }
            let (_, node) = self.item(access, &slot, &mut Vec::new())?;
            reached.block(slot.record);
            if let Some(node) = node {
                let (_, data, _) = record::large(access, &slot.view, node)?;
                reached.block(node);
                reached.block(data);
            }
        }
        if (waiting, leased) != (ready, leases.len()) {
            let text = format!(
                "{waiting} items and {leased} leases are there, {ready} and {} are counted",
                leases.len()
            );
            reached.broken(Invariant::Queue, self.root.node, text);
        }
        Ok(())
    }

    /// Places of leases and slots.
    pub fn places(&self) -> u64 {
        LEASES_MAX + self.size
    }

    /// The item in a place, if there is one: leases first, then slots.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn item_at<A: Access>(&self, access: &mut A, number: u64) -> Result<Option<Item>> {
        let slot_number = number.checked_sub(LEASES_MAX);
        let place = slot_number.map_or(Place::of_lease(number), Place::of_slot);
        let Some(slot) = self.slot(access, place)? else { return Ok(None) };
        if slot.record == 0 {
            access.check(&slot.view)?;
            return Ok(None);
        }
        let mut buffer = Vec::new();
        let position = access.word(&slot.view, slot.at + SLOT.position);
        let (range, _) = self.item(access, &slot, &mut buffer)?;
        access.check(&slot.view)?;
        if slot_number.is_some_and(|number| position % self.size != number) {
            return Err(access.broken(&slot.view, Invariant::Queue, slot.at));
        }
        Ok(Some(Item { position, record: slot.record, bytes: buffer[range].to_vec() }))
    }

    /// All items in their order, those on lease first.
    ///
    /// # Errors
    /// As `item_at`.
    pub fn items<A: Access>(&self, access: &mut A) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for number in 0..self.places() {
            found.extend(self.item_at(access, number)?);
        }
        found.sort_unstable_by_key(|item| item.position);
        Ok(found.into_iter().map(|item| item.bytes).collect())
    }

    /// Frees all of it and its name, in one transaction.
    ///
    /// # Errors
    /// `TooLarge` if it has more nodes than one transaction can list.
    pub fn remove<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        for (_, slot) in self.slots(tx)? {
            let slot: Slot<Touched> = slot;
            if slot.record != 0 {
                let (_, node) = self.item(tx, &slot, &mut Vec::new())?;
                record::free(tx, &slot.view, slot.record, node)?;
            }
        }
        for table in self.tables(tx)? {
            free_lines(tx, table, Kind::QUEUE_TABLE)?;
        }
        self.root.remove(tx, name)
    }
}
