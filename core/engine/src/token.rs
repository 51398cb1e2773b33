//! The writer token: whoever holds it is the only one that commits.
//!
//! **W1** the holder sets it, then waits until every other lane is seen idle; a lane prepares, then
//! looks at it. With a full fence on both sides one of the two sees the other. **W2** while it is
//! held a node that keeps its counter keeps its content: others lock it, see the token, unlock it.

use crate::error::{Error, Holder, Result};
use crate::host::{Host, Patience};
use crate::lab::{Mutation, Point, mutated};
use crate::lanes::Lane;
use crate::layout::header;
use crate::record::{Phase, Record};
use crate::segment::Segment;
use crate::transaction::Transaction;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use vasmem_memory::Memory;

/// Conflicts in a row after which a transaction runs under the token: nothing starves.
const ATTEMPTS_MAX: u32 = 64;

impl<M: Memory, H: Host> Segment<M, H> {
    /// Runs `body` and commits, again and again until it succeeds.
    ///
    /// # Errors
    /// Those of `body` and of the commit; `Conflict` never leaves. After an error nothing happened.
    #[inline]
    pub fn write<T>(
        &self,
        patience: &mut dyn Patience,
        body: impl FnMut(&mut Transaction<'_, M, H>) -> Result<T>,
    ) -> Result<T> {
        let mut lane = self.lane(patience)?;
        self.write_on(&mut lane, patience, body)
    }

    /// As [`Segment::write`], on a lane that was checked out for several transactions.
    ///
    /// # Errors
    /// As `write`.
    #[inline]
    pub fn write_on<T>(
        &self,
        lane: &mut Lane,
        patience: &mut dyn Patience,
        mut body: impl FnMut(&mut Transaction<'_, M, H>) -> Result<T>,
    ) -> Result<T> {
        self.settle(lane, patience)?;
        for round in 0..ATTEMPTS_MAX {
            match self.attempt(lane, patience, &mut body) {
                Err(Error::Conflict) => patience.pause(round, Holder::Conflicts).map(|_| ())?,
                done => return done,
            }
        }
        self.take_token(lane, patience)?;
        let mut round = 0;
        let done = loop {
            match self.attempt(lane, patience, &mut body) {
                // Nobody else commits now: only a segment that is broken conflicts again and again.
                Err(Error::Conflict) => match patience.pause(round, Holder::Conflicts) {
                    Ok(_) => round += 1,
                    Err(error) => break Err(error),
                },
                done => break done,
            }
        };
        self.drop_token(lane)?;
        done
    }

    #[inline]
    fn attempt<T>(
        &self,
        lane: &mut Lane,
        patience: &mut dyn Patience,
        body: &mut impl FnMut(&mut Transaction<'_, M, H>) -> Result<T>,
    ) -> Result<T> {
        let mut tx = Transaction::resume(self, lane, patience);
        tx.reset();
        let value = body(&mut tx)?;
        tx.commit()?;
        Ok(value)
    }

    /// Takes the token for `lane`: from here until [`Segment::drop_token`] nobody else commits.
    ///
    /// # Errors
    /// `Timeout` or `Interrupted` while waiting; the token is free again then.
    pub fn take_token(&self, lane: &mut Lane, patience: &mut dyn Patience) -> Result<()> {
        let mine = u64::from(lane.id) + 1;
        let mut round = 0;
        loop {
            match self.change_token(0, mine) {
                Ok(_) => break,
                Err(held) => self.wait_for_holder(held, round, patience)?,
            }
            round += 1;
        }
        self.memory.fence_after_cas();
        self.switches.hit(Point::TokenSet)?;
        if let Err(error) = self.wait_for_quiet(lane.id, patience) {
            if !matches!(error, Error::Died) {
                let _writing = self.memory.writing();
                self.memory.store(header::TOKEN, 0, Release);
            }
            return Err(error);
        }
        lane.is_alone = true;
        self.switches.hit(Point::TokenQuiet)
    }

    /// Gives the token back.
    ///
    /// # Errors
    /// Only from a failpoint.
    pub fn drop_token(&self, lane: &mut Lane) -> Result<()> {
        lane.is_alone = false;
        self.switches.hit(Point::TokenDone)?;
        if lane.generation() != self.host()?.generation() {
            return Ok(()); // In a forked child it is the parent's.
        }
        // Somebody may have tampered with it: then it is not this lane's to clear.
        let mine = u64::from(lane.id) + 1;
        let _ = self.change_token(mine, 0);
        Ok(())
    }

    fn change_token(&self, old: u64, new: u64) -> std::result::Result<u64, u64> {
        let _writing = self.memory.writing();
        self.memory.cas(header::TOKEN, old, new, SeqCst, Acquire)
    }

    /// Waits until nobody has the token, or `mine` (0 for none) is there.
    pub(crate) fn wait_without_token(&self, mine: u64, patience: &mut dyn Patience) -> Result<()> {
        let mut round = 0;
        loop {
            let held = self.memory.load(header::TOKEN, Acquire);
            if held == 0 || held == mine {
                return Ok(());
            }
            self.wait_for_holder(held, round, patience)?;
            round += 1;
        }
    }

    fn wait_for_holder(&self, held: u64, round: u32, patience: &mut dyn Patience) -> Result<()> {
        let holder = (held.wrapping_sub(1)) as u16;
        if u64::from(holder) >= self.lanes_used() {
            return Err(Error::corrupted(crate::error::Invariant::Lock, header::TOKEN));
        }
        if patience.pause(round, Holder::Token(holder))? {
            self.recover_dead(holder)?;
        }
        Ok(())
    }

    /// Every other lane is out of PREPARED and COMMITTED, the dead ones by recovery.
    fn wait_for_quiet(&self, own: u16, patience: &mut dyn Patience) -> Result<()> {
        if mutated(Mutation::TokenNoWait) {
            return Ok(());
        }
        for lane in (0..self.lanes_used() as u16).filter(|&lane| lane != own) {
            let mut round = 0;
            while Record::state(&self.memory, &self.geometry, lane).phase() != Some(Phase::Idle) {
                if patience.pause(round, Holder::Lane(lane))? {
                    self.recover_dead(lane)?;
                }
                round += 1;
            }
        }
        Ok(())
    }
}

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// Whether this lane has the token.
    pub(crate) fn holds_token(&self) -> bool {
        self.segment.memory.load(header::TOKEN, Acquire) == u64::from(self.lane.id) + 1
    }

    /// Waits until another's token is gone. Our record is idle.
    pub(crate) fn wait_for_token(&mut self) -> Result<()> {
        self.segment.wait_without_token(u64::from(self.lane.id) + 1, self.patience)
    }
}
