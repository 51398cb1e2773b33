//! Owners: who holds something for longer than an operation, such as a lock of a program's own.
//!
//! **O1** claims of a lane are numbered, under its recovery lock and before its life is taken. So
//! an owner is gone for good if its claim is not the lane's last one, or if nobody lives in the
//! lane; a lane that another process took over is not mistaken for it.
//!
//! An owner is a lane of the pool, which stays claimed as long as its attachment.

use crate::error::Result;
use crate::host::Host;
use crate::lab::{Mutation, mutated};
use crate::layout::lane;
use crate::segment::Segment;
use crate::transaction::Transaction;
use std::sync::atomic::Ordering::{Acquire, Release};
use vasmem_memory::Memory;

/// A thread of a process that has the segment attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// A lane of its process.
    pub lane: u16,
    /// Which claim of that lane.
    pub claim: u64,
    /// Number of the thread in its process, less than 48 bits.
    pub thread: u64,
}

impl Owner {
    /// As two words of a node: `lane + 1, 16 | thread 48`, claim. Nobody is two zeros.
    pub fn words(self) -> [u64; 2] {
        [(u64::from(self.lane) + 1) | (self.thread << 16), self.claim]
    }

    /// What two words say; an owner of a lane that no segment has if they make no sense.
    pub fn of([who, claim]: [u64; 2]) -> Option<Owner> {
        let lane = (who as u16).wrapping_sub(1);
        (who != 0).then_some(Owner { lane, claim, thread: who >> 16 })
    }
}

impl<M: Memory, H: Host> Segment<M, H> {
    pub(crate) fn count_claim(&self, id: u16) -> u64 {
        let at = self.tail(id) + lane::CLAIMS;
        let claim = self.memory.load(at, Acquire).wrapping_add(1);
        if !mutated(Mutation::ClaimNotCounted) {
            self.memory.store(at, claim, Release);
        }
        claim
    }

    fn is_last_claim(&self, owner: Owner) -> bool {
        u64::from(owner.lane) < self.geometry.lanes
            && self.memory.load(self.tail(owner.lane) + lane::CLAIMS, Acquire) == owner.claim
    }

    /// Whether it will never do anything again. A read-only attachment may not look at lives, and
    /// only knows of those whose lane has another owner.
    ///
    /// # Errors
    /// `Os`.
    pub fn is_gone(&self, owner: Owner) -> Result<bool> {
        if u64::from(owner.lane) >= self.geometry.lanes {
            return Ok(true);
        }
        if let Ok(host) = self.host() {
            self.lanes.notice_fork(host.generation());
        }
        let lives = self.owner_lives(owner.lane)?;
        let is_dead = lives == Some(false) && !mutated(Mutation::OwnersLiveForever);
        Ok(is_dead || !self.is_last_claim(owner))
    }

    /// Whether it is this thread of this process, by this attachment.
    pub fn is_mine(&self, owner: Owner, thread: u64) -> bool {
        let Ok(host) = self.host() else { return false };
        self.lanes.notice_fork(host.generation());
        owner.thread == thread && self.is_last_claim(owner) && self.lanes.is_own(owner.lane)
    }
}

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// The thread of that number as an owner. The lane must be one of the pool.
    pub fn owner(&self, thread: u64) -> Owner {
        Owner { lane: self.lane.id, claim: self.lane.claim, thread }
    }
}
