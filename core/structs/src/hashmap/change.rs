//! Changing: put, delete.

use super::HashMap;
use super::layout::{
    HEAD_BYTES, Hash, Head, KEY_BYTES_MAX, OFFSET_MASK, OVERFLOWED, Slot, VALUE_BYTES_MAX, WINDOW,
    value,
};
use super::lookup::{Bucket, Found, Missed, large_node};
use std::ops::Range;
use vasmem_engine::layout::Kind;
use vasmem_engine::{Access, Error, Host, Memory, Offset, Result, Touched, Transaction};

/// A value up to this many bytes is overwritten in place if it fits the old record's block.
const IN_PLACE_BYTES_MAX: u64 = 512;

/// What became of a value that was to be put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Inserted,
    Replaced,
    Refused,
}

impl HashMap {
    /// Gives `key` the value `bytes`; returns whether the key is new.
    ///
    /// # Errors
    /// `TooLarge`, `Full`, `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn put<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        bytes: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        self.put_hashed(tx, Hash::of(key, tx.seed()), key, bytes, record)
    }

    /// As `put`, of a key whose hash is known.
    ///
    /// # Errors
    /// As `put`.
    pub fn put_hashed<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        hash: Hash,
        key: &[u8],
        bytes: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        let put = self.put_under(tx, hash, (key, bytes), record, |_, _, _| Ok(true), true)?;
        Ok(put == Put::Inserted)
    }

    /// Gives a key its value: a present one if `replaces` says so of what was found, which `record`
    /// holds and goes on to hold, a missing one if `inserts`.
    #[inline(always)]
    pub(super) fn put_under<M: Memory, H: Host, F>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        hash: Hash,
        (key, bytes): (&[u8], &[u8]),
        record: &mut Vec<u8>,
        replaces: F,
        inserts: bool,
    ) -> Result<Put>
    where
        F: Fn(&mut Transaction<'_, M, H>, &Found<Touched>, &mut Vec<u8>) -> Result<bool>,
    {
        check_length("a key", key.len(), KEY_BYTES_MAX)?;
        check_length("a value", bytes.len(), VALUE_BYTES_MAX)?;
        loop {
            let mut missed = None;
            if let Some(found) = self.search_to_change(tx, hash, key, record, &mut missed)? {
                if !replaces(tx, &found, record)? {
                    return Ok(Put::Refused);
                }
                self.replace(tx, &found, key, bytes, record)?;
                return Ok(Put::Replaced);
            }
            if !inserts {
                return Ok(Put::Refused);
            }
            let Some(missed) = missed else { return Err(Error::Conflict) };
            if self.insert(tx, &missed, hash, key, bytes)? {
                self.count(tx, 1)?;
                return Ok(Put::Inserted);
            }
            self.split(tx, &missed.table)?;
        }
    }

    /// Removes a key; the value that it had is the returned range of `record`.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>> {
        let hash = Hash::of(key, tx.seed());
        match self.search_to_change(tx, hash, key, record, &mut None)? {
            Some(found) => self.delete_found(tx, &found, record).map(Some),
            None => Ok(None),
        }
    }

    /// Removes what was found; its value is the returned range of `record`, which holds the record.
    pub(super) fn delete_found<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        found: &Found<Touched>,
        record: &mut Vec<u8>,
    ) -> Result<Range<usize>> {
        let node = found.head.is_large().then(|| large_node(record, found.head));
        let range = self.value(tx, found, record)?;
        if let Some(node) = node {
            self.free_large(tx, found, node)?;
        }
        tx.write(&found.view, found.slot_at, found.slot.0 & OVERFLOWED);
        tx.free(found.slot.record())?;
        self.count(tx, -1)?;
        Ok(range)
    }

    pub(super) fn replace<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        found: &Found<Touched>,
        key: &[u8],
        bytes: &[u8],
        record: &[u8],
    ) -> Result<()> {
        let head = Head::new(key.len() as u64, bytes.len() as u64);
        let (old, new) = (found.head.record_bytes(), head.record_bytes());
        let at = found.slot.record();
        match (found.head.is_large(), head.is_large()) {
            (false, false)
                if bytes.len() as u64 <= IN_PLACE_BYTES_MAX
                    && Kind::for_bytes(old) == Kind::for_bytes(new)
                    && !tx.is_fresh(at)
                    && !tx.is_fresh(found.view.node)
                    && !tx.respects_pins()? =>
            {
                // Not below a bucket of this transaction: readers still come by the old one, over
                // which these words would not be laid.
                // Words of the block behind the record belong to nobody.
                let (_, lead) = key.as_chunks::<8>();
                let from = at + HEAD_BYTES + (key.len() - lead.len()) as u64;
                tx.overwrite(&found.view, from, lead, bytes);
                if head != found.head {
                    tx.write(&found.view, at, head.0);
                }
                Ok(())
            }
            (true, true) => self.replace_large(tx, found, large_node(record, found.head), bytes),
            (was_large, _) => {
                if was_large {
                    self.free_large(tx, found, large_node(record, found.head))?;
                }
                let fresh = self.make_record(tx, head, key, bytes)?;
                let flag = found.slot.0 & OVERFLOWED;
                let tag = found.slot.0 & !OFFSET_MASK;
                tx.write(&found.view, found.slot_at, tag | fresh | flag);
                tx.free(at)
            }
        }
    }

    /// Writes a fresh record; a large value goes into a block of its own behind a value node.
    fn make_record<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        head: Head,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<Offset> {
        let at = tx.alloc(head.record_bytes())?;
        if !head.is_large() {
            tx.fill(at, &[&head.0.to_le_bytes(), key, bytes]);
            return Ok(at);
        }
        let data = tx.alloc(bytes.len() as u64)?;
        tx.fill(data, &[bytes]);
        let node = tx.alloc_nodes(Kind::VALUE)?;
        tx.fill_nodes(node, &[0, bytes.len() as u64, data, 0, 0, 0, 0, 0]);
        tx.fill(at, &[&head.0.to_le_bytes(), key, &node.to_le_bytes()]);
        Ok(at)
    }

    /// The bucket stays as it is: only the value's own node changes.
    fn replace_large<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        found: &Found<Touched>,
        node: Offset,
        bytes: &[u8],
    ) -> Result<()> {
        let (view, old, _) = self.large(tx, &found.view, node)?;
        let data = tx.alloc(bytes.len() as u64)?;
        tx.fill(data, &[bytes]);
        tx.write(&view, node + value::BYTES, bytes.len() as u64);
        tx.write(&view, node + value::DATA, data);
        tx.free(old)
    }

    fn free_large<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        found: &Found<Touched>,
        node: Offset,
    ) -> Result<()> {
        let (view, data, _) = self.large(tx, &found.view, node)?;
        tx.free(data)?;
        tx.free_node(&view);
        tx.free(node)
    }

    /// Puts a new record into the emptier of both buckets, else into the stash; `false` if the
    /// table must be split first.
    fn insert<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        missed: &Missed<Touched>,
        hash: Hash,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<bool> {
        let (home, next) = (free_slots(&missed.home), free_slots(&missed.next));
        let place = if home.0 == 0 && next.0 == 0 {
            match self.stash_slot(tx, missed, hash)? {
                Some(place) => place,
                None => return Ok(false),
            }
        } else if home.0 >= next.0 {
            (missed.home, home.1)
        } else {
            (missed.next, next.1)
        };
        let head = Head::new(key.len() as u64, bytes.len() as u64);
        let record = self.make_record(tx, head, key, bytes)?;
        let flag = tx.word(&place.0.view, place.1) & OVERFLOWED;
        tx.write(&place.0.view, place.1, Slot::new(hash, record).0 | flag);
        Ok(true)
    }

    /// A free slot of the stash window; flags the home bucket.
    fn stash_slot<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        missed: &Missed<Touched>,
        hash: Hash,
    ) -> Result<Option<(Bucket<Touched>, Offset)>> {
        let shape = missed.table.entry.shape();
        for step in 0..WINDOW {
            let bucket = self.bucket(tx, &missed.table, shape.stash(hash, step))?;
            let (free, slot_at) = free_slots(&bucket);
            if free == 0 {
                continue;
            }
            let home = &missed.home;
            if let Some((first, slot)) = home.slots().next().filter(|_| !home.is_overflowed()) {
                tx.write(&home.view, first, slot.0 | OVERFLOWED);
            }
            return Ok(Some((bucket, slot_at)));
        }
        Ok(None)
    }
}

/// Number of free slots, and the first of them.
fn free_slots(bucket: &Bucket<Touched>) -> (u32, Offset) {
    bucket.slots().rev().fold((0, 0), |(free, first), (at, slot)| match slot.record() {
        0 => (free + 1, at),
        _ => (free, first),
    })
}

pub(super) fn check_length(what: &'static str, len: usize, max_bytes: u64) -> Result<()> {
    if len as u64 > max_bytes {
        return Err(Error::TooLarge { what, bytes: len as u64, max_bytes });
    }
    Ok(())
}
