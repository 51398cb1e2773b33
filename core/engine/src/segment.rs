//! An attached segment: memory, geometry, and what this process knows about them.

use crate::access::{Peek, Reading};
use crate::error::{Error, Holder, Invariant, Result};
use crate::glance::Glance;
use crate::host::{Host, Patience};
use crate::lab::Switches;
use crate::lanes::Lanes;
use crate::layout::{GRANULE, Geometry, Kind, LINE, Meta, descriptor, header};
use crate::pins::Pins;
use std::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use vasmem_memory::{Memory, Offset};

/// A segment as one process sees it.
pub struct Segment<M, H> {
    /// Its bytes.
    pub memory: M,
    /// The operating system's part; `None` when attached for reading only.
    pub host: Option<H>,
    /// Places that were fixed when it was made.
    pub geometry: Geometry,
    /// Lanes that this process owns.
    pub lanes: Lanes,
    /// Blocks that this process has pinned.
    pub(crate) pins: Pins,
    /// Whether the medium is durable only where it was synced, and a mark tells where.
    pub marked: bool,
    /// Whether a granule may be taken for what it is said to be where its own descriptor is silent.
    pub(crate) lenient: bool,
    /// Failpoints (lab build).
    pub switches: Switches,
    /// Node kinds by granule, as far as this process looked: right forever (L3).
    kinds: Box<[AtomicU8]>,
    incarnation: AtomicU64,
    /// Where the last search for free granules ended.
    pub(crate) extent_hint: AtomicU64,
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// Attaches to memory whose header was checked by [`crate::format::open`].
    pub fn new(memory: M, host: Option<H>, geometry: Geometry) -> Segment<M, H> {
        let granules = geometry.size_limit.div_ceil(GRANULE) as usize;
        let incarnation = memory.load(header::INCARNATION, Acquire);
        Segment {
            memory,
            host,
            lanes: Lanes::default(),
            pins: Pins::default(),
            marked: false,
            lenient: false,
            switches: Switches::default(),
            kinds: zeroed(granules),
            incarnation: AtomicU64::new(incarnation),
            extent_hint: AtomicU64::new(0),
            geometry,
        }
    }

    /// The incarnation of this attachment.
    #[inline]
    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(Relaxed)
    }

    pub(crate) fn set_incarnation(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Relaxed);
    }

    /// The operating system's part.
    ///
    /// # Errors
    /// `ReadOnly` without one.
    #[inline]
    pub fn host(&self) -> Result<&H> {
        self.host.as_ref().ok_or(Error::ReadOnly)
    }

    /// Checks an offset that came from the segment: `bytes` from `at` lie in the backed heap.
    ///
    /// # Errors
    /// `Corrupted` with invariant `Offset`.
    #[inline(always)]
    pub fn data(&self, at: Offset, bytes: u64) -> Result<()> {
        if at >= self.geometry.heap_at
            && at.is_multiple_of(8)
            && at.checked_add(bytes).is_some_and(|end| self.is_backed(end))
        {
            Ok(())
        } else {
            Err(Error::corrupted(Invariant::Offset, at))
        }
    }

    /// Checks a node offset that came from the segment: aligned, backed and of the right kind.
    ///
    /// # Errors
    /// `Corrupted` with invariant `Offset` or `Kind`.
    #[inline(always)]
    pub fn node(&self, at: Offset, kind: Kind) -> Result<()> {
        if let Some(known) = self.kinds.get((at / GRANULE) as usize)
            && known.load(Relaxed) == kind.0
            && at.is_multiple_of(kind.node_bytes())
        {
            return Ok(());
        }
        self.learn_kind(at, kind)
    }

    #[cold]
    fn learn_kind(&self, at: Offset, kind: Kind) -> Result<()> {
        let aligned = at.is_multiple_of(kind.node_bytes());
        if !aligned || !self.geometry.in_heap(at) || !self.is_backed(at + LINE) {
            return Err(Error::corrupted(Invariant::Offset, at));
        }
        let found = self.kind_at(at);
        if found.is_node()
            && let Some(known) = self.kinds.get((at / GRANULE) as usize)
        {
            known.store(found.0, Relaxed);
        }
        let fits = found == kind || self.lenient && found == Kind::FREE;
        if fits { Ok(()) } else { Err(Error::corrupted(Invariant::Kind, at)) }
    }

    /// Kind of the granule that holds `at`, as its descriptor says now, a committed but not yet
    /// applied change included.
    pub fn kind_at(&self, at: Offset) -> Kind {
        let place = self.geometry.place(at);
        let mut peek = Peek::new(self);
        for _ in 0..crate::access::TRIES {
            // Locked by nobody for good: what looked so often need not be asked again.
            let Ok(view) = peek.line(place.descriptor) else { break };
            let meta = Meta(peek.view_word(&view, place.descriptor + descriptor::META));
            if peek.recheck(&view) {
                return meta.kind();
            }
        }
        Kind::FREE
    }

    /// Whether all bytes before `end` are backed. Looks at the header when its own knowledge does
    /// not reach, and believes it only as far as the file goes.
    #[inline(always)]
    pub fn is_backed(&self, end: Offset) -> bool {
        end <= self.memory.limit() || self.refresh_limit(end)
    }

    #[cold]
    fn refresh_limit(&self, end: Offset) -> bool {
        let backed = self.memory.load(header::BACKED, Acquire).min(self.geometry.size_limit);
        self.memory.raise_limit(backed);
        end <= self.memory.limit()
    }

    /// End of the backed part, fresh from the header.
    pub fn backed(&self) -> Offset {
        self.refresh_limit(u64::MAX);
        self.memory.limit()
    }

    /// Lanes that were ever claimed, within what the geometry allows.
    #[inline]
    pub fn lanes_used(&self) -> u64 {
        self.memory.load(header::LANES_USED, Acquire).min(self.geometry.lanes)
    }

    /// Runs `reading` once, at a glance.
    ///
    /// # Errors
    /// Those of `reading`; `Conflict` where a closer look is needed.
    #[inline(always)]
    pub fn glance<T>(&self, reading: &mut impl Reading<T>) -> Result<T> {
        reading.run(&mut Glance::new(self))
    }

    /// Runs `reading` until its view was consistent, first at a glance. As [`Segment::read`].
    ///
    /// # Errors
    /// Those of `reading`; `Conflict` never leaves.
    #[inline(always)]
    pub fn consult<T>(
        &self,
        patience: &mut dyn Patience,
        reading: &mut impl Reading<T>,
    ) -> Result<T> {
        match self.glance(reading) {
            Err(Error::Conflict) => self.consult_closely(patience, reading),
            done => done,
        }
    }

    #[cold]
    fn consult_closely<T>(
        &self,
        patience: &mut dyn Patience,
        reading: &mut impl Reading<T>,
    ) -> Result<T> {
        self.read(patience, |peek| reading.run(peek))
    }

    /// Runs `body` over a consistent view again and again until nobody was in between. Takes no
    /// lock, writes nothing, waits for nobody.
    ///
    /// # Errors
    /// Those of `body`; `Conflict` never leaves.
    #[inline]
    pub fn read<T>(
        &self,
        patience: &mut dyn Patience,
        mut body: impl FnMut(&mut Peek<'_, M, H>) -> Result<T>,
    ) -> Result<T> {
        let mut round = 0;
        loop {
            match body(&mut Peek::new(self)) {
                Err(Error::Conflict) => {
                    patience.pause(round, Holder::Conflicts)?;
                    round += 1;
                }
                done => return done,
            }
        }
    }
}

/// A table of zeroes that costs address space only until it is used; empty where there is not that
/// much.
fn zeroed(len: usize) -> Box<[AtomicU8]> {
    bytemuck::try_zeroed_slice_box(len).unwrap_or_default()
}
