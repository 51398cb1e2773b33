//! Splitting a table: two fresh ones are built in this process's memory and published with the
//! entries, in one transaction that frees every bucket of the old one.

use super::HashMap;
use super::layout::{
    DEPTH_MAX, Entry, FULL, Hash, OVERFLOWED, PAGES_MAX, PER_PAGE, Shape, Slot, WINDOW, entry_slot,
    header, root_slot,
};
use super::lookup::Table;
use crate::record::{HEAD_BYTES, Head, OFFSET_MASK};
use vasmem_engine::layout::{GRANULE, Kind, LINE};
use vasmem_engine::{Access, Error, Host, Memory, Offset, Result, Touched, Transaction};

/// Records that are asked for at a time while keys are hashed again.
const AHEAD: usize = 16;

/// A table in this process's memory.
struct Draft {
    words: Vec<u64>,
}

impl Draft {
    fn new(index: u64, depth: u32) -> Draft {
        let mut words = vec![0; (GRANULE / 8) as usize];
        (words[1], words[2]) = (index, u64::from(depth));
        Draft { words }
    }

    fn slots(&mut self, line: u64) -> &mut [u64] {
        &mut self.words[line as usize * 8 + 1..line as usize * 8 + 8]
    }

    fn free(&self, line: u64) -> usize {
        let slots = &self.words[line as usize * 8 + 1..line as usize * 8 + 8];
        slots.iter().filter(|&&slot| Slot(slot).record() == 0).count()
    }

    /// Places a record as an insert would; false if there is no room.
    fn place(&mut self, hash: Hash, record: Offset) -> bool {
        let home = FULL.home(hash);
        let mut line = if self.free(home) >= self.free(home + 1) { home } else { home + 1 };
        if self.free(line) == 0 {
            let stashes = (0..WINDOW).map(|step| FULL.stash(hash, step));
            match stashes.into_iter().find(|&stash| self.free(stash) > 0) {
                Some(stash) => line = stash,
                None => return false,
            }
            self.slots(home)[0] |= OVERFLOWED;
        }
        if let Some(slot) = self.slots(line).iter_mut().find(|slot| Slot(**slot).record() == 0) {
            *slot = Slot::new(hash, record).0 | *slot & OVERFLOWED;
        }
        true
    }
}

impl HashMap {
    /// Makes room in `table`: a small one becomes a full one, a full one becomes two.
    ///
    /// # Errors
    /// `TooLarge` at the limit of the directory; `Full`, `Corrupted`, `Conflict`.
    pub(super) fn split<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        table: &Table<Touched>,
    ) -> Result<()> {
        let (entry, shape) = (table.entry, table.entry.shape());
        let records = self.records(tx, table, shape)?;
        if *shape != FULL {
            let mut draft = Draft::new(table.index, entry.depth());
            for (hash, record) in records {
                if !draft.place(hash, record) {
                    return Err(too_deep());
                }
            }
            let fresh = self.publish(tx, draft)?;
            let parent = tx.decide(&table.parent)?;
            tx.write(&parent, table.entry_at, Entry::new(fresh, entry.depth(), false).0);
            return tx.free(entry.table());
        }
        let bit = entry.depth();
        if bit >= DEPTH_MAX {
            return Err(too_deep());
        }
        let buddy = table.index | 1 << bit;
        let mut drafts = [Draft::new(table.index, bit + 1), Draft::new(buddy, bit + 1)];
        for (hash, record) in records {
            if !drafts[(hash.index() >> bit & 1) as usize].place(hash, record) {
                return Err(too_deep());
            }
        }
        let [low, high] = drafts;
        let (low, high) = (self.publish(tx, low)?, self.publish(tx, high)?);
        self.deepen(tx, bit + 1)?;
        self.set_entry(tx, buddy, Entry::new(high, bit + 1, false))?;
        self.set_entry(tx, table.index, Entry::new(low, bit + 1, false))?;
        tx.free(entry.table())
    }

    /// All records of a table with the hashes of their keys; frees the buckets.
    fn records<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        table: &Table<Touched>,
        shape: &Shape,
    ) -> Result<Vec<(Hash, Offset)>> {
        let mut slots: Vec<(Touched, Offset)> = Vec::with_capacity(shape.lines as usize * 7);
        for line in 1..shape.lines {
            let bucket = self.bucket(tx, table, line)?;
            let records = bucket.slots().map(|(_, slot)| slot.record());
            slots.extend(records.filter(|&at| at != 0).map(|at| (bucket.view, at)));
            tx.check(&bucket.view)?;
            tx.free_node(&bucket.view);
        }
        let first = tx.read(Some(&table.parent), table.entry.table(), shape.kind)?;
        tx.free_node(&first);
        let seed = tx.seed();
        let mut record = Vec::new();
        let mut found = Vec::with_capacity(slots.len());
        for (number, (view, at)) in slots.iter().enumerate() {
            if let Some((_, ahead)) = slots.get(number + AHEAD) {
                tx.prefetch(*ahead);
            }
            let head = self.read_key(tx, view, *at, &mut record)?;
            found.push((Hash::of(&record[..head], seed), *at));
        }
        Ok(found)
    }

    /// Copies a record's key out; returns its length.
    fn read_key<A: Access>(
        &self,
        access: &mut A,
        view: &A::View,
        at: Offset,
        key: &mut Vec<u8>,
    ) -> Result<usize> {
        access.data(view, at, HEAD_BYTES)?;
        let head = Head(access.word(view, at));
        access.data(view, at, HEAD_BYTES + head.key_bytes())?;
        let bytes = head.key_bytes() as usize;
        key.resize(bytes, 0);
        access.bytes(view, at + HEAD_BYTES, &mut key[..bytes]);
        access.check(view)?;
        Ok(bytes)
    }

    fn publish<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        draft: Draft,
    ) -> Result<Offset> {
        let table = tx.alloc_nodes(FULL.kind)?;
        tx.fill_nodes(table, &draft.words);
        Ok(table)
    }

    /// Makes the directory `depth` bits deep, with a first page once there is more than one table.
    pub(crate) fn deepen<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        depth: u32,
    ) -> Result<()> {
        let (head, words) = self.header(tx)?;
        let head = tx.decide(&head)?;
        if u64::from(depth) <= words[header::DEPTH as usize / 8] {
            return Ok(());
        }
        tx.write(&head, self.node + header::DEPTH, u64::from(depth));
        if words[header::PAGE as usize / 8] & OFFSET_MASK == 0 {
            let page = self.make_page(tx)?;
            tx.write(&head, self.node + header::PAGE, page);
            tx.write(&head, self.node + header::ONLY, 0);
        }
        Ok(())
    }

    fn make_page<M: Memory, H: Host>(&self, tx: &mut Transaction<'_, M, H>) -> Result<Offset> {
        let page = tx.alloc_nodes(Kind::HASH_DIRECTORY)?;
        tx.fill_nodes(page, &vec![0; (GRANULE / 8) as usize]);
        Ok(page)
    }

    pub(crate) fn set_entry<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        index: u64,
        entry: Entry,
    ) -> Result<()> {
        let number = index / PER_PAGE;
        if number >= PAGES_MAX {
            return Err(too_deep());
        }
        let head = self.header(tx)?;
        let (leads, mut page) = self.page(tx, &head, number)?;
        if page == 0 {
            page = self.make_page(tx)?;
            let leads = tx.decide(&leads)?;
            tx.write(&leads, root_slot(self.node, number).1, page);
        }
        let (line, slot) = entry_slot(page, index);
        let view = tx.navigate(Some(&leads), line, Kind::HASH_DIRECTORY)?;
        tx.write(&view, slot, entry.0);
        Ok(())
    }
}

/// The directory is at its limit.
pub(crate) fn too_deep() -> Error {
    let max_bytes = PAGES_MAX * PER_PAGE;
    Error::TooLarge { what: "a hash map's directory", bytes: max_bytes + 1, max_bytes }
}

const _: () = assert!(FULL.lines * LINE == GRANULE);
