//! Counter: one number of 64 bits with a sign, in one node: `version | id | number`.

use crate::root::Root;
use vasmem_engine::directory::Named;
use vasmem_engine::layout::Kind;
use vasmem_engine::{Access, Host, Memory, Reached, Result, Touched, Transaction};

const NUMBER: u64 = 16;

/// A counter of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    root: Root,
}

impl From<Root> for Counter {
    fn from(root: Root) -> Counter {
        Counter { root }
    }
}

impl Counter {
    /// The counter that a directory entry names.
    ///
    /// # Errors
    /// `WrongKind`.
    pub fn of<A: Access>(access: &mut A, named: &Named) -> Result<Counter> {
        Root::of(access, named, Kind::COUNTER).map(Counter::from)
    }

    /// Makes a counter called `name`, which is not there yet.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        id: u64,
        number: i64,
    ) -> Result<Root> {
        Root::create(tx, (name, Kind::COUNTER, 0), id, &[number as u64])
    }

    /// Its number.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn get<A: Access>(&self, access: &mut A) -> Result<i64> {
        let view = self.root.read(access)?;
        let number = access.word(&view, self.root.node + NUMBER) as i64;
        access.check(&view)?;
        Ok(number)
    }

    /// Replaces the number by what `renew` makes of it, and returns that; `None` changes nothing.
    ///
    /// # Errors
    /// As `get`.
    pub fn renew<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        renew: impl FnOnce(i64) -> Option<i64>,
    ) -> Result<Option<i64>> {
        let view: Touched = self.root.read(tx)?;
        let at = self.root.node + NUMBER;
        let new = renew(tx.word(&view, at) as i64);
        if let Some(number) = new {
            tx.write(&view, at, number as u64);
        }
        Ok(new)
    }

    /// Frees it and its name.
    ///
    /// # Errors
    /// As `get`.
    pub fn remove<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        self.root.remove(tx, name)
    }

    /// Notes its block while nobody writes. Any number is one.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn reach<A: Access>(&self, access: &mut A, reached: &mut Reached) -> Result<()> {
        self.get(access)?;
        reached.block(self.root.node);
        Ok(())
    }
}
