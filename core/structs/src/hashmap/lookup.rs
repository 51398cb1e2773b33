//! Finding: directory, table, bucket, record.

use super::HashMap;
use super::layout::{
    DEPTH_MAX, Entry, Hash, OVERFLOWED, PER_PAGE, Slot, WINDOW, entry_slot, header, root_slot,
};
use crate::record::{self, HEAD_BYTES, Head, Located, OFFSET_MASK, RECORD_BYTES_MAX, is_same};
use std::ops::Range;
use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{
    Access, Error, Glimpse, Host, Invariant, Memory, Offset, Result, Seen, Touched, Transaction,
};

/// A table, and how it was found.
#[derive(Clone, Copy)]
pub struct Table<V> {
    /// View of the node that has its entry.
    pub(crate) parent: V,
    /// Place of the entry.
    pub(crate) entry_at: Offset,
    /// The entry.
    pub(crate) entry: Entry,
    /// Index of the entry.
    pub(crate) index: u64,
    /// Bits of the directory index in use.
    pub(crate) depth: u32,
}

/// A bucket as it was seen: slot `i` is word `i` of its line, from 1.
#[derive(Clone, Copy)]
pub(super) struct Bucket<V> {
    pub view: V,
    pub(super) words: [u64; 8],
}

impl<V: Seen> Bucket<V> {
    /// Its slots.
    pub fn slots(&self) -> impl DoubleEndedIterator<Item = (Offset, Slot)> {
        (1..8).map(|i| (self.view.node() + i as u64 * 8, Slot(self.words[i])))
    }

    /// Whether keys of this home stand in the stash.
    #[inline]
    pub fn is_overflowed(&self) -> bool {
        self.words[1] & OVERFLOWED != 0
    }

    /// The first slot that has the tag of `hash`, and its place.
    #[inline(always)]
    pub fn slot_of(&self, hash: Hash) -> Option<(Offset, Slot)> {
        let tagged = self.tagged(hash);
        let number = (tagged.trailing_zeros() as usize + 1) & 7;
        let slot = Slot(self.words[number]);
        let there = tagged != 0 && slot.record() != 0;
        there.then_some((self.view.node() + number as u64 * 8, slot))
    }

    /// Slots, as bits from 0, that have the tag of `hash`. Empty ones may be among them.
    #[inline(always)]
    fn tagged(&self, hash: Hash) -> u32 {
        let tag = hash.tag() << 48;
        // Equal high bits leave less than 2^48. Doubling needs fewer instructions than shifts.
        self.words[1..]
            .iter()
            .rev()
            .fold(0, |found, word| found + found + u32::from((word ^ tag) < 1 << 48))
    }
}

/// A record in its slot.
#[derive(Clone, Copy)]
pub(super) struct Found<V> {
    pub view: V,
    pub slot_at: Offset,
    pub slot: Slot,
    pub head: Head,
}

impl<V: Seen> Found<V> {
    /// A hit is true if its bucket was so at one time, and decided by this bucket alone (M3).
    #[inline(always)]
    fn decided<A: Access<View = V>>(mut self, access: &mut A) -> Result<Option<Found<V>>> {
        access.check(&self.view)?;
        self.view = access.decide(&self.view)?;
        Ok(Some(self))
    }
}

/// Where a search looked for a key that is not there.
pub(super) struct Missed<V> {
    pub table: Table<V>,
    pub home: Bucket<V>,
    pub next: Bucket<V>,
}

impl Missed<Glimpse> {
    /// As a transaction keeps it: both buckets decide.
    fn noted<M: Memory, H: Host>(self, tx: &mut Transaction<'_, M, H>) -> Result<Missed<Touched>> {
        let Missed { table, home, next } = self;
        let Table { parent, entry_at, entry, index, depth } = table;
        let mut noted = |Bucket { view, words }: Bucket<Glimpse>| {
            tx.decide(&view.into()).map(|view| Bucket { view, words })
        };
        let table = Table { parent: parent.into(), entry_at, entry, index, depth };
        Ok(Missed { table, home: noted(home)?, next: noted(next)? })
    }
}

impl HashMap {
    // Header and directory are passed, not noted: a table's buckets are freed by whoever takes its
    // entry away (M4), so the buckets alone decide.

    /// The header's first line, if it is still this map's.
    #[inline(always)]
    pub(crate) fn header<A: Access>(&self, access: &mut A) -> Result<(A::View, [u64; 8])> {
        let view = access.pass(None, self.node, Kind::HASH_HEADER)?;
        let words = access.line_words(&view);
        if words[header::ID as usize / 8] != self.id {
            access.check(&view)?;
            return Err(Error::Removed);
        }
        Ok((view, words))
    }

    /// Directory page number `page`, 0 if there is none, and the view that leads to it.
    #[inline(always)]
    pub(super) fn page<A: Access>(
        &self,
        access: &mut A,
        (header, words): &(A::View, [u64; 8]),
        page: u64,
    ) -> Result<(A::View, Offset)> {
        if page == 0 {
            return Ok((*header, words[header::PAGE as usize / 8] & OFFSET_MASK));
        }
        let (line, slot) = root_slot(self.node, page);
        let view = access.pass(Some(header), line, Kind::HASH_HEADER)?;
        Ok((view, access.word(&view, slot) & OFFSET_MASK))
    }

    /// The table that covers directory index `index` (of full depth).
    #[inline(always)]
    pub(crate) fn table<A: Access>(&self, access: &mut A, index: u64) -> Result<Table<A::View>> {
        let head = self.header(access)?;
        self.table_under(access, &head, index)
    }

    /// As `table`, under a header that was just read.
    #[inline(always)]
    pub(crate) fn table_under<A: Access>(
        &self,
        access: &mut A,
        head: &(A::View, [u64; 8]),
        index: u64,
    ) -> Result<Table<A::View>> {
        let depth = head.1[header::DEPTH as usize / 8] as u32;
        if depth > DEPTH_MAX {
            return Err(access.broken(&head.0, Invariant::HashDirectory, self.node));
        }
        let wanted = index & ((1 << depth) - 1);
        if head.1[header::PAGE as usize / 8] & OFFSET_MASK == 0 {
            let entry_at = self.node + header::ONLY;
            let entry = Entry(head.1[header::ONLY as usize / 8]);
            if entry.depth() != 0 {
                return Err(access.broken(&head.0, Invariant::HashDirectory, entry_at));
            }
            return Ok(Table { parent: head.0, entry_at, entry, index: 0, depth });
        }
        let mut at = wanted;
        loop {
            let (leads, page) = self.page(access, head, at / PER_PAGE)?;
            if page != 0 {
                let (line, slot) = entry_slot(page, at);
                let parent = access.pass(Some(&leads), line, Kind::HASH_DIRECTORY)?;
                let entry = Entry(access.word(&parent, slot));
                if entry.0 != 0 {
                    let covered =
                        entry.depth() <= depth && wanted & ((1 << entry.depth()) - 1) == at;
                    if !covered {
                        return Err(access.broken(&parent, Invariant::HashDirectory, slot));
                    }
                    return Ok(Table { parent, entry_at: slot, entry, index: at, depth });
                }
            }
            if at == 0 {
                return Err(access.broken(&leads, Invariant::HashDirectory, self.node));
            }
            at &= !(1 << at.ilog2());
        }
    }

    /// A bucket that decides.
    pub(super) fn bucket<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        line: u64,
    ) -> Result<Bucket<A::View>> {
        let mut bucket = self.pass_bucket(access, table, line)?;
        bucket.view = access.decide(&bucket.view)?;
        Ok(bucket)
    }

    /// A bucket that may turn out to decide.
    #[inline(always)]
    pub(super) fn pass_bucket<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        line: u64,
    ) -> Result<Bucket<A::View>> {
        let node = table.entry.table() + line * LINE;
        let view = access.pass(Some(&table.parent), node, table.entry.shape().kind)?;
        Ok(Bucket { view, words: access.line_words(&view) })
    }

    /// Looks for the key in one bucket. A hit has its whole record in `record`.
    #[inline(always)]
    fn search_bucket<A: Access>(
        &self,
        access: &mut A,
        bucket: &Bucket<A::View>,
        hash: Hash,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Found<A::View>>> {
        let mut tagged = bucket.tagged(hash);
        while tagged != 0 {
            let number = tagged.trailing_zeros() as usize + 1;
            tagged &= tagged - 1;
            let slot = Slot(bucket.words[number & 7]);
            if slot.record() == 0 {
                continue;
            }
            // The length is known only when the head is there: the next line need not wait for it.
            access.prefetch(slot.record() + LINE);
            let head = self.read_record(access, &bucket.view, slot.record(), record)?;
            let key_end = (HEAD_BYTES + head.key_bytes()) as usize;
            if is_same(&record[HEAD_BYTES as usize..key_end], key) {
                let slot_at = bucket.view.node() + number as u64 * 8;
                return Ok(Some(Found { view: bucket.view, slot_at, slot, head }));
            }
            access.check(&bucket.view)?;
        }
        Ok(None)
    }

    /// Copies a record out; not yet checked against the bucket's version.
    #[inline(always)]
    pub(super) fn read_record<A: Access>(
        &self,
        access: &mut A,
        view: &A::View,
        at: Offset,
        record: &mut Vec<u8>,
    ) -> Result<Head> {
        record::read(access, view, at, RECORD_BYTES_MAX, record)
    }

    /// Looks for a key everywhere it may stand. `record` holds the record of a hit. All that
    /// decided was consistent. Tells where it looked if that is wanted and the key is not there.
    #[inline(always)]
    pub(super) fn search<A: Access>(
        &self,
        access: &mut A,
        hash: Hash,
        key: &[u8],
        record: &mut Vec<u8>,
        missed: Option<&mut Option<Missed<A::View>>>,
    ) -> Result<Option<Found<A::View>>> {
        let table = self.table(access, hash.index())?;
        let line = table.entry.shape().home(hash);
        // Half of the keys stand behind their home: both lines come at once.
        access.prefetch(table.entry.table() + (line + 1) * LINE);
        let mut home = self.pass_bucket(access, &table, line)?;
        if let Some(found) = self.search_bucket(access, &home, hash, key, record)? {
            return found.decided(access);
        }
        let mut next = self.pass_bucket(access, &table, line + 1)?;
        if let Some(found) = self.search_bucket(access, &next, hash, key, record)? {
            return found.decided(access);
        }
        // A miss is decided by all buckets where the key may stand.
        home.view = access.decide(&home.view)?;
        next.view = access.decide(&next.view)?;
        if home.is_overflowed()
            && let Some(found) = self.search_stash(access, &table, hash, key, record)?
        {
            return found.decided(access);
        }
        // It is true only if all of them were so at one time; a key may move between them.
        access.check(&next.view)?;
        access.check(&home.view)?;
        if let Some(missed) = missed {
            *missed = Some(Missed { table, home, next });
        }
        Ok(None)
    }

    /// As `search`, in a transaction: at a glance, as long as nothing was written in it.
    #[inline(always)]
    pub(super) fn search_to_change<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        hash: Hash,
        key: &[u8],
        record: &mut Vec<u8>,
        missed: &mut Option<Missed<Touched>>,
    ) -> Result<Option<Found<Touched>>> {
        let Some(mut glance) = tx.glance() else {
            return self.search(tx, hash, key, record, Some(missed));
        };
        let mut glimpsed = None;
        match self.search(&mut glance, hash, key, record, Some(&mut glimpsed)) {
            Ok(Some(Found { view, slot_at, slot, head })) => {
                let view = tx.decide(&view.into())?;
                return Ok(Some(Found { view, slot_at, slot, head }));
            }
            Ok(None) => {
                // The buckets of the stash decide, too, and are not told.
                if let Some(seen) = glimpsed.filter(|seen| !seen.home.is_overflowed()) {
                    *missed = Some(seen.noted(tx)?);
                    return Ok(None);
                }
            }
            Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
        self.search(tx, hash, key, record, Some(missed))
    }

    #[cold]
    fn search_stash<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        hash: Hash,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Found<A::View>>> {
        let shape = table.entry.shape();
        let mut views = [None; WINDOW as usize];
        for step in 0..WINDOW {
            let bucket = self.bucket(access, table, shape.stash(hash, step))?;
            let found = self.search_bucket(access, &bucket, hash, key, record)?;
            if found.is_some() {
                return Ok(found);
            }
            views[step as usize] = Some(bucket.view);
        }
        for view in views.iter().flatten() {
            access.check(view)?;
        }
        Ok(None)
    }

    /// The value of a found record: a range of `record`, which holds the record.
    #[inline]
    pub(super) fn value<A: Access>(
        &self,
        access: &mut A,
        found: &Found<A::View>,
        record: &mut Vec<u8>,
    ) -> Result<Range<usize>> {
        record::value(access, &found.view, found.head, record)
    }

    /// Where the value of a key stands.
    ///
    /// # Errors
    /// As [`HashMap::get`].
    pub fn locate<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Located>> {
        let hash = Hash::of(key, access.seed());
        let Some(found) = self.search(access, hash, key, record, None)? else { return Ok(None) };
        let at = found.slot.record();
        record::locate(access, &found.view, at, found.head, record).map(Some)
    }
}
