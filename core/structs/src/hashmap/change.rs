//! Changing: put, delete.

use super::HashMap;
use super::layout::{Hash, KEY_BYTES_MAX, OVERFLOWED, Slot, WINDOW};
use super::lookup::{Bucket, Found, Missed};
use crate::record::{self, VALUE_BYTES_MAX, check_length};
use std::ops::Range;
use vasmem_engine::{Access, Error, Host, Memory, Offset, Result, Touched, Transaction};

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
        let node = record::large_node(record, found.head);
        let range = self.value(tx, found, record)?;
        tx.write(&found.view, found.slot_at, found.slot.0 & OVERFLOWED);
        record::free(tx, &found.view, found.slot.record(), node)?;
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
        let old = (found.slot.record(), found.head);
        if let Some(fresh) = record::replace(tx, &found.view, old, (key, bytes), record)? {
            tx.write(&found.view, found.slot_at, found.slot.leading_to(fresh).0);
        }
        Ok(())
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
        let record = record::make(tx, key, bytes)?;
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
