//! Reading nodes that nobody has locked: the first, cheap attempt of every read.
//!
//! A glance follows the protocol of [`Peek`](crate::access::Peek) for unlocked nodes. Whatever else
//! it meets, a lock or bytes that make no sense, is a conflict, and a peek looks into it.

use crate::access::{Access, Seen};
use crate::error::{Error, Invariant, Result};
use crate::host::Host;
use crate::lab::{Mutation, mutated};
use crate::layout::Kind;
use crate::segment::Segment;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use vasmem_memory::{Memory, Offset};

/// A reader of unlocked nodes.
pub struct Glance<'a, M, H> {
    segment: &'a Segment<M, H>,
}

/// An unlocked node as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Glimpse {
    pub(crate) node: Offset,
    pub(crate) word: u64,
}

impl Seen for Glimpse {
    #[inline(always)]
    fn node(&self) -> Offset {
        self.node
    }
}

impl<'a, M: Memory, H: Host> Glance<'a, M, H> {
    /// Reads `segment`.
    #[inline(always)]
    pub fn new(segment: &'a Segment<M, H>) -> Self {
        Glance { segment }
    }

    #[inline(always)]
    fn is_same(&self, seen: &Glimpse) -> bool {
        mutated(Mutation::NoWordRecheck)
            || self.segment.memory.load(seen.node, Acquire) == seen.word
    }
}

impl<M: Memory, H: Host> Access for Glance<'_, M, H> {
    type View = Glimpse;

    #[inline(always)]
    fn pass(&mut self, parent: Option<&Glimpse>, node: Offset, kind: Kind) -> Result<Glimpse> {
        if self.segment.node(node, kind).is_err() {
            return Err(Error::Conflict);
        }
        let word = self.segment.memory.load(node, Acquire);
        if let Some(parent) = parent
            && !mutated(Mutation::NoParentRecheck)
        {
            self.check(parent)?;
        }
        if word & 1 == 0 { Ok(Glimpse { node, word }) } else { Err(Error::Conflict) }
    }

    #[inline(always)]
    fn decide(&mut self, seen: &Glimpse) -> Result<Glimpse> {
        Ok(*seen)
    }

    #[inline(always)]
    fn navigate(&mut self, parent: Option<&Glimpse>, node: Offset, kind: Kind) -> Result<Glimpse> {
        self.pass(parent, node, kind)
    }

    #[inline(always)]
    fn word(&self, _: &Glimpse, at: Offset) -> u64 {
        self.segment.memory.load(at, Relaxed)
    }

    #[inline(always)]
    fn bytes_under(&self, _: &[Glimpse], at: Offset, into: &mut [u8]) {
        self.segment.memory.copy_out(at, into);
    }

    #[inline(always)]
    fn data(&self, _: &Glimpse, at: Offset, bytes: u64) -> Result<()> {
        self.segment.data(at, bytes).map_err(|_| Error::Conflict)
    }

    #[inline(always)]
    fn check(&self, seen: &Glimpse) -> Result<()> {
        if !mutated(Mutation::NoFenceBeforeRecheck) {
            self.segment.memory.fence(Acquire);
        }
        if self.is_same(seen) { Ok(()) } else { Err(Error::Conflict) }
    }

    #[cold]
    fn broken(&self, _: &Glimpse, _: Invariant, _: Offset) -> Error {
        Error::Conflict
    }

    #[inline(always)]
    fn prefetch(&self, at: Offset) {
        self.segment.memory.prefetch(at);
    }

    #[inline(always)]
    fn seed(&self) -> u64 {
        self.segment.geometry.seed
    }

    fn limit(&self) -> Offset {
        self.segment.backed()
    }
}
