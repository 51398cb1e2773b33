//! A transaction: what it read and what it is going to write, all in the memory of this process.
//! Nothing of it is shared before [`Transaction::commit`] (in `commit.rs`).
//!
//! **T1** every node that decides the result is locked by the commit, those only read too (E1).
//! **T2** a block freed here is not allocated here again. **T3** fresh space is filled under the
//! lock of its run, and nodes in it under their own lock (E2, E3).

use crate::access::{Access, Peek, View};
use crate::error::{Error, Result};
use crate::host::{Host, Patience};
use crate::lanes::Lane;
use crate::layout::{Kind, LINE};
use crate::segment::Segment;
use std::cell::Cell;
use std::collections::HashMap;
use vasmem_memory::{Memory, Offset};

/// What a transaction does with a node.
pub(crate) mod mode {
    /// Its counter was seen and must still be so.
    pub const SEEN: u8 = 1;
    /// It decides the result.
    pub const READ: u8 = 2;
    /// Words of it, or behind it, are written.
    pub const WRITE: u8 = 4;
    /// It is freed.
    pub const FREE: u8 = 8;
    /// It was free, and is filled.
    pub const FRESH: u8 = 16;
    /// Bits or counts in it change, whatever else changes meanwhile.
    pub const COMMUTE: u8 = 32;
    /// It is unlocked last.
    pub const LAST: u8 = 64;
    /// Modes that move the counter.
    pub const CHANGES: u8 = WRITE | FREE | FRESH | COMMUTE;
}

/// A node that the transaction touched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub node: Offset,
    /// As seen; in the list to be locked, as locked.
    pub counter: u64,
    /// Its place in `entries`.
    pub number: u32,
    pub mode: u8,
}

/// A word to be written; `entry` is the node that gates it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub entry: u32,
    pub at: Offset,
    pub value: u64,
}

/// A change of a word that is made absolute under its lock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Bits that must be clear.
    Set(u64),
    /// Bits that must be set.
    Clear(u64),
    Add(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Commute {
    pub entry: u32,
    pub at: Offset,
    pub change: Change,
}

/// Content for space that nothing points to yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub at: Offset,
    /// Its place in the arena.
    pub from: usize,
    pub len: usize,
    /// The space holds nodes: each line's first word is left alone.
    pub nodes: bool,
}

/// All that a transaction has gathered; kept by the lane so that memory is reused.
#[derive(Default)]
pub(crate) struct Buffers {
    pub entries: Vec<Entry>,
    index: HashMap<Offset, u32, BuildOffsetHasher>,
    pub writes: Vec<Write>,
    write_index: HashMap<Offset, u32, BuildOffsetHasher>,
    pub commutes: Vec<Commute>,
    pub fills: Vec<Fill>,
    pub arena: Vec<u8>,
    /// An owner's record was overwritten while its words were read: what was read is worth nothing,
    /// though the node may still come to the counter that was seen.
    pub stale: Cell<bool>,
}

/// Above this many, a list is searched through an index.
const LINEAR_MAX: usize = 16;

impl Buffers {
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.writes.clear();
        self.commutes.clear();
        self.fills.clear();
        self.arena.clear();
        self.stale.set(false);
        if !self.index.is_empty() {
            self.index.clear();
        }
        if !self.write_index.is_empty() {
            self.write_index.clear();
        }
    }

    #[inline(always)]
    fn find_entry(&self, node: Offset) -> Option<u32> {
        if self.entries.len() <= LINEAR_MAX {
            return self.entries.iter().position(|entry| entry.node == node).map(|i| i as u32);
        }
        self.index.get(&node).copied()
    }

    fn add_entry(&mut self, node: Offset, mode: u8) -> u32 {
        let number = self.entries.len() as u32;
        self.entries.push(Entry { node, counter: 0, number, mode });
        if self.entries.len() == LINEAR_MAX + 1 {
            self.index.extend(self.entries.iter().enumerate().map(|(i, e)| (e.node, i as u32)));
        } else if self.entries.len() > LINEAR_MAX {
            self.index.insert(node, number);
        }
        number
    }

    /// The entry of `node` with `mode` added.
    pub(crate) fn entry(&mut self, node: Offset, mode: u8) -> u32 {
        match self.find_entry(node) {
            Some(number) => {
                self.entries[number as usize].mode |= mode;
                number
            }
            None => self.add_entry(node, mode),
        }
    }

    #[inline]
    pub(crate) fn find_write(&self, at: Offset) -> Option<usize> {
        if self.writes.len() <= LINEAR_MAX {
            return self.writes.iter().position(|write| write.at == at);
        }
        self.write_index.get(&at).map(|&i| i as usize)
    }

    pub(crate) fn put_write(&mut self, write: Write) {
        if let Some(i) = self.find_write(write.at) {
            self.writes[i].value = write.value;
            return;
        }
        self.writes.push(write);
        if self.writes.len() == LINEAR_MAX + 1 {
            let all = self.writes.iter().enumerate().map(|(i, w)| (w.at, i as u32));
            self.write_index.extend(all);
        } else if self.writes.len() > LINEAR_MAX {
            self.write_index.insert(write.at, self.writes.len() as u32 - 1);
        }
    }

    /// Words one after the other, none of which is in `writes`, which is empty.
    fn put_run(&mut self, entry: u32, at: Offset, words: &[[u8; 8]]) {
        if words.len() > LINEAR_MAX {
            for (i, word) in words.iter().enumerate() {
                let value = u64::from_le_bytes(*word);
                self.put_write(Write { entry, at: at + i as u64 * 8, value });
            }
        } else {
            self.writes.extend(words.iter().enumerate().map(|(i, word)| Write {
                entry,
                at: at + i as u64 * 8,
                value: u64::from_le_bytes(*word),
            }));
        }
        if !words.is_empty() {
            self.entries[entry as usize].mode |= mode::WRITE;
        }
    }

    #[inline]
    fn find_fill(&self, at: Offset) -> Option<usize> {
        self.fills.iter().rposition(|fill| fill.at <= at && at < fill.at + fill.len as u64)
    }
}

/// One attempt at a transaction.
pub struct Transaction<'a, M, H> {
    /// The segment.
    pub segment: &'a Segment<M, H>,
    pub(crate) lane: &'a mut Lane,
    pub(crate) patience: &'a mut dyn Patience,
}

/// Marks the `entry` of a view of a node that this transaction fills.
const FRESH: u32 = 1 << 31;

impl<'a, M: Memory, H: Host> Transaction<'a, M, H> {
    /// Goes on with what `lane` has gathered so far.
    pub fn resume(
        segment: &'a Segment<M, H>,
        lane: &'a mut Lane,
        patience: &'a mut dyn Patience,
    ) -> Self {
        Transaction { segment, lane, patience }
    }

    #[inline(always)]
    fn peek(&self) -> Peek<'a, M, H> {
        Peek::new(self.segment)
    }

    fn see(&mut self, parent: Option<&View>, node: Offset, kind: Kind, mode: u8) -> Result<View> {
        if let Some(fill) = self.fresh(node) {
            let view = View { node, word: 0, state: 0, counter: 0, words: (0, 0), entry: fill };
            return Ok(view);
        }
        let parent = parent.filter(|parent| parent.entry == u32::MAX || parent.entry & FRESH == 0);
        let mut view = self.peek().navigate(parent, node, kind)?;
        view.entry = self.lane.buffers.entry(node, 0);
        let entry = &mut self.lane.buffers.entries[view.entry as usize];
        if entry.mode & mode::SEEN != 0 && entry.counter != view.counter {
            return Err(Error::Conflict);
        }
        entry.counter = view.counter;
        entry.mode |= mode | mode::SEEN;
        Ok(view)
    }

    /// Looks at a descriptor, whose place was computed and needs no check.
    pub(crate) fn see_line(&mut self, node: Offset, mode: u8) -> Result<View> {
        let mut view = self.peek().line(node)?;
        view.entry = self.lane.buffers.entry(node, mode | mode::SEEN);
        self.lane.buffers.entries[view.entry as usize].counter = view.counter;
        Ok(view)
    }

    /// Validation compares counters, which cannot tell whether an overlay was still the one of
    /// `view` when it was read: the owner unlocks at the very counter that the view stands for.
    #[inline]
    fn check_overlay(&self, view: &View) {
        if view.words.0 != view.words.1 && !self.peek().recheck(view) {
            self.lane.buffers.stale.set(true);
        }
    }

    #[inline(always)]
    /// Number, marked `FRESH`, of the fill that holds node `at`.

    fn fresh(&self, at: Offset) -> Option<u32> {
        let buffers = &self.lane.buffers;
        if buffers.fills.is_empty() {
            return None;
        }
        let fill = buffers.find_fill(at).filter(|&i| buffers.fills[i].nodes)?;
        Some(fill as u32 | FRESH)
    }

    /// Writes a word of the node, or of a block that only this node points to.
    pub fn write(&mut self, view: &View, at: Offset, value: u64) {
        let buffers = &mut self.lane.buffers;
        if !buffers.fills.is_empty() {
            if let Some(i) = buffers.find_fill(at) {
                let from = buffers.fills[i].from + (at - buffers.fills[i].at) as usize;
                buffers.arena[from..from + 8].copy_from_slice(&value.to_le_bytes());
                return;
            }
        }
        debug_assert!(view.entry & FRESH == 0, "a fresh node is written through its fill");
        buffers.entries[view.entry as usize].mode |= mode::WRITE;
        buffers.put_write(Write { entry: view.entry, at, value });
    }

    /// Overwrites bytes of a block that only this node points to. The bytes beside them in their
    /// first and last word stay as they were seen under `view`.
    pub fn write_bytes(&mut self, view: &View, at: Offset, bytes: &[u8]) {
        let (mut place, end) = (at & !7, at + bytes.len() as u64);
        // Nothing is overwritten twice by a transaction that has written nothing yet.
        let first = self.lane.buffers.writes.is_empty() && self.lane.buffers.fills.is_empty();
        if first && at == place {
            let (words, _) = bytes.as_chunks::<8>();
            self.lane.buffers.put_run(view.entry, at, words);
            place += words.len() as u64 * 8;
        }
        while place < end {
            let (from, to) = (place.max(at), (place + 8).min(end));
            let mut word = [0; 8];
            if to - from < 8 {
                word = self.word(view, place).to_le_bytes();
            }
            word[(from - place) as usize..(to - place) as usize]
                .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
            self.write(view, place, u64::from_le_bytes(word));
            place += 8;
        }
    }

    /// Frees the node itself, from which nothing leads anywhere any more (E2: its counter moves).
    /// Its space is freed with the block that holds it.
    pub fn free_node(&mut self, view: &View) {
        if view.entry & FRESH == 0 {
            self.lane.buffers.entries[view.entry as usize].mode |= mode::FREE;
        }
    }

    /// Adds to a count in a node, without reading it.
    ///
    /// # Errors
    /// `Corrupted` if there is no such node.
    pub fn add(&mut self, node: Offset, kind: Kind, at: Offset, by: u64) -> Result<()> {
        if self.fresh(node).is_some() {
            let view = self.see(None, node, kind, 0)?;
            let sum = self.word(&view, at).wrapping_add(by);
            self.write(&view, at, sum);
            return Ok(());
        }
        self.segment.node(node, kind)?;
        self.commute(node, at, Change::Add(by), mode::COMMUTE);
        Ok(())
    }

    /// Gathers a commutative change.
    pub(crate) fn commute(&mut self, node: Offset, at: Offset, change: Change, mode: u8) {
        let entry = self.lane.buffers.entry(node, mode);
        let commutes = &mut self.lane.buffers.commutes;
        for known in commutes.iter_mut().rev().take(LINEAR_MAX).filter(|known| known.at == at) {
            let merged = match (known.change, change) {
                (Change::Add(a), Change::Add(b)) => Change::Add(a.wrapping_add(b)),
                (Change::Set(a), Change::Set(b)) => Change::Set(a | b),
                (Change::Clear(a), Change::Clear(b)) => Change::Clear(a | b),
                _ => continue,
            };
            known.change = merged;
            return;
        }
        commutes.push(Commute { entry, at, change });
    }

    /// Gives content to a fresh block; `parts` stand one after the other.
    pub fn fill(&mut self, at: Offset, parts: &[&[u8]]) {
        let buffers = &mut self.lane.buffers;
        let from = buffers.arena.len();
        for part in parts {
            buffers.arena.extend_from_slice(part);
        }
        let len = buffers.arena.len() - from;
        // Later writes of this transaction come in whole words.
        buffers.arena.resize(from + len.next_multiple_of(8), 0);
        buffers.fills.push(Fill { at, from, len, nodes: false });
    }

    /// Gives content to a fresh block of nodes. `words` are whole lines; the first word of each
    /// stands for the version word and is ignored.
    pub fn fill_nodes(&mut self, at: Offset, words: &[u64]) {
        let buffers = &mut self.lane.buffers;
        let from = buffers.arena.len();
        buffers.arena.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let len = buffers.arena.len() - from;
        buffers.fills.push(Fill { at, from, len, nodes: true });
        if !crate::lab::mutated(crate::lab::Mutation::FillUnlockedParentFirst)
            && !crate::lab::mutated(crate::lab::Mutation::FreeWithoutBumpFillUnlocked)
        {
            for line in (at..at + len as u64).step_by(LINE as usize) {
                buffers.entry(line, mode::FRESH);
            }
        }
    }

    /// Whether the block at `at` was allocated by this transaction.
    #[inline]
    pub fn is_fresh(&self, at: Offset) -> bool {
        let buffers = &self.lane.buffers;
        !buffers.fills.is_empty() && buffers.find_fill(at).is_some()
    }

    /// Number of the lane that this transaction runs on.
    pub fn lane_id(&self) -> u16 {
        self.lane.id
    }

    /// Whether anything is going to change.
    pub fn writes_anything(&self) -> bool {
        self.lane.buffers.entries.iter().any(|entry| entry.mode & mode::CHANGES != 0)
    }

    /// Forgets all that was gathered.
    pub fn reset(&mut self) {
        self.lane.buffers.clear();
    }
}

impl<M: Memory, H: Host> Access for Transaction<'_, M, H> {
    #[inline]
    fn navigate(&mut self, parent: Option<&View>, node: Offset, kind: Kind) -> Result<View> {
        self.see(parent, node, kind, 0)
    }

    #[inline]
    fn read(&mut self, parent: Option<&View>, node: Offset, kind: Kind) -> Result<View> {
        self.see(parent, node, kind, mode::READ)
    }

    #[inline]
    fn word(&self, view: &View, at: Offset) -> u64 {
        let buffers = &self.lane.buffers;
        if let Some(i) = buffers.find_write(at) {
            return buffers.writes[i].value;
        }
        if !buffers.fills.is_empty() {
            if let Some(i) = buffers.find_fill(at) {
                let from = buffers.fills[i].from + (at - buffers.fills[i].at) as usize;
                let bytes = buffers.arena[from..].first_chunk::<8>();
                return bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
            }
        }
        let mut word = self.peek().view_word(view, at);
        self.check_overlay(view);
        if view.entry & FRESH == 0 && buffers.entries[view.entry as usize].mode & mode::COMMUTE != 0
        {
            for commute in buffers.commutes.iter().filter(|commute| commute.at == at) {
                word = match commute.change {
                    Change::Add(by) => word.wrapping_add(by),
                    Change::Set(bits) => word | bits,
                    Change::Clear(bits) => word & !bits,
                };
            }
        }
        word
    }

    #[inline]
    fn bytes(&self, view: &View, at: Offset, into: &mut [u8]) {
        let buffers = &self.lane.buffers;
        if !buffers.fills.is_empty() {
            if let Some(i) = buffers.find_fill(at) {
                let fill = buffers.fills[i];
                let from = fill.from + (at - fill.at) as usize;
                let len = into.len().min(fill.from + fill.len - from);
                into[..len].copy_from_slice(&buffers.arena[from..from + len]);
                return;
            }
        }
        self.peek().bytes(view, at, into);
        self.check_overlay(view);
        if buffers.writes.is_empty() {
            return;
        }
        let end = at + into.len() as u64;
        for place in ((at & !7)..end).step_by(8) {
            let Some(i) = buffers.find_write(place) else {
                continue;
            };
            for (k, byte) in buffers.writes[i].value.to_le_bytes().into_iter().enumerate() {
                let here = place + k as u64;
                if (at..end).contains(&here) {
                    into[(here - at) as usize] = byte;
                }
            }
        }
    }

    #[inline]
    fn data(&self, view: &View, at: Offset, bytes: u64) -> Result<()> {
        if view.entry & FRESH != 0 {
            return self.segment.data(at, bytes);
        }
        self.peek().data(view, at, bytes)
    }

    #[inline]
    fn check(&self, view: &View) -> Result<()> {
        if view.entry & FRESH != 0 { Ok(()) } else { self.peek().check(view) }
    }

    fn prefetch(&self, at: Offset) {
        self.segment.memory.prefetch(at);
    }

    fn seed(&self) -> u64 {
        self.segment.geometry.seed
    }
}

/// Hashes offsets, which are already spread out, by one multiplication.
#[derive(Clone, Copy, Default)]
pub(crate) struct OffsetHasher(u64);
type BuildOffsetHasher = std::hash::BuildHasherDefault<OffsetHasher>;

impl std::hash::Hasher for OffsetHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
