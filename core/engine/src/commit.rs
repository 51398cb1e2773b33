//! The six-step commit. `docs/design.md`, section *Commit*, has the proof obligations; the steps
//! below carry its numbers.
//!
//! **C1** a node is locked only while its owner's record lists it and is not idle. **C2** words are
//! visible to readers from COMMITTED on, and only from then. **C3** no lock outlives its record:
//! all are gone before IDLE. **C4** nothing is visible before it is durable.

use crate::buffers::{Buffers, Commute, Entry, Fill, Source, mode};
use crate::error::{Error, Holder, Invariant, Result};
use crate::host::Host;
use crate::lab::{Mutation, Point, mutated};
use crate::lanes::Lane;
use crate::layout::{LINE, Meta, descriptor, header, lane};
use crate::record::{Counts, FENCED, Phase, State, flag, sum_bytes};
use crate::recover::sum_begin;
use crate::transaction::Transaction;
use crate::version::{COUNTER_MAX, Version};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use vasmem_memory::{Memory, Offset};

/// More bytes than this are not summed: they are fenced before the sum is stored (R2 of the power
/// study), at the price of one more fence.
pub(crate) const SUMMED_BYTES_MAX: usize = 4096;
/// From so many words in a row on, they are applied many at a time.
const RUN_WORDS_MIN: usize = 16;

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// Commits, and forgets what was gathered. Without anything to change, only validates.
    ///
    /// # Errors
    /// `Conflict` if another transaction was faster: run again. `Timeout` and `Interrupted` while
    /// waiting for a lock; nothing has happened then.
    pub fn commit(&mut self) -> Result<()> {
        let result = if self.lane.buffers.stale.get() {
            Err(Error::Conflict)
        } else if self.writes_anything() {
            if self.lane.only_reads() { Err(Error::ReadOnly) } else { self.write_through() }
        } else {
            self.validate()
        };
        self.reset();
        result
    }

    fn write_through(&mut self) -> Result<()> {
        self.order();
        self.make_room()?;
        let segment = self.segment;
        let writing = segment.memory.writing();
        self.hit(Point::Listing)?;
        let prepared = self.prepare()?;
        let mut locked = 0;
        match self.lock_fill_record(prepared, &mut locked) {
            Ok(()) => {}
            Err(Error::Died) => return Err(Error::Died),
            Err(error) => {
                let blocked = std::mem::take(&mut self.lane.blocked_by_token);
                self.abort(prepared, locked)?;
                drop(writing);
                if blocked {
                    self.wait_for_token()?;
                }
                return Err(error);
            }
        }
        self.apply(prepared)
    }

    /// Steps 2 to 4.
    fn lock_fill_record(&mut self, prepared: State, locked: &mut usize) -> Result<()> {
        if mutated(Mutation::ValidateBeforeLocking) {
            self.validate_navigation()?;
        }
        if mutated(Mutation::EarlyFill) {
            self.fill_space()?;
        }
        self.lock(locked)?;
        self.look_at_token()?;
        self.look_at_pins()?;
        self.segment.note_change()?;
        if !mutated(Mutation::ValidateBeforeLocking) {
            self.validate_navigation()?;
        }
        self.hit(Point::Validated)?;
        if !mutated(Mutation::NoFenceBeforeFill) {
            self.segment.memory.fence(Release);
        }
        self.make_absolute()?;
        if !mutated(Mutation::EarlyFill) {
            self.fill_space()?;
        }
        self.group_writes();
        if mutated(Mutation::ApplyBeforeCommitted) {
            self.apply_words()?;
        }
        self.complete_record(prepared)
    }

    #[inline]
    pub(crate) fn hit(&self, point: Point) -> Result<()> {
        self.segment.switches.hit(point)
    }

    /// Puts the nodes to be listed into offset order (R1; it also rules out deadlock).
    fn order(&mut self) {
        let listed = mode::READ | mode::CHANGES;
        let wanted = if mutated(Mutation::ReadsNotLocked) { mode::CHANGES } else { listed };
        let Lane { listed, buffers, .. } = &mut *self.lane;
        listed.clear();
        listed.extend(buffers.entries.iter().filter(|entry| entry.mode & wanted != 0));
        if listed.len() > 1 && !mutated(Mutation::LocksOutOfOrder) {
            listed.sort_unstable_by_key(|entry| entry.node);
        }
    }

    fn counts(&self) -> Counts {
        let buffers = &self.lane.buffers;
        Counts {
            nodes: self.lane.listed.len() as u64,
            words: buffers.writes.len() as u64,
            fills: buffers.fills().count() as u64,
        }
    }

    /// Makes sure that the record has room for all entries, with heap blocks where the lane itself
    /// has not.
    fn make_room(&mut self) -> Result<()> {
        let mut counts = self.counts();
        counts.words += self.lane.buffers.commutes.len() as u64;
        let words = counts.entry_words();
        let inline = self.segment.geometry.inline_words();
        if words <= inline {
            return Ok(());
        }
        if counts.nodes > 0xf_ffff || counts.words > 0x3f_ffff || counts.fills > 0x3f_ffff {
            return Err(Error::TooLarge {
                what: "a transaction",
                bytes: words * 8,
                max_bytes: 0x3f_ffff * 16,
            });
        }
        self.keep_continuation((words - inline) * 8)
    }

    /// Place of entry word `index` in this lane's record.
    #[inline]
    fn place(&self, index: u64) -> Offset {
        let inline = self.segment.geometry.inline_words();
        if index < inline {
            self.lane.at + lane::ENTRIES + index * 8
        } else {
            self.lane.continuation.0 + (index - inline) * 8
        }
    }

    /// Step 1: the list, then PREPARED.
    fn prepare(&mut self) -> Result<State> {
        let memory = &self.segment.memory;
        self.lane.seq = self.lane.seq.wrapping_add(1) & 0x3fff_ffff;
        let state = State::new(Phase::Prepared, self.lane.seq, self.segment.incarnation());
        // Orders the IDLE store before the overwriting: a slow reader of the old words must not
        // find its COMMITTED again behind them.
        if !mutated(Mutation::NoFenceBeforeList) && !mutated(Mutation::RelaxedLock) {
            memory.fence(Release);
        }
        for (rank, entry) in self.lane.listed.iter().enumerate() {
            memory.store(self.place(2 * rank as u64), entry.node | flags(entry.mode), Relaxed);
        }
        let counts = Counts { nodes: self.lane.listed.len() as u64, ..Counts::default() };
        memory.store(self.lane.at + lane::COUNTS, counts.pack(), Relaxed);
        memory.store(self.lane.at + lane::CONTINUATION, self.lane.continuation.0, Relaxed);
        if mutated(Mutation::TokenBeforePrepared) {
            self.look_at_token()?;
        }
        if !mutated(Mutation::LockWithoutPrepared) {
            memory.store(self.lane.at + lane::STATE, state.0, Release);
        }
        self.hit(Point::Prepared)?;
        Ok(state)
    }

    /// Step 2: locks all listed nodes, in order.
    fn lock(&mut self, locked: &mut usize) -> Result<()> {
        while *locked < self.lane.listed.len() {
            self.lock_one(*locked)?;
            *locked += 1;
            self.hit(Point::Locked)?;
        }
        Ok(())
    }

    #[inline]
    fn lock_one(&mut self, rank: usize) -> Result<()> {
        let (segment, id) = (self.segment, self.lane.id);
        let incarnation = segment.incarnation();
        let success = if mutated(Mutation::RelaxedLock) { Acquire } else { AcqRel };
        let mut round = 0;
        loop {
            let Entry { node, counter, mode, .. } = self.lane.listed[rank];
            let word = segment.memory.load(node, Acquire);
            let version = Version(word);
            if version.is_locked(incarnation) && !self.lane.steals(segment, version) {
                if version.lane() == id || u64::from(version.lane()) >= segment.lanes_used() {
                    return Err(Error::corrupted(Invariant::Lock, node));
                }
                if self.pause_closed(round, Holder::Lane(version.lane()))? {
                    segment.recover_dead(version.lane())?;
                }
                round += 1;
                continue;
            }
            let changed = mode & mode::SEEN != 0 && version.counter() != counter;
            if changed && !mutated(Mutation::SkipValidation) {
                return Err(Error::Conflict);
            }
            let lock = version.locked_by(id, incarnation).0;
            if segment.memory.cas(node, word, lock, success, Acquire).is_ok() {
                self.lane.listed[rank].counter = version.counter();
                return Ok(());
            }
        }
    }

    /// Waits, in which other code of the program may run: it must not be able to write.
    fn pause_closed(&mut self, round: u32, holder: Holder) -> Result<bool> {
        self.segment.memory.forbid();
        let done = self.patience.pause(round, holder);
        self.segment.memory.permit();
        done
    }

    /// Step 3: the writer token. Comes after the first lock, whose CAS is a full fence on x86; the
    /// token's holder sets it and then looks at our record, so one of us sees the other.
    fn look_at_token(&mut self) -> Result<()> {
        if !mutated(Mutation::NoFullFence) && !mutated(Mutation::NoFenceBeforeFill) {
            self.segment.memory.fence_after_cas();
        }
        if mutated(Mutation::TokenBeforePrepared) && self.lane.token_looked {
            return Ok(());
        }
        let token = self.segment.memory.load(header::TOKEN, Acquire);
        if token == 0 || token == u64::from(self.lane.id) + 1 {
            self.lane.token_looked = mutated(Mutation::TokenBeforePrepared);
            return Ok(());
        }
        self.lane.blocked_by_token = true;
        Err(Error::Conflict)
    }

    /// Step 4: bits and counts become absolute words, under their locks.
    fn make_absolute(&mut self) -> Result<()> {
        let memory = &self.segment.memory;
        let Buffers { commutes, writes, .. } = &mut self.lane.buffers;
        for &Commute { entry, at, set, clear, add, run, .. } in commutes.iter() {
            let known = writes.find(at);
            let now = known.map_or_else(|| memory.load(at, Relaxed), |i| writes.value(i));
            if let Some(kind) = run {
                let descriptor = at & !(LINE - 1);
                let meta = Meta(memory.load(descriptor + descriptor::META, Relaxed));
                if meta.kind() != kind {
                    return Err(Error::Conflict);
                }
            }
            let reused = if mutated(Mutation::ReuseInTransaction) { clear } else { 0 };
            if now & set & !reused != 0 {
                // Another lane took the block between our choice and our lock.
                return Err(Error::Conflict);
            }
            if now & clear != clear {
                return Err(Error::corrupted(Invariant::Bitmap, at));
            }
            let value = (now & !clear | set).wrapping_add(add);
            match known {
                Some(i) => writes.set(i, value),
                None => writes.push(entry, at, value),
            }
        }
        Ok(())
    }

    /// Step 4: content for space that nothing points to yet (T3).
    fn fill_space(&self) -> Result<()> {
        let (memory, buffers) = (&self.segment.memory, &self.lane.buffers);
        for fill in buffers.fills() {
            let Source::Arena(from) = fill.source else {
                self.fill_from_elsewhere(fill);
                continue;
            };
            let bytes = &buffers.arena[from..from + fill.len];
            if fill.node_bytes == 0 {
                self.put_bytes(fill.at, bytes);
                continue;
            }
            let nodes = (fill.at..).step_by(fill.node_bytes as usize);
            for (node, bytes) in nodes.zip(bytes.chunks_exact(fill.node_bytes as usize)) {
                for (i, word) in bytes.chunks_exact(8).enumerate().skip(1) {
                    let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                    memory.store(node + i as u64 * 8, word, Relaxed);
                }
            }
            if memory.needs_flush() && !mutated(Mutation::FillsNotFlushed) {
                memory.flush(fill.at, fill.len as u64);
            }
        }
        self.hit(Point::Filled)
    }

    /// Bytes for unpublished space, on their way to the medium.
    fn put_bytes(&self, at: Offset, bytes: &[u8]) {
        let memory = &self.segment.memory;
        if memory.needs_flush() && !mutated(Mutation::FillsNotFlushed) {
            memory.copy_in_flushed(at, bytes);
        } else {
            memory.copy_in(at, bytes);
        }
    }

    /// Content that is not in the arena: nodes that this transaction has locked keep it as it is.
    fn fill_from_elsewhere(&self, fill: &Fill) {
        let (memory, mut piece) = (&self.segment.memory, [0; 4096]);
        for done in (0..fill.len).step_by(piece.len()) {
            let len = piece.len().min(fill.len - done);
            if let Source::Copy(from) = fill.source {
                memory.copy_out(from + done as u64, &mut piece[..len]);
            }
            self.put_bytes(fill.at + done as u64, &piece[..len]);
        }
    }

    /// Puts the words into the order of their nodes (R2).
    fn group_writes(&mut self) {
        let lane = &mut *self.lane;
        if lane.listed.len() == 1 {
            return;
        }
        lane.rank.clear();
        lane.rank.resize(lane.buffers.entries.len(), u32::MAX);
        for (rank, entry) in lane.listed.iter().enumerate() {
            lane.rank[entry.number as usize] = rank as u32;
        }
        lane.buffers.writes.group(&lane.rank);
    }

    /// Step 4: targets, words and sum; fence; COMMITTED.
    fn complete_record(&mut self, prepared: State) -> Result<()> {
        let (memory, counts) = (&self.segment.memory, self.counts());
        let buffers = &self.lane.buffers;
        let elsewhere = |fill: &Fill| !matches!(fill.source, Source::Arena(_));
        let fenced = memory.needs_flush()
            && (buffers.arena.len() > SUMMED_BYTES_MAX || buffers.fills().any(elsewhere));
        self.draw_record(fenced);
        memory.store(self.lane.at + lane::COUNTS, counts.pack(), Relaxed);
        if memory.needs_flush() {
            self.persist_record(prepared, counts, fenced);
        }
        self.hit(Point::Fenced)?;
        let committed = prepared.in_phase(Phase::Committed);
        memory.store(self.lane.at + lane::STATE, committed.0, Release);
        self.hit(Point::Committed)
    }

    /// Writes the entries of the record.
    fn draw_record(&mut self, fenced: bool) {
        let Lane { image, listed, buffers, .. } = &mut *self.lane;
        image.clear();
        let owners = buffers.writes.entries();
        let mut words_end = 0;
        for entry in listed.iter() {
            if listed.len() == 1 {
                words_end = owners.len();
            }
            while owners.get(words_end) == Some(&entry.number) {
                words_end += 1;
            }
            image.push([entry.node | flags(entry.mode), target(*entry) << 24 | words_end as u64]);
        }
        let nodes = image.len() as u64;
        for fill in buffers.fills() {
            let is_fenced = fenced || fill.node_bytes != 0;
            image.push([fill.at, fill.len as u64 | if is_fenced { FENCED } else { 0 }]);
        }
        let Lane { image, buffers, .. } = &*self.lane;
        let (listed, fills) = image.split_at(nodes as usize);
        let words = buffers.writes.pairs();
        let first_fill = nodes + words.len() as u64;
        self.put_pairs(0, listed);
        self.put_pairs(nodes, words);
        if !fills.is_empty() {
            self.put_pairs(first_fill, fills);
        }
    }

    /// Writes pairs into the record, `first` pairs behind its start.
    #[inline(always)]
    fn put_pairs(&self, first: u64, pairs: &[[u64; 2]]) {
        let words = pairs.as_flattened();
        if first * 2 + words.len() as u64 <= self.segment.geometry.inline_words() {
            self.segment.memory.store_words(self.lane.at + lane::ENTRIES + first * 16, words);
        } else {
            self.put_long(first, pairs);
        }
    }

    /// As `put_pairs`, in the lane as far as it has room, then in the continuation.
    #[cold]
    fn put_long(&self, first: u64, pairs: &[[u64; 2]]) {
        let memory = &self.segment.memory;
        let inline = (self.segment.geometry.inline_words() / 2).saturating_sub(first) as usize;
        let (here, there) = pairs.split_at(inline.min(pairs.len()));
        memory.store_words(self.place(first * 2), here.as_flattened());
        let at = self.place((first + here.len() as u64) * 2);
        memory.store_words(at, there.as_flattened());
    }

    /// Fence 1: unpublished space and record. Space too large to be summed is fenced first.
    #[cold]
    fn persist_record(&self, prepared: State, counts: Counts, fenced: bool) {
        let (memory, lane) = (&self.segment.memory, &*self.lane);
        let image = &lane.image;
        let (listed, fills) = image.split_at(counts.nodes as usize);
        let words = lane.buffers.writes.pairs();
        let mut sum = sum_begin(prepared, lane.id, counts);
        for pairs in [listed, words, fills] {
            sum = sum_bytes(sum, bytemuck::cast_slice(pairs));
        }
        let mut wait = fenced;
        for fill in lane.buffers.fills() {
            match fill.source {
                Source::Arena(from) if fill.node_bytes == 0 && !fenced => {
                    if !mutated(Mutation::SumWithoutFills) {
                        sum = sum_bytes(sum, &lane.buffers.arena[from..from + fill.len]);
                    }
                }
                _ => wait = true,
            }
        }
        if wait {
            memory.drain();
        }
        memory.store(lane.at + lane::SUM, sum, Relaxed);
        let bytes = counts.entry_words() * 8;
        let inline = bytes.min(self.segment.geometry.inline_words() * 8);
        if !mutated(Mutation::RecordNotFlushed) {
            memory.flush(lane.at, lane::ENTRIES + inline);
        }
        if bytes > inline {
            memory.flush(lane.continuation.0, bytes - inline);
        }
        if !mutated(Mutation::RecordNotDrained) {
            memory.drain();
        }
    }

    fn apply_words(&self) -> Result<()> {
        for run in self.lane.buffers.writes.pairs().chunk_by(|one, next| next[0] == one[0] + 8) {
            if run.len() >= RUN_WORDS_MIN {
                self.apply_run(run)?;
                continue;
            }
            for &[at, value] in run {
                self.segment.memory.store(at, value, Relaxed);
                self.hit(Point::Applied)?;
            }
        }
        Ok(())
    }

    /// Applies words that stand one after the other, many at a time.
    fn apply_run(&self, run: &[[u64; 2]]) -> Result<()> {
        let mut words = [0; 64];
        for pairs in run.chunks(words.len()) {
            words.iter_mut().zip(pairs).for_each(|(word, pair)| *word = pair[1]);
            self.segment.memory.store_words(pairs[0][0], &words[..pairs.len()]);
            self.hit(Point::Applied)?;
        }
        Ok(())
    }

    /// Steps 5 and 6: words; fence; targets; IDLE.
    fn apply(&mut self, prepared: State) -> Result<()> {
        let memory = &self.segment.memory;
        // A release store does not order later stores: without this a reader could find an applied
        // word while it still sees PREPARED.
        if !mutated(Mutation::NoFenceBeforeApply) {
            memory.fence(Release);
        }
        if !mutated(Mutation::ApplyBeforeCommitted) && !mutated(Mutation::UnlockBeforeApply) {
            self.apply_words()?;
        }
        if mutated(Mutation::UnlockBeforeDurable) {
            self.unlock()?;
        }
        if memory.needs_flush() {
            if !mutated(Mutation::HomeNotFlushed) {
                self.flush_home();
            }
            if !mutated(Mutation::HomeNotDrained) {
                memory.drain();
            }
            memory.committed(self.asked_bytes());
        }
        self.hit(Point::Persisted)?;
        if mutated(Mutation::IdleBeforeUnlock) {
            memory.store(self.lane.at + lane::STATE, prepared.in_phase(Phase::Idle).0, Release);
        }
        if !mutated(Mutation::UnlockBeforeDurable) {
            self.unlock()?;
        }
        if mutated(Mutation::UnlockBeforeApply) {
            self.apply_words()?;
        }
        memory.store(self.lane.at + lane::STATE, prepared.in_phase(Phase::Idle).0, Release);
        self.hit(Point::Idle)
    }

    /// Flushes each line that has a word, and (R3 of the power study) the version lines, still
    /// locked; a line that is both, once.
    fn flush_home(&self) {
        let memory = &self.segment.memory;
        let Lane { listed, buffers, .. } = &*self.lane;
        let (pairs, owners) = (buffers.writes.pairs(), buffers.writes.entries());
        let mut next = 0;
        for entry in listed {
            let changes = || buffers.entries[entry.number as usize].mode & mode::CHANGES != 0;
            if !mutated(Mutation::StripesLeft) || changes() {
                memory.flush(entry.node, LINE);
            }
            let mut last = entry.node;
            while next < pairs.len() && (listed.len() == 1 || owners[next] == entry.number) {
                let line = pairs[next][0] & !(LINE - 1);
                if line != last && line != entry.node {
                    memory.flush(line, LINE);
                }
                last = line;
                next += 1;
            }
        }
    }

    /// Bytes of fills and words.
    fn asked_bytes(&self) -> u64 {
        let buffers = &self.lane.buffers;
        let fills: usize = buffers.fills().map(|fill| fill.len).sum();
        fills as u64 + buffers.writes.len() as u64 * 8
    }

    /// Step 5: stores the targets, freed nodes first, descriptors and extent maps last (E3).
    fn unlock(&self) -> Result<()> {
        let class = |mode: u8| match mode {
            m if m & mode::FREE != 0 => 0,
            m if m & mode::LAST != 0 => 2,
            _ => 1,
        };
        let reversed = mutated(Mutation::FillUnlockedParentFirst);
        let ordered = self.lane.listed.iter().any(|entry| class(entry.mode) != 1);
        for pass in if ordered { 0..3 } else { 1..2 } {
            let pass = if reversed { 2 - pass } else { pass };
            for entry in self.lane.listed.iter().filter(|entry| class(entry.mode) == pass) {
                let word = Version::unlocked(target(*entry)).0;
                self.segment.memory.store(entry.node, word, Release);
                self.hit(Point::Unlocked)?;
            }
        }
        Ok(())
    }

    /// Unlocks what is locked at the old counters, then IDLE; the list stays as it is until then.
    fn abort(&mut self, prepared: State, locked: usize) -> Result<()> {
        let memory = &self.segment.memory;
        let idle = prepared.in_phase(Phase::Idle).0;
        if mutated(Mutation::AbortIdleBeforeUnlock) {
            memory.store(self.lane.at + lane::STATE, idle, Release);
        }
        for entry in &self.lane.listed[..locked] {
            memory.store(entry.node, Version::unlocked(entry.counter).0, Release);
            self.hit(Point::AbortUnlocked)?;
        }
        memory.store(self.lane.at + lane::STATE, idle, Release);
        self.hit(Point::Aborted)
    }
}

/// The counter of a node after the commit.
fn target(entry: Entry) -> u64 {
    let moves =
        if mutated(Mutation::FreeWithoutBump) || mutated(Mutation::FreeWithoutBumpFillUnlocked) {
            mode::CHANGES & !mode::FREE
        } else {
            mode::CHANGES
        };
    if entry.mode & moves != 0 { (entry.counter + 1) & COUNTER_MAX } else { entry.counter }
}

fn flags(mode: u8) -> u64 {
    let mut flags = 0;
    if mode & mode::FREE != 0 {
        flags |= flag::FREED;
    }
    if mode & mode::CHANGES == 0 {
        flags |= flag::READ;
    }
    if mode & mode::LAST != 0 {
        flags |= flag::LAST;
    }
    flags
}
