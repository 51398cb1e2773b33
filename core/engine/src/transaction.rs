//! A transaction: what it read and what it is going to write, all in the memory of this process.
//! Nothing of it is shared before [`Transaction::commit`] (in `commit.rs`).
//!
//! **T1** every node that decides the result is locked by the commit, those only read too (E1).
//! **T2** a block freed here is not allocated here again. **T3** fresh space is filled under the
//! lock of its run, and nodes in it under their own lock (E2, E3).

use crate::access::{Access, Peek, Seen, View};
use crate::buffers::{Commute, Fill, Source, mode};
use crate::error::{Error, Invariant, Result};
use crate::glance::{Glance, Glimpse};
use crate::host::{Host, Patience};
use crate::lab::{Mutation, mutated};
use crate::lanes::Lane;
use crate::layout::{Kind, LINE};
use crate::segment::Segment;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use vasmem_memory::{Memory, Offset};

/// One attempt at a transaction.
pub struct Transaction<'a, M, H> {
    /// The segment.
    pub segment: &'a Segment<M, H>,
    pub(crate) lane: &'a mut Lane,
    pub(crate) patience: &'a mut dyn Patience,
}

/// A node as a transaction saw it.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    /// The node.
    pub node: Offset,
    /// Its version word then.
    word: u64,
    /// Number of its entry, or `FRESH`, or `PASSED`.
    entry: u32,
}

impl Seen for Touched {
    #[inline(always)]
    fn node(&self) -> Offset {
        self.node
    }
}

impl From<Glimpse> for Touched {
    /// A node that was passed.
    #[inline(always)]
    fn from(Glimpse { node, word }: Glimpse) -> Touched {
        Touched { node, word, entry: PASSED }
    }
}

/// The `entry` of a node that this transaction makes.
const FRESH: u32 = u32::MAX;
/// The `entry` of a node that was passed.
const PASSED: u32 = u32::MAX - 1;

impl<'a, M: Memory, H: Host> Transaction<'a, M, H> {
    /// Goes on with what `lane` has gathered so far.
    pub fn resume(
        segment: &'a Segment<M, H>,
        lane: &'a mut Lane,
        patience: &'a mut dyn Patience,
    ) -> Self {
        Transaction { segment, lane, patience }
    }

    /// Content of fresh space: as much as there is from `at` on, at most as much as is asked for.
    fn filled(&self, fill: &Fill, at: Offset, into: &mut [u8]) -> usize {
        let skip = (at - fill.at) as usize;
        let len = into.len().min(fill.len - skip);
        let into = &mut into[..len];
        match fill.source {
            Source::Arena(from) => {
                into.copy_from_slice(&self.lane.buffers.arena[from + skip..from + skip + len]);
            }
            Source::Zeros => into.fill(0),
            Source::Copy(from) => self.segment.memory.copy_out(from + skip as u64, into),
        }
        len
    }

    /// Bytes of which some may be content of fresh space.
    fn pieces(&self, views: &[Touched], at: Offset, into: &mut [u8]) {
        let buffers = &self.lane.buffers;
        let mut done = 0;
        while done < into.len() {
            let (here, rest) = (at + done as u64, &mut into[done..]);
            done += match buffers.find_fill(here) {
                Some(fill) => self.filled(fill, here, rest),
                None => {
                    let len = buffers.until_fill(here, rest.len());
                    self.written(views, here, &mut rest[..len]);
                    len
                }
            };
        }
    }

    /// Bytes of the segment as this transaction is going to leave them.
    #[inline]
    fn written(&self, views: &[Touched], at: Offset, into: &mut [u8]) {
        self.published(views, at, into);
        self.lane.buffers.writes.lay_over(at, into);
    }

    /// Bytes of the segment as all others see them.
    #[inline]
    fn published(&self, views: &[Touched], at: Offset, into: &mut [u8]) {
        self.segment.memory.copy_out(at, into);
        for view in views.iter().filter_map(|view| self.close_view(view)) {
            self.peek().overlay(view, at, into);
            self.check_overlay(view);
        }
    }

    #[inline(always)]
    fn peek(&self) -> Peek<'a, M, H> {
        Peek::new(self.segment)
    }

    #[inline(always)]
    fn see(&mut self, parent: Option<&Touched>, node: Offset, kind: Kind) -> Result<Touched> {
        if self.makes(node) {
            return Ok(Touched { node, word: 0, entry: FRESH });
        }
        let segment = self.segment;
        let found = segment.node(node, kind);
        let word = if found.is_ok() { segment.memory.load(node, Acquire) } else { 1 };
        if word & 1 != 0 {
            return self.see_locked(parent, node, kind);
        }
        if let Some(parent) = parent
            && !mutated(Mutation::NoParentRecheck)
        {
            self.check(parent)?;
        }
        Ok(Touched { node, word, entry: PASSED })
    }

    /// As `see`, of a node that is locked, or not one at all. It is noted, since its view is kept
    /// with its entry.
    #[cold]
    fn see_locked(
        &mut self,
        parent: Option<&Touched>,
        node: Offset,
        kind: Kind,
    ) -> Result<Touched> {
        let view = self.peek().navigate(None, node, kind);
        if let Some(parent) = parent
            && !mutated(Mutation::NoParentRecheck)
        {
            self.check(parent)?;
        }
        let view = view?;
        let touched = self.note(node, view.word, view.counter, 0)?;
        if view.state != 0 {
            self.keep_closely(&touched, view);
        }
        Ok(touched)
    }

    #[cold]
    fn keep_closely(&mut self, touched: &Touched, view: View) {
        let buffers = &mut self.lane.buffers;
        buffers.entries[touched.entry as usize].mode |= mode::CLOSELY;
        buffers.keep_view(view);
    }

    /// Notes a node with the counter that its view stands for.
    #[inline(always)]
    fn note(&mut self, node: Offset, word: u64, counter: u64, mode: u8) -> Result<Touched> {
        let buffers = &mut self.lane.buffers;
        let number = buffers.entry(node, 0);
        let entry = &mut buffers.entries[number as usize];
        if entry.mode & mode::SEEN != 0 && entry.counter != counter {
            return Err(Error::Conflict);
        }
        entry.counter = counter;
        entry.mode |= mode | mode::SEEN;
        Ok(Touched { node, word, entry: number })
    }

    #[inline(always)]
    fn note_as(&mut self, touched: &Touched, mode: u8) -> Result<Touched> {
        match touched.entry {
            FRESH => {}
            PASSED => return self.note(touched.node, touched.word, touched.word >> 24, mode),
            entry => self.lane.buffers.entries[entry as usize].mode |= mode,
        }
        Ok(*touched)
    }

    /// What is known of a node that was locked when it was seen.
    #[inline(always)]
    fn close_view(&self, touched: &Touched) -> Option<&View> {
        let buffers = &self.lane.buffers;
        if touched.entry >= PASSED
            || buffers.entries[touched.entry as usize].mode & mode::CLOSELY == 0
        {
            return None;
        }
        buffers.find_view(touched.node).filter(|view| view.word == touched.word)
    }

    /// A cheap way to search while nothing was written that a search could meet; what it finds to
    /// decide is noted afterwards.
    #[inline(always)]
    pub fn glance(&self) -> Option<Glance<'a, M, H>> {
        let buffers = &self.lane.buffers;
        let blank = buffers.writes.is_empty() && !buffers.has_fills();
        blank.then(|| Glance::new(self.segment))
    }

    /// Looks at a descriptor, whose place was computed and needs no check.
    pub(crate) fn see_line(&mut self, node: Offset, mode: u8) -> Result<Touched> {
        let view = self.peek().line(node)?;
        let touched = self.note(node, view.word, view.counter, mode)?;
        if view.state != 0 {
            self.keep_closely(&touched, view);
        }
        Ok(touched)
    }

    /// Validation compares counters, which cannot tell whether an overlay was still the one of
    /// `view` when it was read: the owner unlocks at the very counter that the view stands for.
    #[cold]
    fn check_overlay(&self, view: &View) {
        if view.is_overlaid() && !self.peek().recheck(view) {
            self.lane.buffers.stale.set(true);
        }
    }

    #[cold]
    fn check_counter(&self, view: &Touched) -> Result<()> {
        let seen = self.close_view(view).map_or(view.word >> 24, View::counter);
        let now = self.peek().line(view.node)?;
        if now.counter() == seen { Ok(()) } else { Err(Error::Conflict) }
    }

    /// Whether this transaction makes the node at `at`.
    #[inline(always)]
    fn makes(&self, at: Offset) -> bool {
        let buffers = &self.lane.buffers;
        buffers.has_fills() && buffers.find_fill(at).is_some_and(|fill| fill.node_bytes != 0)
    }

    /// Writes a word of the node, or of a block that only this node points to.
    pub fn write(&mut self, view: &Touched, at: Offset, value: u64) {
        let buffers = &mut self.lane.buffers;
        buffers.changes += 1;
        let memory = &self.segment.memory;
        if buffers.has_fills()
            && let Some(from) = buffers.arena_place(at, |at, into| memory.copy_out(at, into))
        {
            buffers.arena[from..from + 8].copy_from_slice(&value.to_le_bytes());
            return;
        }
        debug_assert!(view.entry < PASSED, "a node is noted before it is written");
        buffers.entries[view.entry as usize].mode |= mode::WRITE;
        buffers.writes.put(view.entry, at, value);
    }

    /// Overwrites a part of a block that only this node points to, from the 8-aligned `at` on, with
    /// `lead` (fewer than 8 bytes) and `bytes`, and with zeros to the end of the last word.
    pub fn overwrite(&mut self, view: &Touched, at: Offset, lead: &[u8], bytes: &[u8]) {
        if lead.len() + bytes.len() == 0 {
            return;
        }
        let mut first = [0; 8];
        first[..lead.len()].copy_from_slice(lead);
        let (head, rest) = bytes.split_at(bytes.len().min(8 - lead.len()));
        first[lead.len()..lead.len() + head.len()].copy_from_slice(head);
        let (words, tail) = rest.as_chunks::<8>();
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        let last = (!tail.is_empty()).then_some(&last);
        // A block is overwritten from the same place on each time, so the first word tells.
        let buffers = &self.lane.buffers;
        if buffers.find_fill(at).is_none() && buffers.writes.find(at).is_none() {
            let buffers = &mut self.lane.buffers;
            buffers.changes += 1;
            buffers.entries[view.entry as usize].mode |= mode::WRITE;
            return buffers.writes.push_run(view.entry, at, &first, words, last);
        }
        for (i, word) in std::iter::once(&first).chain(words).chain(last).enumerate() {
            self.write(view, at + i as u64 * 8, u64::from_le_bytes(*word));
        }
    }

    /// Frees the node itself, from which nothing leads anywhere any more (E2: its counter moves).
    /// Its space is freed with the block that holds it.
    pub fn free_node(&mut self, view: &Touched) {
        debug_assert!(view.entry != PASSED, "a node is noted before it is freed");
        if view.entry != FRESH {
            self.lane.buffers.entries[view.entry as usize].mode |= mode::FREE;
        }
    }

    /// Adds to a count in a node, without reading it.
    ///
    /// # Errors
    /// `Corrupted` if there is no such node.
    pub fn add(&mut self, node: Offset, kind: Kind, at: Offset, by: u64) -> Result<()> {
        if self.makes(node) {
            let view = self.navigate(None, node, kind)?;
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
        self.lane.buffers.put_fill(at, 0, |arena| {
            parts.iter().for_each(|part| arena.extend_from_slice(part));
        });
    }

    /// Gives zeros to a fresh block, or to a part of it.
    pub fn fill_zeros(&mut self, at: Offset, bytes: u64) {
        self.fill_from(Source::Zeros, at, bytes, true);
    }

    /// Gives a fresh block, or a part of it, what stands elsewhere in the segment under a node that
    /// was read decidingly, and that [stands still](Transaction::stands_still).
    pub fn fill_copy(&mut self, at: Offset, from: Offset, bytes: u64) {
        self.fill_from(Source::Copy(from), at, bytes, true);
    }

    /// Gives content to space in a block that is not fresh, which no reader looks at before a word
    /// of this transaction says so.
    pub fn fill_behind(&mut self, at: Offset, bytes: &[u8]) {
        let from = self.lane.buffers.arena.len();
        self.lane.buffers.arena.extend_from_slice(bytes);
        self.lane.buffers.arena.resize(from + bytes.len().next_multiple_of(8), 0);
        self.fill_from(Source::Arena(from), at, bytes.len() as u64, false);
    }

    /// As `fill_behind`, with zeros.
    pub fn fill_zeros_behind(&mut self, at: Offset, bytes: u64) {
        self.fill_from(Source::Zeros, at, bytes, false);
    }

    fn fill_from(&mut self, source: Source, at: Offset, bytes: u64, begins: bool) {
        if bytes != 0 {
            let fill = Fill { at, source, len: bytes as usize, begins, node_bytes: 0 };
            self.lane.buffers.push_fill(fill);
        }
    }

    /// Whether memory has what this transaction sees of `bytes` bytes from `at`, which `views`
    /// guard: nobody was about to change them, itself included.
    pub fn stands_still(&self, views: &[Touched], at: Offset, bytes: u64) -> bool {
        views.iter().all(|view| self.close_view(view).is_none())
            && !self.lane.buffers.changes_between(at, at + bytes)
    }

    /// Whether this transaction writes or fills anything between `at` and `end`.
    pub fn changes_between(&self, at: Offset, end: Offset) -> bool {
        self.lane.buffers.changes_between(at, end)
    }

    /// What a word that this transaction is going to change is for all others.
    pub fn replaced(&self, view: &Touched, at: Offset) -> Option<u64> {
        self.lane.buffers.writes.find(at)?;
        let mut word = [0; 8];
        self.published(std::slice::from_ref(view), at, &mut word);
        Some(u64::from_le_bytes(word))
    }

    /// Moves the counter of a node that was noted, and of which no word changes.
    pub fn touch(&mut self, view: &Touched) {
        if view.entry < PASSED {
            self.lane.buffers.entries[view.entry as usize].mode |= mode::WRITE;
            self.lane.buffers.changes += 1;
        }
    }

    /// Writes whole words from `at` on, behind the node `view`; `anew` says that this transaction
    /// writes none of them yet.
    pub fn write_words(&mut self, view: &Touched, at: Offset, bytes: &[u8], anew: bool) {
        let (words, _) = bytes.as_chunks::<8>();
        if let (true, Some((first, rest))) = (anew, words.split_first()) {
            let buffers = &mut self.lane.buffers;
            buffers.changes += 1;
            buffers.entries[view.entry as usize].mode |= mode::WRITE;
            return buffers.writes.push_run(view.entry, at, first, rest, None);
        }
        for (word, at) in words.iter().zip((at..).step_by(8)) {
            self.write(view, at, u64::from_le_bytes(*word));
        }
    }

    /// Gives content to a fresh block of nodes. `words` are whole lines; the first word of each
    /// stands for the version word and is ignored.
    pub fn fill_nodes(&mut self, at: Offset, words: &[u64]) {
        self.fill_nodes_of(at, words, LINE);
    }

    /// As `fill_nodes`, of a block that is one node.
    pub fn fill_node(&mut self, at: Offset, words: &[u64]) {
        self.fill_nodes_of(at, words, words.len() as u64 * 8);
    }

    /// As `fill_nodes`, of nodes of `node_bytes` each.
    pub fn fill_nodes_of(&mut self, at: Offset, words: &[u64], node_bytes: u64) {
        self.lane.buffers.put_fill(at, node_bytes, |arena| {
            arena.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        });
        if !mutated(Mutation::FillUnlockedParentFirst)
            && !mutated(Mutation::FreeWithoutBumpFillUnlocked)
        {
            for node in (at..at + words.len() as u64 * 8).step_by(node_bytes as usize) {
                self.lane.buffers.entry(node, mode::FRESH);
            }
        }
    }

    /// Whether the block at `at` was allocated by this transaction.
    #[inline]
    pub fn is_fresh(&self, at: Offset) -> bool {
        let buffers = &self.lane.buffers;
        buffers.has_fills() && buffers.find_fill(at).is_some_and(|fill| fill.begins)
    }

    /// Number of the lane that this transaction runs on.
    pub fn lane_id(&self) -> u16 {
        self.lane.id
    }

    /// Whether anything is going to change.
    pub fn writes_anything(&self) -> bool {
        self.lane.buffers.entries.iter().any(|entry| entry.mode & mode::CHANGES != 0)
    }

    /// The counter at which a node that was noted was seen.
    pub fn counter(&self, seen: &Touched) -> u64 {
        self.lane.buffers.entries.get(seen.entry as usize).map_or(0, |entry| entry.counter)
    }

    /// Forgets all that was gathered.
    pub fn reset(&mut self) {
        self.lane.buffers.clear();
    }
}

impl<M: Memory, H: Host> Access for Transaction<'_, M, H> {
    type View = Touched;

    #[inline]
    fn pass(&mut self, parent: Option<&Touched>, node: Offset, kind: Kind) -> Result<Touched> {
        self.see(parent, node, kind)
    }

    #[inline]
    fn decide(&mut self, view: &Touched) -> Result<Touched> {
        self.note_as(view, mode::READ)
    }

    fn navigate(&mut self, parent: Option<&Touched>, node: Offset, kind: Kind) -> Result<Touched> {
        let view = self.see(parent, node, kind)?;
        self.note_as(&view, 0)
    }

    #[inline]
    fn word(&self, view: &Touched, at: Offset) -> u64 {
        let buffers = &self.lane.buffers;
        if let Some(i) = buffers.writes.find(at) {
            return buffers.writes.value(i);
        }
        if buffers.has_fills()
            && let Some(fill) = buffers.find_fill(at)
        {
            let mut bytes = [0; 8];
            self.filled(fill, at, &mut bytes);
            return u64::from_le_bytes(bytes);
        }
        let mut word = match self.close_view(view) {
            None => self.segment.memory.load(at, Relaxed),
            Some(view) => {
                let word = self.peek().view_word(view, at);
                self.check_overlay(view);
                word
            }
        };
        if view.entry < PASSED
            && buffers.entries[view.entry as usize].mode & mode::COMMUTE != 0
            && let Some(i) = buffers.commutes.find(at)
        {
            let Commute { set, clear, add, .. } = buffers.commutes[i];
            word = ((word | set) & !clear).wrapping_add(add);
        }
        word
    }

    #[inline]
    fn bytes_under(&self, views: &[Touched], at: Offset, into: &mut [u8]) {
        if self.lane.buffers.has_fills() {
            self.pieces(views, at, into);
        } else {
            self.written(views, at, into);
        }
    }

    #[inline]
    fn data(&self, view: &Touched, at: Offset, bytes: u64) -> Result<()> {
        match self.segment.data(at, bytes) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.broken(view, Invariant::Offset, at)),
        }
    }

    #[inline]
    fn check(&self, view: &Touched) -> Result<()> {
        if view.entry == FRESH {
            return Ok(());
        }
        let done = match self.close_view(view) {
            None => self.peek().check(&View::plain(view.node, view.word)),
            Some(view) => self.peek().check(view),
        };
        // Whoever comes to lock the node before it sees the token does not change it (W2).
        match done {
            Err(Error::Conflict) if self.lane.is_alone => self.check_counter(view),
            done => done,
        }
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
