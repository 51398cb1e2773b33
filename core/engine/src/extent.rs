//! Granules: finding free ones, and growth.
//!
//! **G1** only granules before the backed end are handed out, and the backed end is raised only
//! after the bytes are there; the medium knows of it before any of them is taken. **G2** the table
//! of a region is backed before any of its granules.

use crate::error::{Error, Holder, Result, is_out_of_space};
use crate::host::{Host, Patience};
use crate::lab::{Mutation, Point, mutated};
use crate::layout::{GRANULE, Place, REGION_MIN, header};
use crate::segment::Segment;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use vasmem_memory::{Memory, Offset};

/// Least and most that the segment grows in one step, in bytes. A step ends where a huge page does,
/// so that these are whole.
const GROWTH_MIN: u64 = REGION_MIN;
const GROWTH_MAX: u64 = 64 << 20;
const GROWTH_UNIT: u64 = 2 << 20;

impl<M: Memory, H: Host> Segment<M, H> {
    /// Looks for `count` free granules in a row that the caller has not `taken` itself. What it
    /// finds is a hint: the commit takes them under the extent map's lock.
    pub(crate) fn find_granules(
        &self,
        count: u64,
        taken: impl Fn(Place) -> bool,
    ) -> Option<Offset> {
        let hint = self.extent_hint.load(Relaxed);
        let found = if count == 1 && hint != 0 {
            self.scan(hint, 1, &taken).or_else(|| self.scan(self.geometry.heap_at, 1, &taken))
        } else {
            self.scan(self.geometry.heap_at, count, &taken)
        };
        if let (1, Some(at)) = (count, found) {
            self.extent_hint.store(at, Relaxed);
        }
        if found.is_some() && !mutated(Mutation::BackedNotDurable) {
            // Whoever raised it may have died at once. The commit that takes the granules drains.
            self.memory.flush(header::BACKED, 8);
        }
        found
    }

    fn scan(&self, from: Offset, count: u64, taken: &impl Fn(Place) -> bool) -> Option<Offset> {
        let backed = self.backed();
        let mut from = from;
        while from < backed {
            let region = self.geometry.region_of(from);
            let first = ((from - region.at) / GRANULE).max(region.table_granules());
            let end = region.granules().min((backed - region.at) / GRANULE);
            let (mut index, mut free) = (first, 0);
            while index < end {
                let place = region.place(index);
                let word = self.memory.load(place.map_word, Relaxed);
                if word == !0 {
                    free = 0;
                    index += 64 - u64::from(place.map_bit);
                    continue;
                }
                let used = word >> place.map_bit & 1 != 0 || taken(place);
                free = if used { 0 } else { free + 1 };
                if free == count {
                    return Some(region.place(index + 1 - count).granule);
                }
                index += 1;
            }
            from = region.end();
        }
        None
    }

    /// Makes room for at least `bytes` more in one piece. Stops nobody.
    ///
    /// # Errors
    /// `Full` if `max_size` or the system does not allow it; nothing has changed then.
    pub(crate) fn grow(&self, bytes: u64, patience: &mut dyn Patience) -> Result<()> {
        let host = self.host()?;
        let known = self.backed();
        let mut round = 0;
        while !host.take_growth()? {
            patience.pause(round, Holder::Growth)?;
            round += 1;
            if self.backed() != known {
                return Ok(());
            }
        }
        let result = self.grow_under_lock(bytes, known);
        if !matches!(result, Err(Error::Died)) {
            host.end_growth();
        }
        result
    }

    fn grow_under_lock(&self, bytes: u64, known: Offset) -> Result<()> {
        let backed = self.backed();
        if backed != known {
            return Ok(());
        }
        self.note_change()?;
        let step = ((backed - self.geometry.heap_at) / 32).clamp(GROWTH_MIN, GROWTH_MAX);
        let end = match self.back(backed, step.max(bytes), GROWTH_UNIT, bytes) {
            // Where there is no room for a comfortable step there may be some for a small one.
            Err(Error::Full { refused: Some(_), .. }) => {
                self.back(backed, GROWTH_MIN.max(bytes), GRANULE, bytes)?
            }
            end => end?,
        };
        self.switches.hit(Point::Grown)?;
        let _writing = self.memory.writing();
        self.memory.store(header::BACKED, end, Release);
        self.memory.raise_limit(end);
        self.switches.hit(Point::GrownTold)
    }

    /// Backs `step` bytes from `backed` on, to a multiple of `unit`, or what it takes for `bytes`
    /// in one piece; returns the new end, which nobody knows yet.
    fn back(&self, backed: Offset, step: u64, unit: u64, bytes: u64) -> Result<Offset> {
        let limit = self.geometry.size_limit;
        let wanted = (backed + step).next_multiple_of(unit).min(limit);
        let end = self.end_with_room(backed, wanted, bytes).filter(|&end| end <= limit);
        let end = end.ok_or_else(|| self.full(bytes, None))?;
        self.allocate(backed, end - backed, bytes)?;
        Ok(end)
    }

    /// Has the system back `len` bytes from `at`, of which `needed` are asked for.
    ///
    /// # Errors
    /// `Full` where it has no room.
    pub(crate) fn allocate(&self, at: Offset, len: u64, needed: u64) -> Result<()> {
        match self.memory.allocate(at, len) {
            Err(error) if is_out_of_space(&error) => Err(self.full(needed, Some(error.kind()))),
            done => Ok(done?),
        }
    }

    fn full(&self, needed_bytes: u64, refused: Option<std::io::ErrorKind>) -> Error {
        Error::Full {
            needed_bytes,
            size_bytes: self.backed() - self.geometry.heap_at,
            max_bytes: self.geometry.size_limit - self.geometry.heap_at,
            refused,
        }
    }

    /// The end from `wanted` on at which `bytes` fit between `backed` and it in one piece, with the
    /// table of every region that it reaches into (G2). Pieces do not cross regions.
    fn end_with_room(&self, backed: Offset, wanted: Offset, bytes: u64) -> Option<Offset> {
        let mut from = backed;
        while from < self.geometry.size_limit {
            let region = self.geometry.region_of(from);
            let first = from.max(region.data_at());
            if first + bytes <= region.end() {
                return Some(wanted.max(first + bytes)).map(|end| self.whole_table(end));
            }
            from = region.end();
        }
        None
    }

    fn whole_table(&self, end: Offset) -> Offset {
        let region = self.geometry.region_of(end - 1);
        end.max(region.data_at())
    }

    /// Bytes of granules that are in use.
    pub fn used_bytes(&self) -> u64 {
        let backed = self.backed();
        let (mut at, mut used) = (self.geometry.heap_at, 0);
        while at < backed {
            let region = self.geometry.region_of(at);
            used += region.table_granules();
            for map in 0..region.maps() {
                let node = region.at + map * crate::layout::LINE;
                let words = (1..=4).map(|word| self.memory.load(node + word * 8, Acquire));
                used += words.map(|word| u64::from(word.count_ones())).sum::<u64>();
            }
            at = region.end();
        }
        used * GRANULE
    }
}
