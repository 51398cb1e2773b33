//! Blocks and data extents.
//!
//! A granule of block class `k` is a *run*: its descriptor has a bit a block. Bits change in the
//! same record as the word that publishes the block (**H1**), so there is neither leak nor
//! dangling block at any kill point. A run has an owner that prefers it, which spares contention
//! and decides nothing: whoever commits holds the descriptor's lock (**H2**). An empty run of data
//! may become another kind, or be given back for a data extent; so a bit changes only while the run
//! is still of the kind for which the block was chosen (**H3**).

use crate::access::{Peek, TRIES};
use crate::buffers::{Buffers, Commute, mode};
use crate::error::{Error, Invariant, Result};
use crate::host::Host;
use crate::lab::{Mutation, mutated};
use crate::layout::{BITMAP_WORDS, GRANULE, Kind, LINE, Meta, Place, descriptor, lane};
use crate::segment::Segment;
use crate::transaction::Transaction;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use vasmem_memory::{Memory, Offset};

/// Runs that are looked at for a free block before a fresh granule is taken.
const LOOK_MAX: u64 = 64;

/// What a descriptor says, read consistently.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Kind, owner, length.
    pub meta: Meta,
    /// One bit a block: in use.
    pub used: [u64; BITMAP_WORDS],
}

impl Described {
    /// Blocks in use.
    pub fn blocks_used(&self) -> u64 {
        self.used.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// Reads a descriptor; `None` while somebody is faster again and again, or if it is locked by
    /// nobody for good.
    pub fn described(&self, place: Place) -> Option<Described> {
        let mut peek = Peek::new(self);
        for _ in 0..TRIES {
            let view = peek.line(place.descriptor).ok()?;
            let meta = Meta(peek.view_word(&view, place.descriptor + descriptor::META));
            let mut used = [0; BITMAP_WORDS];
            for (i, word) in used.iter_mut().enumerate() {
                *word = peek.view_word(&view, place.descriptor + descriptor::BITMAP + i as u64 * 8);
            }
            if peek.recheck(&view) {
                return Some(Described { meta, used });
            }
        }
        None
    }

    /// Descriptor's word, place and number of the block that starts at `at`.
    ///
    /// An extent is committed together with the pointer to it, which may be read through the record
    /// before either is applied: so the descriptor is read through it, too.
    ///
    /// # Errors
    /// `Corrupted` if no block starts there, `Conflict` to run again.
    pub fn block(&self, at: Offset) -> Result<(Meta, Place, u64)> {
        self.data(at, 8)?;
        let place = self.geometry.place(at);
        let meta = self.meta(place).ok_or(Error::Conflict)?;
        let number = block_number(meta.kind(), at - place.granule);
        let number = number.ok_or_else(|| Error::corrupted(Invariant::Descriptor, at))?;
        Ok((meta, place, number))
    }

    /// First word of a descriptor, read consistently; `None` while somebody is faster.
    fn meta(&self, place: Place) -> Option<Meta> {
        let mut peek = Peek::new(self);
        for _ in 0..TRIES {
            let view = peek.line(place.descriptor).ok()?;
            let meta = Meta(peek.view_word(&view, place.descriptor + descriptor::META));
            if peek.recheck(&view) {
                return Some(meta);
            }
        }
        None
    }

    /// Bytes that may be used at the block that starts at `at`.
    ///
    /// # Errors
    /// As `block`.
    pub fn block_bytes(&self, at: Offset) -> Result<u64> {
        let (meta, ..) = self.block(at)?;
        if meta.kind() != Kind::SPAN {
            return Ok(meta.kind().block_bytes());
        }
        let bytes = meta.granules().saturating_mul(GRANULE);
        self.data(at, bytes)?;
        Ok(bytes)
    }
}

/// Number of the block that starts `within` bytes into a granule of this kind.
pub(crate) fn block_number(kind: Kind, within: u64) -> Option<u64> {
    match kind.block_bytes() {
        0 => (kind == Kind::SPAN && within == 0).then_some(0),
        bytes => {
            (within.is_multiple_of(bytes) && within / bytes < kind.blocks()).then(|| within / bytes)
        }
    }
}

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// A fresh block for `bytes` of data.
    ///
    /// # Errors
    /// `Full`; those of the system while growing.
    pub fn alloc(&mut self, bytes: u64) -> Result<Offset> {
        match Kind::for_bytes(bytes) {
            Some(kind) => self.alloc_block(kind),
            None => self.alloc_span(bytes.div_ceil(GRANULE), 0),
        }
    }

    /// A fresh block of nodes; it is filled by [`Transaction::fill_nodes`].
    ///
    /// # Errors
    /// As `alloc`.
    pub fn alloc_nodes(&mut self, kind: Kind) -> Result<Offset> {
        self.alloc_block(kind)
    }

    fn alloc_block(&mut self, kind: Kind) -> Result<Offset> {
        loop {
            let run = self.lane.runs[usize::from(kind.0)];
            if run != 0
                && let Some(at) = self.take_from(run, kind)?
            {
                return Ok(at);
            }
            let run = self.find_run(kind)?;
            self.lane.runs[usize::from(kind.0)] = run;
        }
    }

    /// Takes a free block of the run whose descriptor stands at `run`.
    fn take_from(&mut self, run: Offset, kind: Kind) -> Result<Option<Offset>> {
        let memory = &self.segment.memory;
        // A hint only: the commit sets the bit under the lock, if it is clear then.
        if Meta(memory.load(run + descriptor::META, Relaxed)).kind() != kind {
            return Ok(None);
        }
        let blocks = kind.blocks();
        for word in 0..blocks.div_ceil(64) {
            let at = run + descriptor::BITMAP + word * 8;
            let valid = if blocks - word * 64 >= 64 { !0 } else { (1 << (blocks % 64)) - 1 };
            let mut used = memory.load(at, Relaxed) | !valid;
            if let Some(i) = self.lane.buffers.commutes.find(at) {
                let commute = self.lane.buffers.commutes[i];
                used |= commute.set;
                if mutated(Mutation::ReuseInTransaction) {
                    used &= !commute.clear;
                }
            }
            if used != !0 {
                let bit = used.trailing_ones();
                let buffers = &mut self.lane.buffers;
                let commute = buffers.commute(run, at, mode::COMMUTE | mode::LAST);
                (commute.set, commute.run) = (commute.set | 1 << bit, Some(kind));
                let number = word * 64 + u64::from(bit);
                return Ok(Some(self.granule_of(run)? + number * kind.block_bytes()));
            }
        }
        Ok(None)
    }

    fn granule_of(&self, run: Offset) -> Result<Offset> {
        let region = self.segment.geometry.region_of(run);
        let index = (run - region.at) / LINE - region.maps();
        if index >= region.granules() {
            return Err(Error::corrupted(Invariant::Descriptor, run));
        }
        Ok(region.place(index).granule)
    }

    /// Frees a block of data or of nodes, or a data extent. It is not used again before the commit,
    /// nor by this transaction (T2).
    ///
    /// # Errors
    /// `Corrupted` if no block starts there.
    pub fn free(&mut self, at: Offset) -> Result<()> {
        let (meta, place, number) = match self.fresh_span(at) {
            Some((meta, place)) => (meta, place, 0),
            None => self.segment.block(at).map_err(|error| self.unless_outdated(error))?,
        };
        if self.respects_pins()? && !self.is_fresh(at) {
            if self.segment.is_pinned(at) && !mutated(Mutation::PinnedFreed) {
                return self.defer(at);
            }
            self.lane.buffers.freed.push(at);
        }
        self.free_described(at, meta, place, number)
    }

    /// As `free`, of a block that nobody can pin.
    pub(crate) fn free_now(&mut self, at: Offset) -> Result<()> {
        let (meta, place, number) = self.segment.block(at)?;
        self.free_described(at, meta, place, number)
    }

    fn free_described(&mut self, at: Offset, meta: Meta, place: Place, number: u64) -> Result<()> {
        if meta.kind() == Kind::SPAN {
            self.lane.buffers.drop_fills(at, meta.granules().saturating_mul(GRANULE));
            return self.free_span(place, meta);
        }
        self.lane.buffers.drop_fills(at, meta.kind().block_bytes());
        let bit = 1 << (number % 64);
        let word = place.descriptor + descriptor::BITMAP + number / 64 * 8;
        if self.lane.buffers.cancel_set(word, bit) == 0 {
            return Ok(());
        }
        let buffers = &mut self.lane.buffers;
        let commute = buffers.commute(place.descriptor, word, mode::COMMUTE | mode::LAST);
        (commute.clear, commute.run) = (commute.clear | bit, Some(meta.kind()));
        Ok(())
    }

    /// What seems broken may only be gone: somebody else has freed it since it was read.
    #[cold]
    fn unless_outdated(&self, error: Error) -> Error {
        match self.validate() {
            Err(Error::Conflict) => Error::Conflict,
            _ => error,
        }
    }

    /// The extent that starts at `at`, if this transaction itself has made it.
    fn fresh_span(&self, at: Offset) -> Option<(Meta, Place)> {
        let place = self.segment.geometry.in_heap(at).then(|| self.segment.geometry.place(at))?;
        let write = self.lane.buffers.writes.find(place.descriptor + descriptor::META)?;
        let meta = Meta(self.lane.buffers.writes.value(write));
        (meta.kind() == Kind::SPAN && at == place.granule).then_some((meta, place))
    }

    fn free_span(&mut self, place: Place, meta: Meta) -> Result<()> {
        let at = place.descriptor + descriptor::META;
        self.segment.data(place.granule, meta.granules().saturating_mul(GRANULE))?;
        let entry = self.lane.buffers.entry(place.descriptor, mode::WRITE | mode::LAST);
        self.lane.buffers.writes.put(entry, at, 0);
        self.change_map(place.granule, meta.granules(), false)
    }

    /// Sets or clears the map bits of `granules` granules from `at`.
    fn change_map(&mut self, at: Offset, granules: u64, set: bool) -> Result<()> {
        let mut left = granules;
        let mut granule = at;
        while left > 0 {
            let place = self.segment.geometry.place(granule);
            let bits = (64 - u64::from(place.map_bit)).min(left);
            let mask = if bits == 64 { !0 } else { ((1 << bits) - 1) << place.map_bit };
            let buffers = &mut self.lane.buffers;
            let mask = if set { mask } else { buffers.cancel_set(place.map_word, mask) };
            if mask != 0 {
                let commute =
                    buffers.commute(place.map, place.map_word, mode::COMMUTE | mode::LAST);
                *(if set { &mut commute.set } else { &mut commute.clear }) |= mask;
            }
            granule += bits * GRANULE;
            left -= bits;
        }
        Ok(())
    }

    /// A data extent of `granules` granules in one piece.
    ///
    /// # Errors
    /// As `alloc`.
    pub(crate) fn alloc_span(&mut self, granules: u64, owner: u16) -> Result<Offset> {
        let mut reclaimed = false;
        let at = loop {
            if let Some(at) = self.segment.find_granules(granules, |place| self.is_taken(place)) {
                break at;
            }
            if !reclaimed {
                reclaimed = true;
                self.reclaim_runs()?;
                continue;
            }
            self.segment.grow(granules * GRANULE, self.patience)?;
        };
        self.change_map(at, granules, true)?;
        let place = self.segment.geometry.place(at);
        let entry = self.lane.buffers.entry(place.descriptor, mode::WRITE | mode::LAST);
        let meta = Meta::new(Kind::SPAN, owner, granules);
        let meta_at = place.descriptor + descriptor::META;
        self.lane.buffers.writes.put(entry, meta_at, meta.0);
        Ok(at)
    }

    /// Makes the data extent at `at` hold at least `bytes`, where it is, if the granules behind it
    /// are free; whether they were.
    ///
    /// # Errors
    /// `Corrupted` if none starts there; those of the system while growing, but not `Full`.
    pub fn extend_span(&mut self, at: Offset, bytes: u64) -> Result<bool> {
        let (meta, place) = match self.fresh_span(at) {
            Some(found) => found,
            None => {
                let (meta, place, _) =
                    self.segment.block(at).map_err(|error| self.unless_outdated(error))?;
                (meta, place)
            }
        };
        let granules = bytes.div_ceil(GRANULE);
        if meta.kind() != Kind::SPAN || granules <= meta.granules() {
            return Ok(meta.kind() == Kind::SPAN);
        }
        let end = at + granules * GRANULE;
        let known = at + meta.granules() * GRANULE;
        if end > self.segment.geometry.region_of(at).end() || !self.is_free(known, end) {
            return Ok(false);
        }
        let backed = self.segment.backed();
        if end > backed {
            match self.segment.grow(end - backed, self.patience) {
                Err(Error::Full { .. }) => return Ok(false),
                done => done?,
            }
            if end > self.segment.backed() {
                return Ok(false);
            }
        }
        self.see_line(place.descriptor, mode::READ | mode::LAST)?;
        let entry = self.lane.buffers.entry(place.descriptor, mode::WRITE | mode::LAST);
        let meta = Meta::new(Kind::SPAN, meta.owner(), granules);
        self.lane.buffers.writes.put(entry, place.descriptor + descriptor::META, meta.0);
        self.change_map(known, granules - (known - at) / GRANULE, true)?;
        Ok(true)
    }

    /// Whether nobody has taken any granule from `at` on, as far as the backed part reaches.
    fn is_free(&self, at: Offset, end: Offset) -> bool {
        let segment = self.segment;
        (at..end.min(segment.backed())).step_by(GRANULE as usize).all(|granule| {
            let place = segment.geometry.place(granule);
            segment.memory.load(place.map_word, Relaxed) >> place.map_bit & 1 == 0
                && !self.is_taken(place)
        })
    }

    /// Gives empty runs of data back to the extent map, so that extents can use their granules.
    fn reclaim_runs(&mut self) -> Result<()> {
        let (mut at, backed) = (self.segment.geometry.heap_at, self.segment.backed());
        while at < backed {
            let region = self.segment.geometry.region_of(at);
            let granules =
                (region.data_at().max(at)..region.end().min(backed)).step_by(GRANULE as usize);
            for granule in granules {
                let place = self.segment.geometry.place(granule);
                let meta =
                    Meta(self.segment.memory.load(place.descriptor + descriptor::META, Relaxed));
                let data = meta.kind() != Kind::FREE && meta.kind() < Kind::SPAN;
                if !data || self.touches(place) {
                    continue;
                }
                if self.segment.described(place).is_some_and(|found| found.blocks_used() == 0) {
                    match self.reclaim_run(place) {
                        Ok(()) | Err(Error::Conflict) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            at = region.end();
        }
        Ok(())
    }

    fn reclaim_run(&mut self, place: Place) -> Result<()> {
        self.apart(|tx| {
            let view = tx.see_line(place.descriptor, mode::READ | mode::LAST)?;
            let Some(found) = tx.segment.described(place) else { return Err(Error::Conflict) };
            let data = found.meta.kind() != Kind::FREE && found.meta.kind() < Kind::SPAN;
            if !data || found.blocks_used() != 0 {
                return Err(Error::Conflict);
            }
            tx.write(&view, place.descriptor + descriptor::META, 0);
            tx.change_map(place.granule, 1, false)
        })
    }

    /// Whether this transaction itself has taken or freed the granule (T2). One of an extent that
    /// it made and freed again stays taken: going back to a savepoint may make the extent again.
    fn is_taken(&self, place: Place) -> bool {
        self.touches(place)
            || self.gathered().any(|buffers| {
                buffers.commutes.find(place.map_word).is_some_and(|i| {
                    let Commute { set, clear, cancelled, .. } = buffers.commutes[i];
                    (set | clear | cancelled) & 1 << place.map_bit != 0
                })
            })
    }

    /// Whether this transaction itself is going to change the granule's descriptor.
    fn touches(&self, place: Place) -> bool {
        self.gathered().any(|buffers| buffers.entries.find(place.descriptor).is_some())
    }

    /// What this transaction has gathered, and those that wait for it on the same lane.
    fn gathered(&self) -> impl Iterator<Item = &Buffers> {
        self.lane.outer.iter().chain([&self.lane.buffers])
    }

    /// Descriptor of a run of `kind` with a free block: one nearby, or a fresh granule, or any run
    /// with space before the segment grows.
    fn find_run(&mut self, kind: Kind) -> Result<Offset> {
        if let Some(run) = self.look_for_run(kind, LOOK_MAX)? {
            return Ok(run);
        }
        loop {
            let segment = self.segment;
            if let Some(at) = segment.find_granules(1, |place| self.is_taken(place)) {
                match self.make_run(segment.geometry.place(at), kind, true) {
                    Err(Error::Conflict) => continue,
                    done => return done,
                }
            }
            if let Some(run) = self.look_for_run(kind, u64::MAX)? {
                return Ok(run);
            }
            segment.grow(GRANULE, self.patience)?;
        }
    }

    /// Looks at up to `count` granules, from where the last search ended, for a run of `kind` with
    /// free blocks that no other lane allocates from, or an empty run of data that may change
    /// class.
    fn look_for_run(&mut self, kind: Kind, count: u64) -> Result<Option<Offset>> {
        let segment = self.segment;
        let (from, backed) = (segment.geometry.heap_at, segment.backed());
        let total = (backed - from) / GRANULE;
        let thorough = count >= total;
        let mut at = self.lane.run_cursor;
        for _ in 0..count.min(total) {
            at += GRANULE;
            if at < from || at >= backed {
                at = from;
            }
            let region = segment.geometry.region_of(at);
            if at < region.data_at() {
                at = region.data_at();
                if at >= backed {
                    continue;
                }
            }
            let place = segment.geometry.place(at);
            let meta = Meta(segment.memory.load(place.descriptor + descriptor::META, Relaxed));
            let same = meta.kind() == kind;
            let data = !kind.is_node() && meta.kind() < Kind::SPAN && meta.kind() != Kind::FREE;
            if !same && !data || self.touches(place) {
                continue;
            }
            let Some(described) = segment.described(place) else {
                continue;
            };
            if self.is_anothers(described.meta.owner()) && !thorough {
                continue;
            }
            let used = described.blocks_used();
            let room = kind.blocks() - used.min(kind.blocks());
            let usable = same && room >= if thorough { 1 } else { kind.blocks().div_ceil(8) };
            if usable || !same && used == 0 {
                self.lane.run_cursor = at;
                match self.make_run(place, kind, false) {
                    Err(Error::Conflict) => continue,
                    done => return done.map(Some),
                }
            }
        }
        self.lane.run_cursor = at;
        Ok(None)
    }

    fn is_anothers(&self, owner: u16) -> bool {
        owner != 0
            && owner != self.lane.id + 1
            && u64::from(owner) <= self.segment.lanes_used()
            && self.segment.owner_pid(owner - 1) != 0
    }

    /// A transaction of its own: makes the granule a run of `kind` that prefers this lane. In a new
    /// node extent every node gets its version word, durably, before the extent can be used.
    fn make_run(&mut self, place: Place, kind: Kind, fresh: bool) -> Result<Offset> {
        let meta_at = place.descriptor + descriptor::META;
        self.apart(|tx| {
            let view = tx.see_line(place.descriptor, mode::READ | mode::LAST)?;
            let found = Meta(tx.segment.memory.load(meta_at, Acquire));
            let changes = found.kind() != kind;
            if fresh {
                tx.change_map(place.granule, 1, true)?;
            } else if changes && (found.kind().is_node() || found.kind() >= Kind::SPAN) {
                return Err(Error::Conflict);
            }
            if changes {
                for word in 0..BITMAP_WORDS as u64 {
                    let at = place.descriptor + descriptor::BITMAP + word * 8;
                    if tx.segment.memory.load(at, Acquire) != 0 {
                        // Whoever uses its blocks has taken the granule before.
                        let map = tx.segment.memory.load(place.map_word, Acquire);
                        return Err(if !fresh || map & 1 << place.map_bit != 0 {
                            Error::Conflict
                        } else {
                            tx.unless_outdated(Error::corrupted(Invariant::Bitmap, at))
                        });
                    }
                }
                if kind.is_node() {
                    tx.fill_versions(place.granule, kind.node_bytes());
                }
            }
            tx.write(&view, meta_at, Meta::new(kind, tx.lane.id + 1, 1).0);
            Ok(())
        })?;
        Ok(place.descriptor)
    }

    /// Fresh version words for a whole granule, from the segment's floor.
    fn fill_versions(&mut self, granule: Offset, node_bytes: u64) {
        let floor = self.segment.memory.load(crate::layout::header::FLOOR, Acquire);
        let word = crate::version::Version::unlocked(floor).0.to_le_bytes();
        self.lane.buffers.put_fill(granule, 0, |arena| {
            let from = arena.len();
            arena.resize(from + GRANULE as usize, 0);
            for node in arena[from..].chunks_exact_mut(node_bytes as usize) {
                node[..8].copy_from_slice(&word);
            }
        });
    }

    /// Runs and commits another transaction on this lane, whose record is idle while this one is
    /// still being gathered.
    fn apart<T>(&mut self, mut body: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let outer = std::mem::take(&mut self.lane.buffers);
        self.lane.outer.push(outer);
        let listed = std::mem::take(&mut self.lane.listed);
        let result = body(self).and_then(|value| self.commit().map(|()| value));
        self.lane.buffers = self.lane.outer.pop().unwrap_or_default();
        self.lane.listed = listed;
        result
    }

    /// Makes sure that the lane has a continuation block of at least `bytes`, and keeps it.
    pub(crate) fn keep_continuation(&mut self, bytes: u64) -> Result<()> {
        if self.lane.continuation.1 >= bytes {
            return Ok(());
        }
        let granules = bytes.next_power_of_two().div_ceil(GRANULE);
        let old = self.lane.continuation;
        let tail = self.segment.tail(self.lane.id);
        let at = loop {
            let kept = self.apart(|tx| {
                let at = tx.alloc_span(granules, tx.lane.id + 1)?;
                let place = tx.segment.geometry.place(at);
                let entry = tx.lane.buffers.entry(place.descriptor, mode::WRITE | mode::LAST);
                let kept = [(lane::KEPT, at), (lane::KEPT_BYTES, granules * GRANULE)];
                for (word, value) in kept {
                    tx.lane.buffers.writes.put(entry, tail + word, value);
                }
                if old.0 != 0 {
                    tx.free(old.0)?;
                }
                Ok(at)
            });
            match kept {
                Err(Error::Conflict) => {}
                done => break done?,
            }
        };
        self.lane.continuation = (at, granules * GRANULE);
        Ok(())
    }
}
