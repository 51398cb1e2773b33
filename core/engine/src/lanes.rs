//! Lanes of this process: claimed once, then checked out for an operation each.
//!
//! **N1** a lane is claimed under its recovery lock, after its record was recovered; seq goes on
//! (E6). **N2** lanes of this process are never probed (E7): a table tells which they are.

use crate::buffers::{Buffers, Entry};
use crate::error::{Error, Holder, Invariant, Result};
use crate::host::{Host, Patience};
use crate::lab::{Mutation, Point, mutated};
use crate::layout::{LINE, header, lane};
use crate::record::{Phase, Record, State};
use crate::segment::Segment;
use crate::version::Version;
use std::cell::Cell;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, TryLockError};
use vasmem_memory::{Memory, Offset};

/// A lane that this process owns, with what its transactions gather.
pub struct Lane {
    /// Its number.
    pub id: u16,
    pub(crate) at: Offset,
    pub(crate) seq: u32,
    /// Which claim of the lane this is.
    pub(crate) claim: u64,
    generation: u32,
    pub(crate) buffers: Buffers,
    /// Those of transactions that wait while another one runs apart on this lane.
    pub(crate) outer: Vec<Buffers>,
    /// Entries to be listed, in list order; and where in it each entry stands.
    pub(crate) listed: Vec<Entry>,
    pub(crate) rank: Vec<u32>,
    /// The record's pairs for nodes, then those for fills, while it is drawn.
    pub(crate) image: Vec<[u64; 2]>,
    /// Heap block for records that are too large: offset and bytes.
    pub(crate) continuation: (Offset, u64),
    pub(crate) blocked_by_token: bool,
    pub(crate) token_looked: bool,
    /// Whether it has the token, and all others were seen idle.
    pub(crate) is_alone: bool,
    /// By kind: descriptor of the run where this lane allocates; 0 for none.
    pub(crate) runs: [Offset; 128],
    /// Where the last search for a run ended.
    pub(crate) run_cursor: Offset,
    /// Whether its list of deferred blocks may have any, and transactions until the next look.
    pub(crate) defers: bool,
    pub(crate) until_look: u32,
    /// Looks at pins until the next one asks whether the pinners live.
    pub(crate) until_probe: u32,
}

/// The number of a lane without a place.
const NOWHERE: u16 = u16::MAX;

impl Lane {
    /// A lane without a place in the segment, for transactions that only read.
    pub fn of_reader() -> Lane {
        Lane {
            id: NOWHERE,
            at: 0,
            seq: 0,
            claim: 0,
            generation: 0,
            buffers: Buffers::default(),
            outer: Vec::new(),
            listed: Vec::new(),
            rank: Vec::new(),
            image: Vec::new(),
            continuation: (0, 0),
            blocked_by_token: false,
            token_looked: false,
            is_alone: false,
            runs: [0; 128],
            run_cursor: 0,
            defers: false,
            until_look: 0,
            until_probe: 0,
        }
    }

    /// Whether it has no place, and so cannot commit changes.
    pub fn only_reads(&self) -> bool {
        self.id == NOWHERE
    }

    /// Forks before it was claimed.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Mutation E4: whether a foreign lock counts as void.
    #[inline]
    pub(crate) fn steals<M: Memory, H: Host>(
        &self,
        segment: &Segment<M, H>,
        version: Version,
    ) -> bool {
        mutated(Mutation::VoidSteal)
            && version.lane() != self.id
            && segment.phase_of(version.lane()) == Some(Phase::Idle)
    }
}

/// Lanes that one process may have at a time: operations beyond that wait for each other.
const SLOTS: usize = 16;
/// One lane, or none yet.
type Slot = Mutex<Option<Box<Lane>>>;

/// The lanes of this process.
#[derive(Default)]
pub struct Lanes {
    slots: [Slot; SLOTS],
    /// One bit a lane: ours.
    own: [AtomicU64; 16],
    generation: AtomicU32,
}

thread_local! {
    /// The slot that this thread used last.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// A lane in use; goes back when dropped.
pub struct CheckedOut<'a>(MutexGuard<'a, Option<Box<Lane>>>);

impl std::ops::Deref for CheckedOut<'_> {
    type Target = Lane;
    fn deref(&self) -> &Lane {
        self.0.as_ref().expect("a checked out slot has its lane")
    }
}

impl std::ops::DerefMut for CheckedOut<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Lane {
        self.0.as_mut().expect("a checked out slot has its lane")
    }
}

impl Lanes {
    /// Whether `lane` belongs to this process.
    pub fn is_own(&self, lane: u16) -> bool {
        self.own[usize::from(lane) / 64].load(Acquire) & 1 << (lane % 64) != 0
    }

    fn has_any(&self) -> bool {
        self.own.iter().any(|word| word.load(Relaxed) != 0)
    }

    fn set_own(&self, lane: u16, own: bool) {
        let (word, bit) = (&self.own[usize::from(lane) / 64], 1 << (lane % 64));
        if own {
            word.fetch_or(bit, AcqRel)
        } else {
            word.fetch_and(!bit, AcqRel)
        };
    }

    /// A forked child owns none of its parent's lanes.
    pub(crate) fn notice_fork(&self, generation: u32) {
        let known = self.generation.load(Relaxed);
        if known != generation
            && self.generation.compare_exchange(known, generation, AcqRel, Relaxed).is_ok()
        {
            self.own.iter().for_each(|word| word.store(0, Relaxed));
        }
    }

    #[inline]
    fn try_slot(&self, index: usize) -> Option<MutexGuard<'_, Option<Box<Lane>>>> {
        try_lock(&self.slots[index])
    }
}

/// A lane that no other thread has in hands; one that a forked process inherited so stays away.
#[inline]
pub(crate) fn try_lock<T>(place: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match place.try_lock() {
        Ok(guard) => Some(guard),
        // A panic of ours left the lane's buffers as they were; they are cleared before use.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// Checks out a lane for one operation.
    ///
    /// # Errors
    /// `ReadOnly`; `Timeout` and `Interrupted` while all are taken.
    #[inline]
    pub fn lane(&self, patience: &mut dyn Patience) -> Result<CheckedOut<'_>> {
        let generation = self.host()?.generation();
        let last = LAST.get();
        if let Some(guard) = self.lanes.try_slot(last)
            && guard.as_ref().is_some_and(|lane| lane.generation == generation)
        {
            return Ok(CheckedOut(guard));
        }
        self.lane_slowly(generation, patience)
    }

    #[cold]
    fn lane_slowly(&self, generation: u32, patience: &mut dyn Patience) -> Result<CheckedOut<'_>> {
        self.lanes.notice_fork(generation);
        let mut round = 0;
        loop {
            let mut holder = Holder::OwnLane;
            for index in 0..SLOTS {
                let Some(mut guard) = self.lanes.try_slot(index) else {
                    continue;
                };
                if guard.as_ref().is_none_or(|lane| lane.generation != generation) {
                    *guard = match self.claim() {
                        // No room for one more: wait until one of those there are is free.
                        Err(Error::Full { .. }) if self.lanes.has_any() => None,
                        claimed => claimed?.map(Box::new),
                    };
                }
                if guard.is_some() {
                    LAST.set(index);
                    return Ok(CheckedOut(guard));
                }
                // There is none for the next place either.
                holder = Holder::FreeLane;
                break;
            }
            patience.pause(round, holder)?;
            round += 1;
        }
    }

    /// A lane apart from the pool, for a transaction that lasts; `None` if all are taken.
    ///
    /// # Errors
    /// `ReadOnly`, or what recovering the lane's last owner finds.
    pub fn claim(&self) -> Result<Option<Lane>> {
        let host = self.host()?;
        self.lanes.notice_fork(host.generation());
        let used = self.lanes_used();
        for id in 0..self.geometry.lanes as u16 {
            if self.lanes.is_own(id) {
                continue;
            }
            if let Some(lane) = self.claim_one(host, id, u64::from(id) >= used)? {
                return Ok(Some(lane));
            }
        }
        Ok(None)
    }

    fn claim_one(&self, host: &H, id: u16, fresh: bool) -> Result<Option<Lane>> {
        // The first look only saves the lock, which costs most where many lanes are alive.
        if host.lives_elsewhere(id)? || !host.take_recovery(id)? {
            return Ok(None);
        }
        let result = self.claim_under_lock(host, id, fresh);
        if !matches!(result, Err(Error::Died)) {
            host.end_recovery(id);
        }
        result
    }

    fn claim_under_lock(&self, host: &H, id: u16, fresh: bool) -> Result<Option<Lane>> {
        if host.lives_elsewhere(id)? || self.lanes.is_own(id) {
            return Ok(None);
        }
        let _writing = self.memory.writing();
        self.switches.hit(Point::ClaimBegun)?;
        let at = self.geometry.lane(u64::from(id));
        if fresh {
            self.allocate(at, self.geometry.lane_bytes, self.geometry.lane_bytes)?;
        }
        self.use_lanes(u64::from(id) + 1);
        if !mutated(Mutation::ClaimWithoutRecovery) {
            self.repair(id)?;
        }
        let claim = self.count_claim(id);
        if !host.take_life(id)? {
            return Ok(None);
        }
        self.lanes.set_own(id, true);
        self.switches.hit(Point::Claimed)?;
        let tail = at + self.geometry.lane_bytes - lane::TAIL;
        self.memory.store(tail + lane::PID, u64::from(host.pid()), Relaxed);
        let state = Record::state(&self.memory, &self.geometry, id);
        Ok(Some(Lane {
            id,
            at,
            seq: if mutated(Mutation::SeqRestarts) { 0 } else { state.seq() },
            claim,
            generation: host.generation(),
            continuation: self.kept(id)?,
            defers: self.memory.load(self.tail(id) + lane::DEFERRED, Acquire) != 0,
            ..Lane::of_reader()
        }))
    }

    /// The continuation block that a lane keeps.
    pub(crate) fn kept(&self, id: u16) -> Result<(Offset, u64)> {
        let tail = self.tail(id);
        let at = self.memory.load(tail + lane::KEPT, Acquire);
        let bytes = self.memory.load(tail + lane::KEPT_BYTES, Acquire);
        if at != 0 && (self.data(at, bytes).is_err() || !at.is_multiple_of(LINE)) {
            return Err(Error::corrupted(Invariant::Record, tail));
        }
        Ok((at, bytes))
    }

    /// Raises the high-water mark of lanes, and makes it durable: who raised it before may have
    /// died before that.
    fn use_lanes(&self, count: u64) {
        let mut used = self.memory.load(header::LANES_USED, Acquire);
        while used < count {
            match self.memory.cas(header::LANES_USED, used, count, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        self.memory.flush(header::LANES_USED, 8);
        self.memory.drain();
    }

    /// Place of the words of a lane that are no part of its record.
    #[inline]
    pub(crate) fn tail(&self, id: u16) -> Offset {
        self.geometry.lane(u64::from(id) + 1) - lane::TAIL
    }

    /// Gives a lane back for good.
    pub fn release(&self, lane: &Lane) {
        let Ok(host) = self.host() else { return };
        if lane.only_reads() || lane.generation != host.generation() {
            return;
        }
        let tail = self.tail(lane.id);
        let _writing = self.memory.writing();
        self.memory.store(tail + lane::PID, 0, Relaxed);
        self.memory.store(tail + lane::PINNED, 0, Release);
        // In this order (E7): until its life has ended no thread of ours may claim it, or it would
        // lose the life of its new owner.
        host.end_life(lane.id);
        self.lanes.set_own(lane.id, false);
    }

    /// Gives all pooled lanes back: the end of this attachment.
    pub fn release_all(&self) {
        for index in 0..SLOTS {
            if let Some(mut guard) = self.lanes.try_slot(index)
                && let Some(lane) = guard.take()
            {
                self.release(&lane);
            }
        }
        self.release_boards();
    }

    /// Whether a thread of this process is inside an operation that writes.
    pub fn is_busy(&self) -> bool {
        (0..SLOTS).any(|index| self.lanes.try_slot(index).is_none())
    }

    /// Phase of the record of `lane`.
    pub(crate) fn phase_of(&self, lane: u16) -> Option<Phase> {
        State(Record::state(&self.memory, &self.geometry, lane).0).phase()
    }

    /// Whether the owner of `lane` lives; `None` where that cannot be told, read-only.
    ///
    /// # Errors
    /// `Os`.
    pub fn owner_lives(&self, lane: u16) -> Result<Option<bool>> {
        let Some(host) = &self.host else { return Ok(None) };
        Ok(Some(self.lanes.is_own(lane) || host.lives_elsewhere(lane)?))
    }

    /// pid of the owner of `lane` as it told when it claimed it; 0 for none.
    pub fn owner_pid(&self, lane: u16) -> u32 {
        let tail = self.tail(lane);
        self.memory.load(tail + lane::PID, Relaxed) as u32
    }
}
