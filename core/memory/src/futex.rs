//! Waiting until somebody, in whatever process, says that a word has changed.

use crate::{Mapped, Offset};
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use std::time::Duration;

impl Mapped {
    /// Sleeps at most so long, and no longer than until [`Mapped::wake`]; not at all if the low
    /// half of the word at `at` is another than that of `seen`. A signal ends it, too.
    pub fn wait_while(&self, at: Offset, seen: u64, at_most: Duration) {
        let Some(word) = self.half(at) else { return };
        let Ok(time) = at_most.try_into() else { return };
        match futex::wait(word, Flags::empty(), seen as u32, Some(&time)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            // The page is gone: whoever looks next will say so.
            Err(_) => std::thread::sleep(at_most),
        }
    }

    /// Wakes up to `count` of those that wait for the word at `at` to change. They wait shortly, so
    /// that a failure of the system only makes them late.
    pub fn wake(&self, at: Offset, count: u32) {
        if let Some(word) = self.half(at) {
            let _ = futex::wake(word, Flags::empty(), count);
        }
    }
}
