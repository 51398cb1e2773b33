//! What the operating system gives the engine: lives of lanes, growth, time. Real processes use
//! [`crate::os::OsHost`]; tests and models use hosts of their own.

use crate::error::{Holder, Result};

/// Lives of lanes and growth, as the system knows them.
///
/// The life of a lane is a lock that the system drops when the owner dies. It says nothing about
/// lanes of this process: ask [`crate::lanes::Lanes::is_own`] first.
pub trait Host: Send + Sync {
    /// Takes the life of lane `lane` for this process; false if another process has it.
    fn take_life(&self, lane: u16) -> Result<bool>;
    /// Gives it back.
    fn end_life(&self, lane: u16);
    /// Whether another process has it.
    fn lives_elsewhere(&self, lane: u16) -> Result<bool>;
    /// Takes the right to recover `lane`, against threads of this process, too; false if taken.
    fn take_recovery(&self, lane: u16) -> Result<bool>;
    /// Gives it back.
    fn end_recovery(&self, lane: u16);
    /// Takes the right to grow the segment; false if taken.
    fn take_growth(&self) -> Result<bool>;
    /// Gives it back.
    fn end_growth(&self);
    /// Counts the forks between the first process of this handle and the present one.
    fn generation(&self) -> u32;
    /// Identity to show in messages.
    fn pid(&self) -> u32;
}

/// How long and in what way a caller waits. One object serves one operation.
pub trait Patience {
    /// Waits a little, longer with every `round` (from 0); returns whether about a millisecond has
    /// passed, so that it is time to ask whether the holder lives.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`] when the time is up, [`crate::Error::Interrupted`] on a signal.
    fn pause(&mut self, round: u32, holder: Holder) -> Result<bool>;
}
