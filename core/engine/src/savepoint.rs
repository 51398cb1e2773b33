//! Going back to an earlier state of a transaction.

use crate::buffers::{Buffers, mode};
use crate::host::Host;
use crate::transaction::Transaction;
use vasmem_memory::Memory;

/// What a transaction had gathered at some time.
pub struct Savepoint(Buffers);

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// What is gathered so far, to go back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.lane.buffers.clone())
    }

    /// Forgets what was to be changed since `savepoint`. What was read since then stays noted: it
    /// may have led to what comes now.
    pub fn go_back_to(&mut self, savepoint: Savepoint) {
        let since = std::mem::replace(&mut self.lane.buffers, savepoint.0);
        let buffers = &mut self.lane.buffers;
        for entry in since.entries.iter().filter(|entry| entry.mode & mode::SEEN != 0) {
            let number = buffers.entry(entry.node, 0) as usize;
            let kept = &mut buffers.entries[number];
            kept.counter = entry.counter;
            kept.mode |= entry.mode & (mode::SEEN | mode::READ | mode::CLOSELY);
        }
        buffers.keep_views_of(&since);
        buffers.stale.set(since.stale.get());
    }

    /// Grows with everything that is to be changed.
    pub fn changes(&self) -> u64 {
        self.lane.buffers.changes
    }
}
