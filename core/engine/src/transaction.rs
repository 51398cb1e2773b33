//! A transaction: what it read and what it is going to write, all in the memory of this process.
//! Nothing of it is shared before [`Transaction::commit`] (in `commit.rs`).
//!
//! **T1** every node that decides the result is locked by the commit, those only read too (E1).
//! **T2** a block freed here is not allocated here again. **T3** fresh space is filled under the
//! lock of its run, and nodes in it under their own lock (E2, E3).

use crate::access::{Access, Peek, View};
use crate::buffers::{Commute, Write, mode};
use crate::error::{Error, Result};
use crate::host::{Host, Patience};
use crate::lanes::Lane;
use crate::layout::{Kind, LINE};
use crate::segment::Segment;
use vasmem_memory::{Memory, Offset};

/// One attempt at a transaction.
pub struct Transaction<'a, M, H> {
    /// The segment.
    pub segment: &'a Segment<M, H>,
    pub(crate) lane: &'a mut Lane,
    pub(crate) patience: &'a mut dyn Patience,
}

/// The `entry` of a view of a node that this transaction makes.
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
        if self.makes(node) {
            return Ok(View { node, word: 0, state: 0, counter: 0, words: (0, 0), entry: FRESH });
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

    /// Whether this transaction makes the node at `at`.
    #[inline(always)]
    fn makes(&self, at: Offset) -> bool {
        let buffers = &self.lane.buffers;
        buffers.has_fills() && buffers.find_fill(at).is_some_and(|fill| fill.nodes)
    }

    /// Writes a word of the node, or of a block that only this node points to.
    pub fn write(&mut self, view: &View, at: Offset, value: u64) {
        let buffers = &mut self.lane.buffers;
        if buffers.has_fills()
            && let Some(fill) = buffers.find_fill(at)
        {
            let from = fill.from + (at - fill.at) as usize;
            buffers.arena[from..from + 8].copy_from_slice(&value.to_le_bytes());
            return;
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
        let first = self.lane.buffers.writes.is_empty() && !self.lane.buffers.has_fills();
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
        if self.makes(node) {
            let view = self.see(None, node, kind, 0)?;
            let sum = self.word(&view, at).wrapping_add(by);
            self.write(&view, at, sum);
            return Ok(());
        }
        self.segment.node(node, kind)?;
        let commute = self.lane.buffers.commute(node, at, mode::COMMUTE);
        commute.add = commute.add.wrapping_add(by);
        Ok(())
    }

    /// Gives content to a fresh block; `parts` stand one after the other.
    pub fn fill(&mut self, at: Offset, parts: &[&[u8]]) {
        self.lane.buffers.put_fill(at, false, |arena| {
            parts.iter().for_each(|part| arena.extend_from_slice(part));
        });
    }

    /// Gives content to a fresh block of nodes. `words` are whole lines; the first word of each
    /// stands for the version word and is ignored.
    pub fn fill_nodes(&mut self, at: Offset, words: &[u64]) {
        self.lane.buffers.put_fill(at, true, |arena| {
            arena.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        });
        if !crate::lab::mutated(crate::lab::Mutation::FillUnlockedParentFirst)
            && !crate::lab::mutated(crate::lab::Mutation::FreeWithoutBumpFillUnlocked)
        {
            for line in (at..at + words.len() as u64 * 8).step_by(LINE as usize) {
                self.lane.buffers.entry(line, mode::FRESH);
            }
        }
    }

    /// Whether the block at `at` was allocated by this transaction.
    #[inline]
    pub fn is_fresh(&self, at: Offset) -> bool {
        let buffers = &self.lane.buffers;
        buffers.has_fills() && buffers.find_fill(at).is_some()
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
        if let Some(i) = buffers.writes.find(at) {
            return buffers.writes[i].value;
        }
        if buffers.has_fills()
            && let Some(fill) = buffers.find_fill(at)
        {
            let from = fill.from + (at - fill.at) as usize;
            let bytes = buffers.arena[from..].first_chunk::<8>();
            return bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        }
        let mut word = self.peek().view_word(view, at);
        self.check_overlay(view);
        if view.entry & FRESH == 0
            && buffers.entries[view.entry as usize].mode & mode::COMMUTE != 0
            && let Some(i) = buffers.commutes.find(at)
        {
            let Commute { set, clear, add, .. } = buffers.commutes[i];
            word = ((word | set) & !clear).wrapping_add(add);
        }
        word
    }

    #[inline]
    fn bytes(&self, view: &View, at: Offset, into: &mut [u8]) {
        let buffers = &self.lane.buffers;
        if buffers.has_fills()
            && let Some(fill) = buffers.find_fill(at)
        {
            let from = fill.from + (at - fill.at) as usize;
            let len = into.len().min(fill.from + fill.len - from);
            into[..len].copy_from_slice(&buffers.arena[from..from + len]);
            return;
        }
        self.peek().bytes(view, at, into);
        self.check_overlay(view);
        if buffers.writes.is_empty() {
            return;
        }
        let end = at + into.len() as u64;
        for place in ((at & !7)..end).step_by(8) {
            let Some(i) = buffers.writes.find(place) else {
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

    fn limit(&self) -> Offset {
        self.segment.backed()
    }
}
