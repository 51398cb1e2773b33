//! Failpoints and seeded defects. Both exist only under the cargo feature `lab`; without it every
//! function here is a constant, and the compiler removes the calls.
//!
//! A failpoint ends a lane at a numbered step, as a kill would. A mutation leaves one step of the
//! protocol out; each must be noticed by a test (`core/lab` runs them all).

use crate::error::Result;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident {
        $($(#[doc = $text:literal])* $variant:ident = $number:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $text])* $variant = $number,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// Finds one by its name in the source.
            pub fn named(name: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|one| format!("{one:?}") == name)
            }
            /// What its documentation says.
            pub fn text(self) -> &'static str {
                match self {
                    $($name::$variant => concat!($($text),*).trim_ascii(),)*
                }
            }
        }
    };
}

numbered! {
    /// Steps at which a process can be made to die.
    Point {
        /// Commit step 1: the list is partly written.
        Listing = 1,
        /// Commit step 1 is done.
        Prepared = 2,
        /// Commit step 2: one more node is locked.
        Locked = 3,
        /// Commit step 3 is done.
        Validated = 4,
        /// Commit step 4: unpublished space is filled.
        Filled = 5,
        /// Commit step 4: the record is complete, not yet fenced.
        Recorded = 6,
        /// Commit step 4: fenced, not yet COMMITTED.
        Fenced = 7,
        /// Commit step 4 is done.
        Committed = 8,
        /// Commit step 5: one more word is applied.
        Applied = 9,
        /// Commit step 5: all words are flushed and fenced.
        Persisted = 10,
        /// Commit step 5: one more node is unlocked.
        Unlocked = 11,
        /// Commit step 6 is done.
        Idle = 12,
        /// Abort: one more node is unlocked.
        AbortUnlocked = 13,
        /// Abort is done.
        Aborted = 14,
        /// Recovery: its lock is held and the owner is known to be dead.
        RecoveryBegun = 15,
        /// Recovery: one more node has its words.
        RecoveryApplied = 16,
        /// Recovery: one more node is unlocked.
        RecoveryUnlocked = 17,
        /// Recovery: the record is idle.
        RecoveryIdle = 18,
        /// Claim: the recovery lock is held.
        ClaimBegun = 19,
        /// Claim: the lane is taken.
        Claimed = 20,
        /// The writer token is set.
        TokenSet = 21,
        /// Every other lane was seen outside a commit.
        TokenQuiet = 22,
        /// The holder committed, the token is still set.
        TokenDone = 23,
        /// Growth: the bytes are there, the header does not say so yet.
        Grown = 24,
        /// Growth is done.
        GrownTold = 25,
        /// Power recovery: the incarnation is bumped.
        Bumped = 26,
        /// Reader: a locked word was seen, the owner's state not yet.
        LookedAtWord = 27,
        /// Reader: between the last two looks, at record and word.
        Rechecking = 28,
        /// Pinner: the slot is written, the block is not yet looked at again.
        Pinned = 29,
    }
}

numbered! {
    /// Seeded defects: each leaves out or misplaces one step of the protocol.
    Mutation {
        /// No defect.
        None = 0,
        /// Deciding and navigation reads are not validated.
        SkipValidation = 1,
        /// Words are applied before the record says COMMITTED.
        ApplyBeforeCommitted = 2,
        /// Nodes are unlocked before their words are applied.
        UnlockBeforeApply = 3,
        /// The record is idle before the nodes are unlocked.
        IdleBeforeUnlock = 4,
        /// The same in an abort.
        AbortIdleBeforeUnlock = 5,
        /// Nodes are locked while the record is still idle.
        LockWithoutPrepared = 6,
        /// Nodes are locked in the order of first use.
        LocksOutOfOrder = 7,
        /// Recovery writes words without looking at the node's counter.
        RecoveryNotGated = 8,
        /// Recovery takes no lock.
        RecoveryWithoutLock = 9,
        /// Recovery makes the record idle first.
        RecoveryIdleFirst = 10,
        /// Death is looked at before the recovery lock only.
        DeathNotLookedAtAgain = 11,
        /// A free lane is taken as it is.
        ClaimWithoutRecovery = 12,
        /// E4: a lock that its owner's record does not list is taken over.
        VoidSteal = 13,
        /// E5a: read-only transactions compare raw version words.
        RawWordValidation = 14,
        /// The effective version is taken without looking at the word again.
        NoSecondLook = 15,
        /// E5b: navigation reads may be locked by a prepared lane.
        PreparedPassesValidation = 16,
        /// E1: nodes that were only read are not locked.
        ReadsNotLocked = 17,
        /// Navigation reads are validated before the locks are taken.
        ValidateBeforeLocking = 18,
        /// Readers do not look at the record again.
        NoRecordRecheck = 19,
        /// Readers do not look at the version word again.
        NoWordRecheck = 20,
        /// Descents do not look at the parent again.
        NoParentRecheck = 21,
        /// E2: a freed node keeps its counter, a fresh one is filled without its lock.
        FreeWithoutBumpFillUnlocked = 22,
        /// E2: a freed node keeps its counter.
        FreeWithoutBump = 23,
        /// E3: a fresh node is filled without its lock, parents are unlocked first.
        FillUnlockedParentFirst = 24,
        /// Fresh space is filled before its run is locked.
        EarlyFill = 25,
        /// A block freed in a transaction is allocated again in it.
        ReuseInTransaction = 26,
        /// The token is looked at before the record is prepared.
        TokenBeforePrepared = 27,
        /// The token holder does not wait for the other lanes.
        TokenNoWait = 28,
        /// A dead token holder is not recovered.
        DeadHolderNotRecovered = 29,
        /// Recovery clears the token without looking whose it is.
        TokenClearedBlindly = 30,
        /// Commit step 1 has no release fence (a slow reader overlays the next list).
        NoFenceBeforeList = 31,
        /// Commit step 5 has no release fence (a reader sees applied words under PREPARED).
        NoFenceBeforeApply = 32,
        /// A lock is taken without Release, and the list has no fence before it (the fence makes
        /// the Release redundant: who sees the lock sees at least IDLE).
        RelaxedLock = 33,
        /// No sequentially consistent fence between locks and validation or token.
        NoFullFence = 34,
        /// seq restarts with every claim, and readers look at the record last (either alone is
        /// redundant).
        SeqRestarts = 35,
        /// Records of prepared dead lanes with a good sum are rolled back.
        GoodSumRolledBack = 36,
        /// No release fence before filling, neither its own nor the full one (either alone is
        /// redundant).
        NoFenceBeforeFill = 37,
        /// Readers compare no seq, and look at the record last (either alone is redundant).
        SeqNotCompared = 38,
        /// Readers have no acquire fence before they look again.
        NoFenceBeforeRecheck = 39,
        /// A pinner does not look again whether its block is still the one.
        PinNotLookedAtAgain = 40,
        /// A commit does not look at pins after its locks.
        PinsNotLookedAt = 41,
        /// A pinned block is freed at once.
        PinnedFreed = 42,
        /// The mark says CLEAN before all is written back.
        CleanBeforeSync = 43,
        /// A commit goes on before the medium knows that the mark is no longer CLEAN.
        DirtyNotSynced = 44,
        /// Power: fence 1 is left out.
        RecordNotDrained = 45,
        /// Power: the record is not flushed.
        RecordNotFlushed = 46,
        /// Power, R2: space that nothing points to yet is not flushed.
        FillsNotFlushed = 47,
        /// Power: fence 2 is left out.
        HomeNotDrained = 48,
        /// Power: lines of words and versions are not flushed.
        HomeNotFlushed = 49,
        /// Power, R4: recovery leaves out the fence between words and targets, and its flushes.
        RedoneNotDurable = 50,
        /// Power, R7: the bump of the incarnation is not durable before all else.
        BumpNotDurable = 51,
        /// A reader of rows looks at the header alone, not at their stripes.
        StripesNotRead = 52,
        /// A2: who moves rows or cuts some off leaves the counters of their stripes, and nodes that
        /// were only read are not flushed (either alone is redundant).
        StripesLeft = 53,
        /// Q2: an item that is taken on lease stays in its slot.
        LeaseKeepsSlot = 54,
        /// Q2: a lease that ends is still in use.
        LeaseNotEnded = 55,
        /// An item that was given back moves no node that is waited at.
        GivenBackInSilence = 56,
        /// Y1: a home is not told of a key in the stash.
        StashNotTold = 57,
        /// O1: claims of a lane are not numbered.
        ClaimNotCounted = 58,
        /// Whose lane nobody took over is never gone.
        OwnersLiveForever = 59,
        /// Q3: items of leases that are over come when no other is left.
        LeasesNotFirst = 60,
        /// A1: rows of several stripes are all changed under the lock of the first.
        FirstStripeOnly = 61,
        /// Y1: a table that was split tells no home of its keys in the stash.
        SplitForgetsStash = 62,
        /// A reader of a typed map does not look at the node of its entry again.
        NodeNotRechecked = 63,
        /// Power, R1: after a power failure the state decides, a good sum does not.
        StateDecides = 64,
        /// Power: a record is redone whatever its sum.
        SumIgnored = 65,
        /// Power, R2: the sum covers the record, not the space that it publishes.
        SumWithoutFills = 66,
        /// Power, R7: the incarnation stays the same.
        NotBumped = 67,
        /// Power: targets are stored before fence 2.
        UnlockBeforeDurable = 68,
        /// Locks are left when the incarnation bits of version words start over.
        LocksNotSwept = 69,
        /// Power, R5: recovery ends before idle records are durable.
        IdleNotDurable = 70,
        /// Power, R4: recovery makes a record idle before its targets are durable.
        TargetsNotDurable = 71,
        /// Power, G1: granules are handed out before the backed end is durable.
        BackedNotDurable = 72,
    }
}

/// What an armed failpoint does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Action {
    /// The operation returns [`crate::Error::Died`], nothing is cleaned up.
    Return = 1,
    /// The process sends itself SIGKILL.
    Kill = 2,
    /// The process stops (SIGSTOP) and goes on when continued.
    Stop = 3,
}

#[cfg(not(feature = "lab"))]
mod switches {
    use super::*;

    /// Switches of one handle; none in this build.
    #[derive(Debug, Default)]
    pub struct Switches {}

    impl Switches {
        /// Dies here if armed.
        #[inline(always)]
        pub fn hit(&self, _point: Point) -> Result<()> {
            Ok(())
        }
    }

    /// Whether a defect is switched on.
    #[inline(always)]
    pub fn mutated(_mutation: Mutation) -> bool {
        false
    }
}

#[cfg(feature = "lab")]
mod switches {
    use super::*;
    use crate::error::Error;
    use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// Something to run in the middle of operations.
    type Watcher = Box<dyn FnMut(Point) + Send>;

    /// Switches of one handle, that is of one (real or simulated) process.
    #[derive(Default)]
    pub struct Switches {
        point: AtomicU8,
        skip: AtomicU32,
        action: AtomicU8,
        dead: AtomicU8,
        watched: AtomicBool,
        watcher: Mutex<Option<Watcher>>,
    }

    impl Switches {
        /// The `nth` (from 0) time that `point` is reached, does `action`.
        pub fn arm(&self, point: Point, nth: u32, action: Action) {
            self.skip.store(nth, Relaxed);
            self.action.store(action as u8, Relaxed);
            self.point.store(point as u8, Relaxed);
        }

        /// Runs `watcher` at every step from here on: what other processes do in the middle of an
        /// operation of this one. Steps inside of it are not watched.
        pub fn watch(&self, watcher: impl FnMut(Point) + Send + 'static) {
            let mut place = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            *place = Some(Box::new(watcher));
            self.watched.store(true, Relaxed);
        }

        /// Whether an armed [`Action::Return`] was reached.
        pub fn died(&self) -> bool {
            self.dead.load(Relaxed) != 0
        }

        /// Dies here if armed.
        #[inline]
        pub fn hit(&self, point: Point) -> Result<()> {
            if self.dead.load(Relaxed) != 0 {
                return Err(Error::Died);
            }
            if self.watched.load(Relaxed)
                && let Ok(Some(watcher)) = self.watcher.try_lock().as_deref_mut()
            {
                watcher(point);
            }
            if self.point.load(Relaxed) != point as u8 {
                return Ok(());
            }
            let left = self.skip.load(Relaxed);
            if left > 0 {
                self.skip.store(left - 1, Relaxed);
                return Ok(());
            }
            self.point.store(0, Relaxed);
            match self.action.load(Relaxed) {
                a if a == Action::Kill as u8 => signal_self(rustix::process::Signal::KILL),
                a if a == Action::Stop as u8 => signal_self(rustix::process::Signal::STOP),
                _ => {
                    self.dead.store(1, Relaxed);
                    Err(Error::Died)
                }
            }
        }
    }

    fn signal_self(signal: rustix::process::Signal) -> Result<()> {
        rustix::process::kill_process(rustix::process::getpid(), signal)
            .map_err(|errno| Error::Os(errno.into()))
    }

    /// Whether a defect is switched on, by the environment variable `VASMEM_MUTATION`.
    pub fn mutated(mutation: Mutation) -> bool {
        static CHOSEN: OnceLock<Mutation> = OnceLock::new();
        *CHOSEN.get_or_init(|| match std::env::var("VASMEM_MUTATION") {
            Ok(name) => Mutation::named(&name).unwrap_or_else(|| panic!("no mutation {name}")),
            Err(_) => Mutation::None,
        }) == mutation
    }
}

pub use switches::{Switches, mutated};
