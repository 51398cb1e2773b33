//! Many keys at once: what their lookups touch is asked for ahead, so that the waits for memory
//! overlap.

use super::HashMap;
use super::layout::{HEAD_BYTES, Hash, Slot};
use super::lookup::{Found, Table};
use std::ops::Range;
use vasmem_engine::layout::LINE;
use vasmem_engine::{Access, Glance, Glimpse, Host, Memory};

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
        let mut tables = [None; GROUP];
        for (place, &hash) in tables.iter_mut().zip(hashes) {
            if let Ok(table) = self.table(glance, hash.index()) {
                let line = table.entry.shape().home(hash);
                glance.prefetch(table.entry.table() + line * LINE);
                glance.prefetch(table.entry.table() + (line + 1) * LINE);
                *place = Some((table, line));
            }
        }
        let mut group = [None; GROUP];
        for ((place, &hash), foreseen) in tables.iter().zip(hashes).zip(&mut group) {
            if let Some((table, line)) = place {
                *foreseen = self
                    .foresee_in(glance, table, *line, hash)
                    .or_else(|| self.foresee_in(glance, table, line + 1, hash));
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
    ) -> Option<Foreseen> {
        let bucket = self.pass_bucket(glance, table, line).ok()?;
        let (slot_at, slot) = bucket.slot_of(hash)?;
        glance.prefetch(slot.record());
        glance.prefetch(slot.record() + LINE);
        Some(Foreseen { view: bucket.view, slot_at, slot })
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
        let same = &record[HEAD_BYTES as usize..key_end] == key;
        let found = same && glance.check(&view).is_ok();
        found.then_some(Found { view, slot_at, slot, head })
    }

    /// The value of `key`, if it is where it was foreseen: a range of `record`. Otherwise nothing is
    /// known, and [`HashMap::get_hashed`] tells.
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
