//! The mark of a medium that is durable only where it was synced (a file in the page cache).
//!
//! **D1** while the medium says CLEAN, it holds a whole segment. So no commit fills or applies
//! before DIRTY is durable, and CLEAN is stored under the token, when all is durable. The value
//! DIRTYING is a mark that may not be durable yet: whoever meets it syncs, then says DIRTY.

use crate::error::{Error, Holder, Result};
use crate::host::{Host, Patience};
use crate::lab::{Mutation, mutated};
use crate::layout::header;
use crate::segment::Segment;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use vasmem_memory::Memory;

/// A copy from a medium that keeps no mark, not changed since it came here.
pub const NONE: u64 = 0;
/// All is durable.
pub const CLEAN: u64 = 1;
/// Something is going to change; the medium may still say CLEAN.
pub const DIRTYING: u64 = 2;
/// Something may have changed; the medium knows.
pub const DIRTY: u64 = 3;
/// As DIRTY, and the system failed to write: never CLEAN again.
pub const FAILED: u64 = 4;

impl<M: Memory, H: Host> Segment<M, H> {
    /// Whether the medium may be attached after a power failure.
    ///
    /// # Errors
    /// `Unclean` if it was written after the last sync.
    pub fn ensure_clean(&self) -> Result<()> {
        match self.memory.load(header::MARK, Acquire) {
            _ if !self.marked => Ok(()),
            CLEAN | NONE => Ok(()),
            _ => Err(Error::Unclean),
        }
    }

    /// Before a change that others could find half durable. The caller's record is PREPARED, or it
    /// holds the growth lock: no CLEAN can come in between.
    #[inline(always)]
    pub(crate) fn note_change(&self) -> Result<()> {
        if !self.marked || self.memory.load(header::MARK, Acquire) == DIRTY {
            return Ok(());
        }
        self.make_dirty()
    }

    #[cold]
    fn make_dirty(&self) -> Result<()> {
        if self.memory.load(header::MARK, Acquire) == FAILED {
            return Ok(());
        }
        let _writing = self.memory.writing();
        self.memory.store(header::MARK, DIRTYING, Release);
        if !mutated(Mutation::DirtyNotSynced) {
            self.memory.sync()?;
        }
        self.memory.store(header::MARK, DIRTY, Release);
        Ok(())
    }

    /// Makes all that is visible durable, and says so where the medium keeps a mark.
    ///
    /// # Errors
    /// `Os` where the system cannot write; `Timeout` and `Interrupted` while waiting for others.
    pub fn sync(&self, patience: &mut dyn Patience) -> Result<()> {
        let before = self.memory.load(header::MARK, Acquire);
        // Most of the work is done here, while others go on.
        self.write_back()?;
        if !self.marked || self.host.is_none() || before == CLEAN {
            return Ok(());
        }
        let mut lane = self.lane(patience)?;
        self.take_token(&mut lane, patience)?;
        let done = self.sync_alone(patience);
        self.drop_token(&mut lane)?;
        done
    }

    /// As [`Segment::sync`], for the holder of the token.
    ///
    /// # Errors
    /// As `sync`.
    pub fn sync_alone(&self, patience: &mut dyn Patience) -> Result<()> {
        let host = self.host()?;
        let mut round = 0;
        while !host.take_growth()? {
            patience.pause(round, Holder::Growth)?;
            round += 1;
        }
        let done = self.make_clean();
        host.end_growth();
        done
    }

    fn make_clean(&self) -> Result<()> {
        if !mutated(Mutation::CleanBeforeSync) {
            self.write_back()?;
        }
        if !self.marked {
            return Ok(());
        }
        if self.memory.load(header::MARK, Acquire) == FAILED {
            let text =
                "an earlier write to the disk failed: make a copy by dump, and a new segment";
            return Err(Error::Os(std::io::Error::other(text)));
        }
        let _writing = self.memory.writing();
        self.memory.store(header::MARK, CLEAN, Release);
        Ok(self.memory.sync()?)
    }

    /// The system tells of a failure once; the mark remembers it.
    fn write_back(&self) -> Result<()> {
        let done = self.memory.sync();
        if done.is_err() && self.marked && self.host.is_some() {
            let _writing = self.memory.writing();
            let _ = self.memory.cas(header::MARK, DIRTY, FAILED, Release, Relaxed);
        }
        Ok(done?)
    }
}
