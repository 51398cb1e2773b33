//! Reading nodes while others write: the trait that structures read through, and its lock-free,
//! registration-free implementation for readers.
//!
//! A reader never waits: a locked node is read with its owner's committed words laid over it, or as
//! it is while the owner is only prepared. `docs/design.md`, section *Readers*.

use crate::error::{Error, Invariant, Result};
use crate::host::Host;
use crate::lab::{Mutation, Point, mutated};
use crate::layout::Kind;
use crate::record::{Phase, Record, State};
use crate::segment::Segment;
use crate::version::Version;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use vasmem_memory::{Memory, Offset};

/// Looks at a locked node before its lock counts as broken: an owner that is idle, or does not list
/// it, is only ever passed through.
pub const TRIES: u32 = 10_000;

/// A node as it was seen: what its content is checked against.
pub trait Seen: Copy {
    /// The node.
    fn node(&self) -> Offset;
}

/// A node as a reader saw it.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The node.
    pub node: Offset,
    /// Its version word then.
    pub(crate) word: u64,
    /// State of its owner's record then; 0 if it was not locked.
    pub(crate) state: u64,
    /// Effective counter (E5a): the target, if the owner has committed.
    pub(crate) counter: u64,
    /// The owner's words to lay over it.
    pub(crate) words: (u32, u32),
}

impl Seen for View {
    #[inline(always)]
    fn node(&self) -> Offset {
        self.node
    }
}

impl View {
    #[inline(always)]
    pub(crate) fn plain(node: Offset, word: u64) -> View {
        View { node, word, state: 0, counter: word >> 24, words: (0, 0) }
    }

    /// Whether words of the owner's record are laid over the node.
    #[inline(always)]
    pub(crate) fn is_overlaid(&self) -> bool {
        self.words.0 != self.words.1
    }

    /// The counter that this view stands for.
    pub fn counter(&self) -> u64 {
        self.counter
    }
}

/// What structures read through: a reader, or a transaction.
pub trait Access {
    /// What it keeps of a node that it looked at.
    type View: Seen;

    /// Looks at a node whose offset was read under `parent`, which is checked after the node's
    /// version was taken and before its content is. Nothing is noted: it is for nodes that need not
    /// stay as they are, since the node that decides changes with them, and for those that may turn
    /// out to [decide](Access::decide).
    ///
    /// # Errors
    /// `Corrupted` if there is no such node, `Conflict` to run again.
    fn pass(&mut self, parent: Option<&Self::View>, node: Offset, kind: Kind)
    -> Result<Self::View>;

    /// Notes that the content of a node decides the result, absence included.
    ///
    /// # Errors
    /// `Conflict` to run again.
    fn decide(&mut self, view: &Self::View) -> Result<Self::View>;

    /// Looks at a node that only leads to the one that decides (inner node), and must stay as it
    /// is until the end.
    ///
    /// # Errors
    /// As `pass`.
    fn navigate(
        &mut self,
        parent: Option<&Self::View>,
        node: Offset,
        kind: Kind,
    ) -> Result<Self::View>;

    /// Looks at a node that decides.
    ///
    /// # Errors
    /// As `pass`.
    #[inline(always)]
    fn read(
        &mut self,
        parent: Option<&Self::View>,
        node: Offset,
        kind: Kind,
    ) -> Result<Self::View> {
        let view = self.pass(parent, node, kind)?;
        self.decide(&view)
    }

    /// The word at offset `at` of the node, or of a block that only this node points to.
    fn word(&self, view: &Self::View, at: Offset) -> u64;

    /// Bytes of a block that only this node points to; the range was checked by `data`.
    #[inline(always)]
    fn bytes(&self, view: &Self::View, at: Offset, into: &mut [u8]) {
        self.bytes_under(std::slice::from_ref(view), at, into);
    }

    /// As `bytes`, of a range that several nodes guard, each a part of it.
    fn bytes_under(&self, views: &[Self::View], at: Offset, into: &mut [u8]);

    /// All words of the node's line; the first stands for the version word and is of no use.
    #[inline(always)]
    fn line_words(&self, view: &Self::View) -> [u64; 8] {
        let mut bytes = [0; 64];
        self.bytes(view, view.node(), &mut bytes);
        let (words, _) = bytes.as_chunks::<8>();
        std::array::from_fn(|i| u64::from_le_bytes(words[i]))
    }

    /// Whether a range lies in the backed heap.
    ///
    /// # Errors
    /// `Conflict` if the view is out of date, else `Corrupted`.
    fn data(&self, view: &Self::View, at: Offset, bytes: u64) -> Result<()>;

    /// All that was read under this view so far was consistent.
    ///
    /// # Errors
    /// `Conflict` if not.
    fn check(&self, view: &Self::View) -> Result<()>;

    /// Shared bytes seen under `view` break an invariant, unless the view is out of date.
    fn broken(&self, view: &Self::View, invariant: Invariant, at: Offset) -> Error {
        match self.check(view) {
            Ok(()) => Error::corrupted(invariant, at),
            Err(error) => error,
        }
    }

    /// Asks for a line that will be needed soon.
    fn prefetch(&self, at: Offset);

    /// Seed of the key hash.
    fn seed(&self) -> u64;

    /// The end of what is backed, as far as this process knows.
    fn limit(&self) -> Offset;
}

/// A reading operation that runs over any kind of access.
pub trait Reading<T> {
    /// Runs it once.
    ///
    /// # Errors
    /// Those of the operation; `Conflict` to run again.
    fn run<A: Access>(&mut self, access: &mut A) -> Result<T>;
}

impl<T, R: Reading<T>> Reading<T> for &mut R {
    #[inline(always)]
    fn run<A: Access>(&mut self, access: &mut A) -> Result<T> {
        (**self).run(access)
    }
}

/// Lays the word that stands at `place` over bytes that stand at `at`.
pub(crate) fn lay(word: u64, place: Offset, at: Offset, into: &mut [u8]) {
    let end = at + into.len() as u64;
    if place >= end || place.saturating_add(8) <= at {
        return;
    }
    for (here, byte) in (place..).zip(word.to_le_bytes()) {
        if (at..end).contains(&here) {
            into[(here - at) as usize] = byte;
        }
    }
}

/// A reader without lane, lock or registration.
pub struct Peek<'a, M, H> {
    segment: &'a Segment<M, H>,
}

impl<'a, M: Memory, H: Host> Peek<'a, M, H> {
    /// Reads `segment`.
    #[inline]
    pub fn new(segment: &'a Segment<M, H>) -> Self {
        Peek { segment }
    }

    /// Looks at a node that needs no kind check (descriptors, extent maps).
    ///
    /// # Errors
    /// `Corrupted` if it is locked by nobody for good.
    #[inline(always)]
    pub fn line(&mut self, node: Offset) -> Result<View> {
        let word = self.segment.memory.load(node, Acquire);
        if word & 1 == 0 { Ok(View::plain(node, word)) } else { self.locked(node) }
    }

    /// A node that some lane has locked.
    #[cold]
    pub(crate) fn locked(&self, node: Offset) -> Result<View> {
        for _ in 0..TRIES {
            match self.look(node)? {
                Some(view) => return Ok(view),
                None => self.segment.memory.relax(),
            }
        }
        Err(Error::corrupted(Invariant::Lock, node))
    }

    /// One look at a node; `None` means: look again.
    fn look(&self, node: Offset) -> Result<Option<View>> {
        let segment = self.segment;
        let word = segment.memory.load(node, Acquire);
        let version = Version(word);
        if !version.is_locked(segment.incarnation()) {
            return Ok(Some(View::plain(node, word)));
        }
        if u64::from(version.lane()) >= segment.lanes_used() {
            return Err(Error::corrupted(Invariant::Lock, node));
        }
        let _ = segment.switches.hit(Point::LookedAtWord);
        let state = Record::state(&segment.memory, &segment.geometry, version.lane());
        let mut view = View { state: state.0, ..View::plain(node, word) };
        match state.phase() {
            Some(Phase::Prepared) => Ok(Some(view)),
            Some(Phase::Committed) => {
                let Ok(record) = Record::open(&segment.memory, &segment.geometry, version.lane())
                else {
                    return Ok(None);
                };
                let Some(index) = record.find(node) else {
                    return Ok(None);
                };
                let listed = record.node(index);
                view.counter = listed.target;
                let begin = record.words_begin(index);
                if begin > listed.words_end || listed.words_end > record.counts.words {
                    return Ok(None);
                }
                view.words = (begin as u32, listed.words_end as u32);
                Ok(Some(view))
            }
            _ => Ok(None),
        }
    }

    /// A word under a view.
    #[inline(always)]
    pub fn view_word(&self, view: &View, at: Offset) -> u64 {
        let word = self.segment.memory.load(at, Relaxed);
        if view.is_overlaid() { self.overlaid(view, at).unwrap_or(word) } else { word }
    }

    /// The owner's word for `at`.
    #[cold]
    fn overlaid(&self, view: &View, at: Offset) -> Option<u64> {
        let segment = self.segment;
        let lane = Version(view.word).lane();
        let record = Record::open(&segment.memory, &segment.geometry, lane).ok()?;
        let (from, to) = (u64::from(view.words.0), u64::from(view.words.1));
        let words = from..to.min(record.counts.words);
        words.map(|index| record.word(index)).find(|&(place, _)| place == at).map(|(_, word)| word)
    }

    /// Lays the owner's words, if there are any, over bytes that stand at `at`.
    #[inline(always)]
    pub(crate) fn overlay(&self, view: &View, at: Offset, into: &mut [u8]) {
        if view.is_overlaid() {
            self.overlay_words(view, at, into);
        }
    }

    #[cold]
    fn overlay_words(&self, view: &View, at: Offset, into: &mut [u8]) {
        let segment = self.segment;
        let lane = Version(view.word).lane();
        let Ok(record) = Record::open(&segment.memory, &segment.geometry, lane) else { return };
        let (from, to) = (u64::from(view.words.0), u64::from(view.words.1));
        for index in from..to.min(record.counts.words) {
            let (place, word) = record.word(index);
            lay(word, place, at, into);
        }
    }

    /// Whether all that was read under `view` was consistent.
    #[inline(always)]
    pub fn recheck(&self, view: &View) -> bool {
        let segment = self.segment;
        if !mutated(Mutation::NoFenceBeforeRecheck) {
            segment.memory.fence(Acquire);
        }
        if view.state == 0 {
            return self.is_same_word(view);
        }
        self.recheck_locked(view)
    }

    #[inline]
    fn is_same_word(&self, view: &View) -> bool {
        mutated(Mutation::NoWordRecheck)
            || self.segment.memory.load(view.node, Acquire) == view.word
    }

    /// Record first, word last: then even equal words alone would prove that no apply lay between.
    #[cold]
    fn recheck_locked(&self, view: &View) -> bool {
        let word_first = mutated(Mutation::SeqRestarts) || mutated(Mutation::SeqNotCompared);
        if word_first {
            let same = self.is_same_word(view);
            let _ = self.segment.switches.hit(Point::Rechecking);
            return same && self.is_same_state(view);
        }
        let same = self.is_same_state(view);
        let _ = self.segment.switches.hit(Point::Rechecking);
        same && self.is_same_word(view)
    }

    fn is_same_state(&self, view: &View) -> bool {
        let segment = self.segment;
        let lane = Version(view.word).lane();
        let state = Record::state(&segment.memory, &segment.geometry, lane);
        let seen = State(view.state);
        mutated(Mutation::NoRecordRecheck)
            || state == seen
            || mutated(Mutation::SeqNotCompared) && state.phase() == seen.phase()
    }
}

impl<M: Memory, H: Host> Access for Peek<'_, M, H> {
    type View = View;

    #[inline(always)]
    fn pass(&mut self, parent: Option<&View>, node: Offset, kind: Kind) -> Result<View> {
        let view = match self.segment.node(node, kind) {
            Ok(()) => self.line(node),
            Err(error) => Err(error),
        };
        match parent {
            Some(parent) if !mutated(Mutation::NoParentRecheck) && !self.recheck(parent) => {
                Err(Error::Conflict)
            }
            _ => view,
        }
    }

    #[inline(always)]
    fn decide(&mut self, view: &View) -> Result<View> {
        Ok(*view)
    }

    #[inline(always)]
    fn navigate(&mut self, parent: Option<&View>, node: Offset, kind: Kind) -> Result<View> {
        self.pass(parent, node, kind)
    }

    #[inline(always)]
    fn word(&self, view: &View, at: Offset) -> u64 {
        self.view_word(view, at)
    }

    #[inline(always)]
    fn bytes_under(&self, views: &[View], at: Offset, into: &mut [u8]) {
        self.segment.memory.copy_out(at, into);
        for view in views {
            self.overlay(view, at, into);
        }
    }

    #[inline(always)]
    fn data(&self, view: &View, at: Offset, bytes: u64) -> Result<()> {
        match self.segment.data(at, bytes) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.broken(view, Invariant::Offset, at)),
        }
    }

    #[inline(always)]
    fn check(&self, view: &View) -> Result<()> {
        if self.recheck(view) { Ok(()) } else { Err(Error::Conflict) }
    }

    #[inline(always)]
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
