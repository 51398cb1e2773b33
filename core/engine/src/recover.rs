//! Recovery of lanes: after the death of their owner, and after a power failure.
//!
//! **K1** recovery lock first, then a look whether the owner is dead, then anything else (E6).
//! **K2** only nodes behind their target are touched. **K3** idempotent: it may die anywhere and be
//! repeated by anyone. After a power failure a good sum alone decides (power study, R1 to R8).

use crate::commit::SUMMED_BYTES_MAX;
use crate::error::{Error, Invariant, Result};
use crate::host::Host;
use crate::lab::{Mutation, Point, mutated};
use crate::layout::{GRANULE, LINE, header, lane};
use crate::record::{Counts, FENCED, Listed, Phase, Record, State, flag, sum_bytes, sum_words};
use crate::segment::Segment;
use crate::version::{COUNTER_MAX, Version};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use vasmem_memory::{Memory, Offset};

/// First link of a record's sum: all but the phase.
pub(crate) fn sum_begin(state: State, lane: u16, counts: Counts) -> u64 {
    sum_words(0x5651_534d, &[state.0 & !3, u64::from(lane), counts.pack()])
}

/// Whether a counter has not reached its target yet; counters wrap.
fn behind(counter: u64, target: u64) -> bool {
    let distance = target.wrapping_sub(counter) & COUNTER_MAX;
    distance != 0 && distance <= COUNTER_MAX / 2
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// Recovers `lane` if its owner is dead; returns whether it was.
    ///
    /// # Errors
    /// `Corrupted` if its record cannot be one.
    #[cold]
    pub fn recover_dead(&self, lane: u16) -> Result<bool> {
        let host = self.host()?;
        if self.lanes.is_own(lane) {
            return Ok(false);
        }
        if mutated(Mutation::DeathNotLookedAtAgain) && host.lives_elsewhere(lane)? {
            return Ok(false);
        }
        if mutated(Mutation::RecoveryWithoutLock) {
            return match host.lives_elsewhere(lane)? {
                true => Ok(false),
                false => self.repair(lane).map(|()| true),
            };
        }
        if !host.take_recovery(lane)? {
            return Ok(false);
        }
        let result = self.recover_under_lock(host, lane);
        if !matches!(result, Err(Error::Died)) {
            host.end_recovery(lane);
        }
        result
    }

    fn recover_under_lock(&self, host: &H, lane: u16) -> Result<bool> {
        let looked = mutated(Mutation::DeathNotLookedAtAgain);
        if !looked && (host.lives_elsewhere(lane)? || self.lanes.is_own(lane)) {
            return Ok(false);
        }
        self.repair(lane)?;
        Ok(true)
    }

    /// Brings the record of a dead lane to its end. The caller holds its recovery lock.
    pub(crate) fn repair(&self, lane: u16) -> Result<()> {
        let _writing = self.memory.writing();
        self.switches.hit(Point::RecoveryBegun)?;
        let state = Record::state(&self.memory, &self.geometry, lane);
        let idle = state.in_phase(Phase::Idle);
        if mutated(Mutation::RecoveryIdleFirst) {
            self.set_state(lane, idle);
            self.switches.hit(Point::RecoveryIdle)?;
        }
        match state.phase() {
            Some(Phase::Idle) => {}
            Some(Phase::Prepared) if self.is_decided(lane, state)? => {
                self.set_state(lane, state.in_phase(Phase::Committed));
                // As in step 5: no reader may find an applied word while it still sees PREPARED.
                self.memory.fence(Release);
                self.roll_forward(lane)?;
            }
            Some(Phase::Prepared) => self.roll_back(lane)?,
            Some(Phase::Committed) => self.roll_forward(lane)?,
            None => return Err(Error::corrupted(Invariant::Record, self.lane_at(lane))),
        }
        // Not flushed, as in a commit: one that was undone never had its sum, and of one that was
        // redone the targets are durable.
        self.set_state(lane, idle);
        self.switches.hit(Point::RecoveryIdle)?;
        let token = self.memory.load(header::TOKEN, Acquire);
        let names_it = token == u64::from(lane) + 1;
        if names_it && mutated(Mutation::DeadHolderNotRecovered) {
            return Ok(());
        }
        if names_it || token != 0 && mutated(Mutation::TokenClearedBlindly) {
            self.memory.store(header::TOKEN, 0, Release);
        }
        let tail = self.tail(lane);
        self.memory.store(tail + lane::PID, 0, Relaxed);
        self.memory.store(tail + lane::PINNED, 0, Release);
        Ok(())
    }

    fn lane_at(&self, lane: u16) -> Offset {
        self.geometry.lane(u64::from(lane))
    }

    fn set_state(&self, lane: u16, state: State) {
        self.memory.store(self.lane_at(lane) + lane::STATE, state.0, Release);
    }

    #[track_caller]
    fn persist(&self, at: Offset, bytes: u64) {
        if self.memory.needs_flush() {
            self.memory.flush(at, bytes);
        }
    }

    /// R6: on a medium that needs flushes a prepared record with a good sum may be durable, and is
    /// committed. Makes it durable for sure: a dead thread's flushes count for nothing.
    fn is_decided(&self, lane: u16, state: State) -> Result<bool> {
        if !self.memory.needs_flush() || mutated(Mutation::GoodSumRolledBack) {
            return Ok(false);
        }
        let Ok(record) = Record::open(&self.memory, &self.geometry, lane) else {
            return Ok(false);
        };
        if !self.has_good_sum(&record, lane, state) {
            return Ok(false);
        }
        for index in 0..record.counts.fills {
            let (at, len) = record.fill(index);
            self.memory.flush(at, len & !FENCED);
        }
        for (at, bytes) in record.extents() {
            self.memory.flush(at, bytes);
        }
        self.memory.drain();
        Ok(true)
    }

    /// Whether the sum fits the record and its unpublished bytes.
    pub(crate) fn has_good_sum(&self, record: &Record<'_, M>, lane: u16, state: State) -> bool {
        let mut bytes = Vec::with_capacity(record.counts.entry_words() as usize * 8);
        for word in record.entry_words() {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let mut sum = sum_begin(state, lane, record.counts);
        let (nodes, rest) = bytes.split_at(bytes.len().min(record.counts.nodes as usize * 16));
        let (words, fills) = rest.split_at(rest.len().min(record.counts.words as usize * 16));
        for pairs in [nodes, words, fills] {
            sum = sum_bytes(sum, pairs);
        }
        let mut left = SUMMED_BYTES_MAX as u64;
        for index in 0..record.counts.fills {
            let (at, len) = record.fill(index);
            if self.data(at, len & !FENCED).is_err() {
                return false;
            }
            if len & FENCED == 0 {
                if len > left {
                    return false;
                }
                left -= len;
                if mutated(Mutation::SumWithoutFills) {
                    continue;
                }
                bytes.resize(len as usize, 0);
                self.memory.copy_out(at, &mut bytes);
                sum = sum_bytes(sum, &bytes);
            }
        }
        let stored = self.memory.load(self.lane_at(lane) + lane::SUM, Relaxed);
        sum == stored || mutated(Mutation::SumIgnored)
    }

    /// Nodes of the record, checked: in order, aligned, backed, and really nodes.
    fn listed(&self, record: &Record<'_, M>, lane: u16) -> Result<Vec<Listed>> {
        let broken = || Error::corrupted(Invariant::Record, self.lane_at(lane));
        let mut nodes = Vec::with_capacity(record.counts.nodes as usize);
        let mut last = 0;
        for index in 0..record.counts.nodes {
            let listed = record.node(index);
            let sorted = listed.node > last || mutated(Mutation::LocksOutOfOrder);
            if !sorted || !self.is_node(listed.node) {
                return Err(broken());
            }
            last = listed.node;
            nodes.push(listed);
        }
        Ok(nodes)
    }

    /// Whether a version word can stand here: in a region table, or in a node extent.
    fn is_node(&self, at: Offset) -> bool {
        if !self.geometry.in_heap(at) || !self.is_backed(at + LINE) {
            return false;
        }
        if at < self.geometry.region_of(at).data_at() {
            return true;
        }
        let kind = self.kind_at(at);
        kind.is_node() && at.is_multiple_of(kind.node_bytes())
    }

    /// Undecided: the locks go, the counters stay.
    fn roll_back(&self, lane: u16) -> Result<()> {
        let record = Record::open(&self.memory, &self.geometry, lane)?;
        for listed in self.listed(&record, lane)? {
            let version = Version(self.memory.load(listed.node, Acquire));
            if version.is_locked_by(lane, self.incarnation()) {
                let unlocked = Version::unlocked(version.counter());
                self.memory.store(listed.node, unlocked.0, Release);
                self.switches.hit(Point::RecoveryUnlocked)?;
            }
        }
        Ok(())
    }

    /// Decided: every node that is behind its target gets its words, then its target.
    fn roll_forward(&self, lane: u16) -> Result<()> {
        let record = Record::open(&self.memory, &self.geometry, lane)?;
        let nodes = self.listed(&record, lane)?;
        let mut words_begin = 0;
        let mut left = Vec::with_capacity(nodes.len());
        for listed in nodes {
            let version = Version(self.memory.load(listed.node, Acquire));
            let due = behind(version.counter(), listed.target)
                || version.is_locked_by(lane, self.incarnation())
                || mutated(Mutation::RecoveryNotGated);
            if words_begin > listed.words_end || listed.words_end > record.counts.words {
                return Err(Error::corrupted(Invariant::Record, self.lane_at(lane)));
            }
            if due {
                for index in words_begin..listed.words_end {
                    let (at, value) = record.word(index);
                    self.redo_word(lane, at, value)?;
                }
                self.switches.hit(Point::RecoveryApplied)?;
                left.push(listed);
            } else {
                // Its words are durable, but a recovery that died may have stored the target last.
                self.persist(listed.node, LINE);
            }
            words_begin = listed.words_end;
        }
        self.memory.fence(Release);
        self.memory.drain();
        self.unlock_redone(&left)
    }

    fn redo_word(&self, lane: u16, at: Offset, value: u64) -> Result<()> {
        let tail = self.tail(lane);
        let in_tail = at >= tail && at < tail + lane::TAIL && at.is_multiple_of(8);
        if !in_tail && self.data(at, 8).is_err() {
            return Err(Error::corrupted(Invariant::Record, at));
        }
        self.memory.store(at, value, Relaxed);
        if !mutated(Mutation::RedoneNotDurable) {
            self.persist(at, 8);
        }
        Ok(())
    }

    /// Freed nodes first, descriptors and extent maps last, as in the commit.
    fn unlock_redone(&self, nodes: &[Listed]) -> Result<()> {
        let class = |flags: u64| match flags {
            f if f & flag::FREED != 0 => 0,
            f if f & flag::LAST != 0 => 2,
            _ => 1,
        };
        let reversed = mutated(Mutation::FillUnlockedParentFirst);
        for pass in 0..3 {
            let pass = if reversed { 2 - pass } else { pass };
            for listed in nodes.iter().filter(|listed| class(listed.flags) == pass) {
                let target = Version::unlocked(listed.target);
                self.memory.store(listed.node, target.0, Release);
                if !mutated(Mutation::TargetsNotDurable) {
                    self.persist(listed.node, LINE);
                }
                self.switches.hit(Point::RecoveryUnlocked)?;
            }
        }
        self.memory.drain();
        Ok(())
    }

    /// Recovery after a power failure, by the first writer that attaches, alone: bumps the
    /// incarnation, redoes every record with a good sum, drops all others. Its time depends on the
    /// number of lanes, not on the data.
    ///
    /// # Errors
    /// `Corrupted` if a record with a good sum is none.
    pub fn recover_power_failure(&self) -> Result<()> {
        let _writing = self.memory.writing();
        let bump = u64::from(!mutated(Mutation::NotBumped));
        let incarnation = self.memory.load(header::INCARNATION, Acquire).wrapping_add(bump);
        if incarnation & 0x1fff == 0 && !mutated(Mutation::LocksNotSwept) {
            self.sweep_locks()?;
        }
        self.memory.store(header::INCARNATION, incarnation, Release);
        // R7: drained at the end, before there can be a lock or a record of this incarnation.
        if !mutated(Mutation::BumpNotDurable) {
            self.memory.flush(header::INCARNATION, 8);
        }
        if self.marked {
            self.memory.sync()?;
        }
        self.set_incarnation(incarnation);
        self.switches.hit(Point::Bumped)?;
        let mut floor = self.memory.load(header::FLOOR, Acquire);
        // Without flushes the medium may know of fewer lanes than have left a record there.
        let lanes = if self.marked { self.geometry.lanes } else { self.lanes_used() };
        for lane in 0..lanes as u16 {
            let unused = self.marked && self.memory.load(self.lane_at(lane), Relaxed) == 0;
            if unused && u64::from(lane) >= self.lanes_used() {
                continue;
            }
            self.memory.store(self.tail(lane) + lane::PINNED, 0, Relaxed);
            let state = Record::state(&self.memory, &self.geometry, lane);
            if state.phase() == Some(Phase::Idle) {
                // A recovery that died may have made it so, and have flushed nothing.
                self.flush_idle(lane);
                continue;
            }
            let in_doubt =
                mutated(Mutation::StateDecides) && state.phase() == Some(Phase::Prepared);
            if let Ok(record) = Record::open(&self.memory, &self.geometry, lane)
                && self.has_good_sum(&record, lane, state)
                && !in_doubt
            {
                self.roll_forward(lane)?;
                let targets = (0..record.counts.nodes).map(|i| record.node(i).target);
                floor = targets.fold(floor, u64::max);
            }
            self.set_state(lane, state.in_phase(Phase::Idle));
            self.flush_idle(lane);
            self.switches.hit(Point::RecoveryIdle)?;
        }
        self.memory.store(header::TOKEN, 0, Release);
        self.memory.store(header::PINS, 0, Release);
        self.memory.store(header::FLOOR, floor, Release);
        self.memory.drain();
        Ok(())
    }

    /// R5: the drain comes at the end of the recovery.
    fn flush_idle(&self, lane: u16) {
        if !mutated(Mutation::IdleNotDurable) {
            self.memory.flush(self.lane_at(lane), LINE);
        }
    }

    /// The 13 incarnation bits of version words start over: no lock of an older incarnation may be
    /// left that could seem alive then. Comes before the bump: a recovery that does not come to its
    /// end is followed by one that sweeps again.
    fn sweep_locks(&self) -> Result<()> {
        let backed = self.backed();
        let mut at = self.geometry.heap_at;
        while at < backed {
            let region = self.geometry.region_of(at);
            let table_end = region.data_at().min(backed);
            for line in (region.at..table_end).step_by(LINE as usize) {
                self.sweep_lock(line);
            }
            let end = region.end().min(backed);
            let mut granule = region.data_at();
            while granule < end {
                let kind = self.kind_at(granule);
                if kind.is_node() {
                    let nodes = granule..granule + GRANULE;
                    nodes.step_by(kind.node_bytes() as usize).for_each(|at| self.sweep_lock(at));
                }
                granule += GRANULE;
            }
            at = region.end();
        }
        self.memory.drain();
        if self.marked {
            self.memory.sync()?;
        }
        Ok(())
    }

    fn sweep_lock(&self, node: Offset) {
        let version = Version(self.memory.load(node, Acquire));
        if version.0 & 1 != 0 {
            self.memory.store(node, Version::unlocked(version.counter()).0, Release);
        }
        // Unlocked ones too: a sweep that died may have flushed nothing.
        self.memory.flush(node, 8);
    }
}
