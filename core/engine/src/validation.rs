//! Whether what a transaction has read is still so.

use crate::access::{Peek, TRIES};
use crate::buffers::mode;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::lab::{Mutation, mutated};
use crate::record::Phase;
use crate::transaction::Transaction;
use crate::version::Version;
use std::sync::atomic::Ordering::Acquire;
use vasmem_memory::Memory;

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// Step 3: nodes that only led the way are unlocked and as they were (E5b). While this lane has
    /// the token a lock of another changes nothing: it will be given up at the same counter (W2).
    pub(crate) fn validate_navigation(&self) -> Result<()> {
        let listed = mode::READ | mode::CHANGES;
        let listed = if mutated(Mutation::ReadsNotLocked) { mode::CHANGES } else { listed };
        if mutated(Mutation::SkipValidation) {
            return Ok(());
        }
        for entry in self.lane.buffers.entries.iter() {
            if entry.mode & listed != 0 {
                continue;
            }
            let version = Version(self.segment.memory.load(entry.node, Acquire));
            let locked = !self.lane.is_alone
                && version.is_locked(self.segment.incarnation())
                && !(mutated(Mutation::PreparedPassesValidation)
                    && self.segment.phase_of(version.lane()) == Some(Phase::Prepared));
            if locked || version.counter() != entry.counter {
                return Err(Error::Conflict);
            }
        }
        Ok(())
    }

    /// All that it saw was true at one time, the present one (E5a).
    ///
    /// # Errors
    /// `Conflict` if not.
    pub fn validate(&self) -> Result<()> {
        if self.lane.buffers.stale.get() {
            return Err(Error::Conflict);
        }
        self.segment.memory.fence(Acquire);
        for entry in self.lane.buffers.entries.iter() {
            if entry.mode & mode::SEEN == 0 {
                continue;
            }
            let mut tries = 0;
            loop {
                let mut peek = Peek::new(self.segment);
                let view = peek.line(entry.node)?;
                let counter = if mutated(Mutation::RawWordValidation) {
                    view.word >> 24
                } else {
                    view.counter
                };
                if mutated(Mutation::NoSecondLook) || peek.recheck(&view) {
                    if counter != entry.counter {
                        return Err(Error::Conflict);
                    }
                    break;
                }
                tries += 1;
                if tries > TRIES {
                    return Err(Error::Conflict);
                }
            }
        }
        Ok(())
    }
}
