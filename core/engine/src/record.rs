//! The redo record of a lane: one state word, a list of nodes with targets, words, fills.
//!
//! **R1** nodes are listed in offset order. **R2** words stand grouped by node, in list order.
//! **R3** words are absolute. A record of another lane is input like any other: every count and
//! offset is checked before it is used.

use crate::error::{Error, Invariant, Result};
use crate::layout::{Geometry, LINE, header, lane};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use vasmem_memory::{Memory, Offset};

/// Phase of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing goes on.
    Idle,
    /// A list is written, its nodes may be locked.
    Prepared,
    /// Decided: targets and words hold.
    Committed,
}

/// State word: `phase 2 | seq 30 | incarnation 32`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State(pub u64);

impl State {
    /// Puts the three together.
    pub fn new(phase: Phase, seq: u32, incarnation: u64) -> State {
        State(phase as u64 | u64::from(seq & 0x3fff_ffff) << 2 | incarnation << 32)
    }
    /// Phase; `None` for the fourth bit pattern.
    #[inline]
    pub fn phase(self) -> Option<Phase> {
        match self.0 & 3 {
            0 => Some(Phase::Idle),
            1 => Some(Phase::Prepared),
            2 => Some(Phase::Committed),
            _ => None,
        }
    }
    /// Number of the transaction in its lane.
    #[inline]
    pub fn seq(self) -> u32 {
        (self.0 >> 2) as u32 & 0x3fff_ffff
    }
    /// Incarnation in which it was prepared.
    #[inline]
    pub fn incarnation(self) -> u64 {
        self.0 >> 32
    }
    /// The same transaction in another phase.
    #[inline]
    pub fn in_phase(self, phase: Phase) -> State {
        State(self.0 & !3 | phase as u64)
    }
}

/// Flags in the low bits of a listed node's offset.
pub mod flag {
    /// Unlocked first: nobody may reuse the node while it is locked (E3).
    pub const FREED: u64 = 1;
    /// Only read: its target is the old counter.
    pub const READ: u64 = 2;
    /// Unlocked last: descriptors and extent maps.
    pub const LAST: u64 = 4;
    /// All of them.
    pub const MASK: u64 = 7;
}
/// Flag in the length of a fill: its bytes were fenced before the sum and are not part of it.
pub const FENCED: u64 = 1 << 63;

/// Numbers of entries: `nodes 20 | words 22 | fills 22`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Listed nodes.
    pub nodes: u64,
    /// Words.
    pub words: u64,
    /// Fills.
    pub fills: u64,
}

impl Counts {
    /// As one word.
    pub fn pack(self) -> u64 {
        self.nodes | self.words << 20 | self.fills << 42
    }
    /// From one word.
    pub fn unpack(word: u64) -> Counts {
        Counts { nodes: word & 0xf_ffff, words: word >> 20 & 0x3f_ffff, fills: word >> 42 }
    }
    /// Words that the entries take.
    pub fn entry_words(self) -> u64 {
        2 * (self.nodes + self.words + self.fills)
    }
}

/// A listed node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The node.
    pub node: Offset,
    /// Its flags.
    pub flags: u64,
    /// Its counter after the commit.
    pub target: u64,
    /// Index behind its last word.
    pub words_end: u64,
}

/// Looks at the record of a lane.
pub struct Record<'a, M> {
    memory: &'a M,
    lane_at: Offset,
    inline_words: u64,
    continuation: Offset,
    /// Its counts.
    pub counts: Counts,
}

/// Whether all before `end` is backed; the owner may have grown the segment unknown to us.
fn is_backed<M: Memory>(memory: &M, geometry: &Geometry, end: Offset) -> bool {
    if end > memory.limit() {
        let backed = memory.load(header::BACKED, Acquire);
        memory.raise_limit(backed.min(geometry.size_limit));
    }
    end <= memory.limit()
}

impl<'a, M: Memory> Record<'a, M> {
    /// State word of lane `lane`.
    #[inline]
    pub fn state(memory: &M, geometry: &Geometry, lane: u16) -> State {
        State(memory.load(geometry.lane(u64::from(lane)) + lane::STATE, Acquire))
    }

    /// Opens the record of `lane` for reading.
    ///
    /// # Errors
    /// `Corrupted` if its counts or its continuation lie outside of what they may be. With a live
    /// owner that may only mean that the record changed: look at the state again.
    pub fn open(memory: &'a M, geometry: &Geometry, lane: u16) -> Result<Record<'a, M>> {
        let lane_at = geometry.lane(u64::from(lane));
        let inline_words = geometry.inline_words();
        let counts = Counts::unpack(memory.load(lane_at + lane::COUNTS, Relaxed));
        let mut continuation = 0;
        if counts.entry_words() > inline_words {
            continuation = memory.load(lane_at + lane::CONTINUATION, Relaxed);
            let bytes = (counts.entry_words() - inline_words) * 8;
            let end = continuation.checked_add(bytes);
            if !continuation.is_multiple_of(LINE)
                || !geometry.in_heap(continuation)
                || end.is_none_or(|end| !is_backed(memory, geometry, end))
            {
                return Err(Error::corrupted(Invariant::Record, lane_at));
            }
        }
        Ok(Record { memory, lane_at, inline_words, continuation, counts })
    }

    /// Place of entry word `index`.
    #[inline]
    fn place(&self, index: u64) -> Offset {
        if index < self.inline_words {
            self.lane_at + lane::ENTRIES + index * 8
        } else {
            self.continuation + (index - self.inline_words) * 8
        }
    }

    fn pair(&self, index: u64) -> (u64, u64) {
        let first = self.memory.load(self.place(index), Relaxed);
        (first, self.memory.load(self.place(index + 1), Relaxed))
    }

    /// All words of its entries, in order.
    pub fn entry_words(&self) -> impl Iterator<Item = u64> {
        (0..self.counts.entry_words()).map(|index| self.memory.load(self.place(index), Relaxed))
    }

    /// Listed node number `index`.
    pub fn node(&self, index: u64) -> Listed {
        let (word, target) = self.pair(2 * index);
        Listed {
            node: word & !(LINE - 1),
            flags: word & flag::MASK,
            target: target >> 24,
            words_end: target & 0xff_ffff,
        }
    }

    /// Index of the first word of listed node number `index`.
    pub fn words_begin(&self, index: u64) -> u64 {
        if index == 0 { 0 } else { self.node(index - 1).words_end }
    }

    /// Word number `index`: its place and value.
    #[inline]
    pub fn word(&self, index: u64) -> (Offset, u64) {
        self.pair(2 * (self.counts.nodes + index))
    }

    /// Fill number `index`: its place and length with flags.
    pub fn fill(&self, index: u64) -> (Offset, u64) {
        self.pair(2 * (self.counts.nodes + self.counts.words + index))
    }

    /// Finds a node in the list by bisection (R1).
    pub fn find(&self, node: Offset) -> Option<u64> {
        let (mut low, mut high) = (0, self.counts.nodes);
        while low < high {
            let middle = (low + high) / 2;
            match self.node(middle).node {
                found if found == node => return Some(middle),
                found if found < node => low = middle + 1,
                _ => high = middle,
            }
        }
        None
    }

    /// Stretches of memory that the record takes, for flushing: (offset, bytes).
    pub fn extents(&self) -> [(Offset, u64); 2] {
        let words = self.counts.entry_words();
        let inline = words.min(self.inline_words);
        [(self.lane_at, lane::ENTRIES + inline * 8), (self.continuation, (words - inline) * 8)]
    }
}

/// Chains a sum over words; the words of a record come in the order in which they stand.
pub fn sum_words(seed: u64, words: &[u64]) -> u64 {
    words.iter().fold(seed, |sum, word| mix(sum ^ word))
}

/// Chains a sum over bytes.
pub fn sum_bytes(seed: u64, bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}

/// One round of a 64-bit mix (the finaliser of xxh3's avalanche).
#[inline]
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 37).wrapping_mul(0x1656_67b1_9e37_79f9);
    value ^ value >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back() {
        let state = State::new(Phase::Prepared, 0x3fff_ffff, 77);
        assert_eq!(state.phase(), Some(Phase::Prepared));
        assert_eq!((state.seq(), state.incarnation()), (0x3fff_ffff, 77));
        assert_eq!(state.in_phase(Phase::Committed).phase(), Some(Phase::Committed));
        assert_eq!(State(3).phase(), None);
        let counts = Counts { nodes: 0xf_ffff, words: 0x3f_ffff, fills: 5 };
        assert_eq!(Counts::unpack(counts.pack()), counts);
    }
}
