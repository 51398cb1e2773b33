//! Lock: one node that says who has it: `version | id | owner | claim`.
//!
//! A lock whose owner is gone belongs to the next one who wants it, who is told so.

use crate::owned::{owner, reach_owner, set_owner};
use crate::root::Root;
use vasmem_engine::directory::Named;
use vasmem_engine::layout::Kind;
use vasmem_engine::{Access, Host, Memory, Offset, Owner, Reached, Result, Touched, Transaction};

const OWNER: u64 = 16;

/// A lock of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    root: Root,
}

/// What became of an attempt to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is the caller's now; `abandoned` if its last owner died with it.
    Taken {
        /// Whether the last owner did not release it.
        abandoned: bool,
    },
    /// It was the caller's before.
    Mine,
    /// Somebody else has it.
    Held(Owner),
}

impl From<Root> for Lock {
    fn from(root: Root) -> Lock {
        Lock { root }
    }
}

impl Lock {
    /// The lock that a directory entry names.
    ///
    /// # Errors
    /// `WrongKind`.
    pub fn of<A: Access>(access: &mut A, named: &Named) -> Result<Lock> {
        Root::of(access, named, Kind::LOCK).map(Lock::from)
    }

    /// Makes a free lock called `name`, which is not there yet.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        id: u64,
    ) -> Result<Root> {
        Root::create(tx, (name, Kind::LOCK, 0), id, &[])
    }

    /// The node whose version word moves when the lock changes hands.
    pub fn node(&self) -> Offset {
        self.root.node
    }

    /// Who has it, dead or alive.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn owner<A: Access>(&self, access: &mut A) -> Result<Option<Owner>> {
        let view = self.root.read(access)?;
        let found = owner(access, &view, self.root.node + OWNER)?;
        access.check(&view)?;
        Ok(found)
    }

    /// Takes it for a thread of this process, if nobody has it who is alive.
    ///
    /// # Errors
    /// As `owner`; `Os`.
    pub fn acquire<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        thread: u64,
    ) -> Result<Attempt> {
        let view: Touched = self.root.read(tx)?;
        let at = self.root.node + OWNER;
        let before = owner(tx, &view, at)?;
        if let Some(holder) = before {
            if tx.segment.is_mine(holder, thread) {
                return Ok(Attempt::Mine);
            }
            if !tx.segment.is_gone(holder)? {
                return Ok(Attempt::Held(holder));
            }
        }
        let me = tx.owner(thread);
        set_owner(tx, &view, at, Some(me));
        Ok(Attempt::Taken { abandoned: before.is_some() })
    }

    /// Gives it back; false if that thread does not have it.
    ///
    /// # Errors
    /// As `owner`.
    pub fn release<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        thread: u64,
    ) -> Result<bool> {
        let view: Touched = self.root.read(tx)?;
        let at = self.root.node + OWNER;
        let mine = owner(tx, &view, at)?.is_some_and(|holder| tx.segment.is_mine(holder, thread));
        if mine {
            set_owner(tx, &view, at, None);
        }
        Ok(mine)
    }

    /// Frees it and its name.
    ///
    /// # Errors
    /// As `owner`.
    pub fn remove<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        self.root.remove(tx, name)
    }

    /// Notes its block while nobody writes, and what is wrong with it.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn reach<A: Access>(&self, access: &mut A, reached: &mut Reached) -> Result<()> {
        let view = self.root.read(access)?;
        reach_owner(access, &view, self.root.node + OWNER, reached);
        access.check(&view)?;
        reached.block(self.root.node);
        Ok(())
    }
}
