//! The heap's check: every block is free, or reachable once, or kept by a lane.

use crate::access::Access;
use crate::directory;
use crate::error::{Invariant, Result};
use crate::host::{Host, Patience};
use crate::layout::{GRANULE, Kind, LINE, Place};
use crate::segment::Segment;
use crate::version::Version;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Acquire;
use vasmem_memory::{Memory, Offset};

/// Violations that are told: a segment of noise has as many as it has words.
pub(crate) const VIOLATIONS_MAX: usize = 10_000;

/// Something that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// Where.
    pub at: Offset,
    /// In words.
    pub text: String,
}

impl Violation {
    /// Puts the three together.
    pub fn new(invariant: Invariant, at: Offset, text: impl Into<String>) -> Violation {
        Violation { invariant, at, text: text.into() }
    }
}

/// Blocks that a walk from the root directory came to.
#[derive(Default)]
pub struct Reached {
    blocks: HashSet<Offset>,
    /// What the walk found broken.
    pub violations: Vec<Violation>,
}

impl Reached {
    /// Notes a block; twice is a violation.
    pub fn block(&mut self, at: Offset) {
        self.is_new(at);
    }

    /// As `block`; whether it was the first time.
    fn is_new(&mut self, at: Offset) -> bool {
        let new = self.blocks.insert(at);
        if !new {
            let text = "this block is reachable twice";
            self.broken(Invariant::Reachable, at, text);
        }
        new
    }

    /// Notes something broken.
    pub fn broken(&mut self, invariant: Invariant, at: Offset, text: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation::new(invariant, at, text));
        }
    }
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// Runs `body` while nobody commits, all dead lanes recovered.
    ///
    /// # Errors
    /// Those of `body`, `Timeout` and `Interrupted` while waiting.
    pub fn exclusively<T>(
        &self,
        patience: &mut dyn Patience,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut lane = self.lane(patience)?;
        self.take_token(&mut lane, patience)?;
        let result = body();
        self.drop_token(&mut lane)?;
        result
    }

    /// Notes the blocks of the root directory, and returns what it names.
    ///
    /// # Errors
    /// `Conflict` if somebody writes meanwhile.
    pub fn reach_directory<A: Access>(
        &self,
        access: &mut A,
        reached: &mut Reached,
    ) -> Result<Vec<directory::Named>> {
        let first = self.geometry.directory_at;
        let mut names = HashSet::new();
        let mut found = Vec::new();
        for block in directory::blocks(access, first)? {
            reached.block(block);
        }
        for (named, record) in directory::list(access, first)? {
            reached.block(record);
            if !names.insert(named.name.clone()) {
                let text = format!("the name {:?} stands twice", named.name);
                reached.broken(Invariant::Directory, record, text);
            }
            found.push(named);
        }
        Ok(found)
    }

    /// Compares the heap with what was reached.
    pub fn check_heap(&self, mut reached: Reached) -> Vec<Violation> {
        self.check_mapping(&mut reached);
        self.reach_kept(&mut reached);
        let backed = self.backed();
        let mut at = self.geometry.heap_at;
        let mut blocks_seen = HashSet::new();
        while at < backed {
            let region = self.geometry.region_of(at);
            for line in (region.at..region.data_at().min(backed)).step_by(LINE as usize) {
                self.check_unlocked(line, &mut reached);
            }
            let end = region.granules().min((backed - region.at) / GRANULE);
            let mut index = region.table_granules();
            while index < end {
                let place = region.place(index);
                index += self.check_granule(place, &mut reached, &mut blocks_seen).max(1);
            }
            at = region.end();
        }
        let blocks = std::mem::take(&mut reached.blocks);
        for &block in blocks.difference(&blocks_seen) {
            let text = "this block is reachable but not allocated";
            reached.broken(Invariant::Bitmap, block, text);
        }
        reached.violations
    }

    /// Notes a file that was cut off, before all that follows from it and may be too much to tell.
    pub fn check_mapping(&self, reached: &mut Reached) {
        if self.memory.poisoned() {
            let text = "the file was truncated under the mapping";
            reached.violations.insert(0, Violation::new(Invariant::Mapping, 0, text));
        }
    }

    /// Continuation blocks of lanes.
    fn reach_kept(&self, reached: &mut Reached) {
        for id in 0..self.lanes_used() as u16 {
            match self.kept(id) {
                Ok((0, _)) => {}
                Ok((at, _)) => reached.block(at),
                Err(_) => {
                    let at = self.tail(id);
                    reached.broken(Invariant::Record, at, "the lane's kept block is out of range");
                }
            }
            self.reach_deferred(id, reached);
        }
    }

    /// Blocks that were freed while they were pinned, and the list of them.
    fn reach_deferred(&self, id: u16, reached: &mut Reached) {
        // More cells than blocks would be a circle.
        let bound = (self.backed() / Kind(1).block_bytes()) as usize;
        match self.deferred(id, bound) {
            Ok((cells, _)) => {
                for cell in cells {
                    if !reached.is_new(cell.at) {
                        break;
                    }
                    reached.block(cell.block);
                }
            }
            Err(_) => {
                let text = "the lane's list of deferred blocks leads out of the heap";
                reached.broken(Invariant::Record, self.tail(id), text);
            }
        }
    }

    /// Nobody commits now, so no lock of this incarnation may be there.
    fn check_unlocked(&self, node: Offset, reached: &mut Reached) {
        let version = Version(self.memory.load(node, Acquire));
        if version.is_locked(self.incarnation()) {
            let text = format!("still locked by lane {}", version.lane());
            reached.broken(Invariant::Lock, node, text);
        }
    }

    /// Checks one granule; returns how many belong together.
    fn check_granule(
        &self,
        place: Place,
        reached: &mut Reached,
        seen: &mut HashSet<Offset>,
    ) -> u64 {
        let taken = self.memory.load(place.map_word, Acquire) >> place.map_bit & 1 != 0;
        let Some(described) = self.described(place) else {
            return 1;
        };
        let kind = described.meta.kind();
        if kind == Kind::SPAN {
            return self.check_span(place, described.meta.granules(), reached, seen);
        }
        if (kind == Kind::FREE) == taken {
            let text = format!("map bit {taken}, but the descriptor says kind {}", kind.0);
            reached.broken(Invariant::Descriptor, place.descriptor, text);
        }
        if kind != Kind::FREE && kind.blocks() == 0 {
            let text = format!("there is no kind {}", kind.0);
            reached.broken(Invariant::Descriptor, place.descriptor, text);
            return 1;
        }
        for number in 0..crate::layout::BITMAP_WORDS as u64 * 64 {
            if described.used[number as usize / 64] >> (number % 64) & 1 == 0 {
                continue;
            }
            if number >= kind.blocks() {
                let text = format!("bit {number} of {} blocks is set", kind.blocks());
                reached.broken(Invariant::Bitmap, place.descriptor, text);
                continue;
            }
            self.check_block(place.granule + number * kind.block_bytes(), reached, seen);
        }
        if kind.is_node() {
            let nodes = place.granule..place.granule + GRANULE;
            for node in nodes.step_by(kind.node_bytes() as usize) {
                self.check_unlocked(node, reached);
            }
        }
        1
    }

    fn check_block(&self, at: Offset, reached: &mut Reached, seen: &mut HashSet<Offset>) {
        seen.insert(at);
        if !reached.blocks.contains(&at) {
            reached.broken(Invariant::Reachable, at, "this block is allocated but not reachable");
        }
    }

    fn check_span(
        &self,
        place: Place,
        granules: u64,
        reached: &mut Reached,
        seen: &mut HashSet<Offset>,
    ) -> u64 {
        let bytes = granules.saturating_mul(GRANULE);
        let inside = place.granule + bytes <= self.geometry.region_of(place.granule).end();
        if granules == 0 || self.data(place.granule, bytes).is_err() || !inside {
            let text = format!("a data extent of {granules} granules");
            reached.broken(Invariant::Descriptor, place.descriptor, text);
            return 1;
        }
        for granule in (place.granule..place.granule + bytes).step_by(GRANULE as usize) {
            let place = self.geometry.place(granule);
            if self.memory.load(place.map_word, Acquire) >> place.map_bit & 1 == 0 {
                let text = "a granule of a data extent is free in the extent map";
                reached.broken(Invariant::Bitmap, granule, text);
            }
        }
        self.check_block(place.granule, reached, seen);
        granules
    }
}
