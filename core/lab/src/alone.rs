//! A process that is alone with its segment.

use vasmem_engine::{Error, Holder, Host, Patience, Result};

/// A host in whose world this process is alone: every lane from `first` on belongs to the dead.
pub struct Alone {
    /// Lanes below it seem to live elsewhere.
    pub first: u16,
}

impl Host for Alone {
    fn take_life(&self, _: u16) -> Result<bool> {
        Ok(true)
    }
    fn end_life(&self, _: u16) {}
    fn lives_elsewhere(&self, lane: u16) -> Result<bool> {
        Ok(lane < self.first)
    }
    fn take_recovery(&self, _: u16) -> Result<bool> {
        Ok(true)
    }
    fn end_recovery(&self, _: u16) {}
    fn take_growth(&self) -> Result<bool> {
        Ok(true)
    }
    fn end_growth(&self) {}
    fn generation(&self) -> u32 {
        0
    }
    fn pid(&self) -> u32 {
        1
    }
}

/// Waits for nobody: looks at the dead every few rounds, and gives up soon.
#[derive(Default)]
pub struct Impatient(u32);

impl Patience for Impatient {
    fn pause(&mut self, _: u32, waited_for: Holder) -> Result<bool> {
        self.0 += 1;
        if self.0 > 200 { Err(Error::Timeout { waited_for }) } else { Ok(self.0.is_multiple_of(4)) }
    }
}
