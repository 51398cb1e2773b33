//! Many keys at once: what their lookups touch is asked for ahead, so that the waits for memory
//! overlap.

use super::HashMap;
use super::layout::{Hash, Slot};
use super::lookup::{Found, Table};
use crate::record::{HEAD_BYTES, VALUE_BYTES_MAX, check_length, is_same};
use std::ops::Range;
use vasmem_engine::layout::LINE;
use vasmem_engine::{Access, Glance, Glimpse, Host, Memory, Result, Touched, Transaction};

/// Keys whose memory is asked for at a time: more than the ten or so misses that a core has under
/// way at once, so that their order does not matter.
pub const GROUP: usize = 16;

/// A slot that probably leads to the key that was looked for: the first one with its tag.
#[derive(Clone, Copy, Debug)]
pub struct Foreseen {
    view: Glimpse,
    slot_at: u64,
    slot: Slot,
}

/// What was foreseen for a group of keys; nothing for those that are probably not there.
pub type Group = [Option<Foreseen>; GROUP];

impl HashMap {
    /// Asks for the buckets of at most [`GROUP`] keys, then for their records.
    #[inline(always)]
    pub fn foresee<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        hashes: &[Hash],
    ) -> Group {
        let mut group = [None; GROUP];
        let Ok(head) = self.header(glance) else { return group };
        let mut tables = [None; GROUP];
        for (place, &hash) in tables.iter_mut().zip(hashes) {
            if let Ok(table) = self.table_under(glance, &head, hash.index()) {
                let line = table.entry.shape().home(hash);
                glance.prefetch(table.entry.table() + line * LINE);
                glance.prefetch(table.entry.table() + (line + 1) * LINE);
                *place = Some((table, line));
            }
        }
        for ((place, &hash), foreseen) in tables.iter().zip(hashes).zip(&mut group) {
            let Some((table, home)) = place else { continue };
            for line in [*home, home + 1] {
                if self.foresee_in(glance, table, line, hash, foreseen) {
                    break;
                }
            }
        }
        group
    }

    #[inline(always)]
    fn foresee_in<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        table: &Table<Glimpse>,
        line: u64,
        hash: Hash,
        foreseen: &mut Option<Foreseen>,
    ) -> bool {
        let Ok(bucket) = self.pass_bucket(glance, table, line) else { return false };
        let Some((slot_at, slot)) = bucket.slot_of(hash) else { return false };
        glance.prefetch(slot.record());
        glance.prefetch(slot.record() + LINE);
        *foreseen = Some(Foreseen { view: bucket.view, slot_at, slot });
        true
    }

    /// The foreseen record in `record`, if it is that of `key` and still there.
    #[inline(always)]
    fn foreseen<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        foreseen: &Foreseen,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Option<Found<Glimpse>> {
        let Foreseen { view, slot_at, slot } = *foreseen;
        let head = self.read_record(glance, &view, slot.record(), record).ok()?;
        let key_end = (HEAD_BYTES + head.key_bytes()) as usize;
        let same = is_same(&record[HEAD_BYTES as usize..key_end], key);
        let found = same && glance.check(&view).is_ok();
        found.then_some(Found { view, slot_at, slot, head })
    }

    /// As [`HashMap::put`], of a key that was foreseen.
    ///
    /// # Errors
    /// As `put`.
    pub fn put_foreseen<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        hash: Hash,
        foreseen: Option<&Foreseen>,
        (key, bytes): (&[u8], &[u8]),
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        match self.found_to_change(tx, foreseen, key, record)? {
            Some(found) => {
                check_length("a value", bytes.len(), VALUE_BYTES_MAX)?;
                self.replace(tx, &found, key, bytes, record).map(|()| false)
            }
            None => self.put_hashed(tx, hash, key, bytes, record),
        }
    }

    /// As [`HashMap::delete`], of a key that was foreseen; whether it was there.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete_foreseen<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        hash: Hash,
        foreseen: Option<&Foreseen>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        let found = match self.found_to_change(tx, foreseen, key, record)? {
            None => self.search_to_change(tx, hash, key, record, &mut None)?,
            found => found,
        };
        match found {
            Some(found) => self.delete_found(tx, &found, record).map(|_| true),
            None => Ok(false),
        }
    }

    #[inline(always)]
    fn found_to_change<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        foreseen: Option<&Foreseen>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Found<Touched>>> {
        let (Some(foreseen), Some(mut glance)) = (foreseen, tx.glance()) else { return Ok(None) };
        let Some(found) = self.foreseen(&mut glance, foreseen, key, record) else {
            return Ok(None);
        };
        let Found { view, slot_at, slot, head } = found;
        let view = tx.decide(&view.into())?;
        Ok(Some(Found { view, slot_at, slot, head }))
    }

    /// The value of `key`, if it is where it was foreseen: a range of `record`. Otherwise nothing
    /// is known, and [`HashMap::get_hashed`] tells.
    #[inline(always)]
    pub fn get_foreseen<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        foreseen: &Foreseen,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        let found = self.foreseen(glance, foreseen, key, record)?;
        self.value(glance, &found, record).ok()
    }
}
