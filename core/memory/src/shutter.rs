//! A second mapping of a segment, the only one that can be written, and only while it is opened.
//!
//! With protection keys opening and closing are writes of the thread's PKRU register; all shutters
//! of the process share one key, which no thread has by default. Without keys it is `mprotect`, and
//! open for all threads while one has it open; but nobody is told where that mapping is.

use std::hint::spin_loop;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread::yield_now;

use libc::{PROT_READ, PROT_WRITE};

use crate::domain::{PLAIN, Part, denied, keep_key, protect, rights, set_rights};
use crate::fork::generation;

/// Looks at a holder that spin; later ones let other threads run.
const SPINS: u32 = 100;

/// Opens and closes one mapping, for whole writes of ours.
#[derive(Debug)]
pub(crate) struct Shutter {
    part: Part,
    key: u32,
    /// Generation of the process of which a thread changes the protection, or 0: what a forked
    /// child inherits is nobody's.
    changing: AtomicU32,
    /// Generation above, entries that have it open below.
    open: AtomicU64,
}

impl Shutter {
    /// Closes that mapping, which lives as long as this does.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(at: usize, bytes: usize) -> io::Result<Shutter> {
        static KEY: OnceLock<u32> = OnceLock::new();
        let key = *KEY.get_or_init(|| keep_key().unwrap_or(PLAIN));
        let part = Part { at, bytes, protection: PROT_READ | PROT_WRITE };
        protect(&[part], key != PLAIN, key, key != PLAIN)?;
        Ok(Shutter { part, key, changing: AtomicU32::new(0), open: AtomicU64::new(0) })
    }

    /// Opens it; false if this thread may write there already.
    #[inline]
    pub(crate) fn open(&self) -> bool {
        if self.key == PLAIN {
            self.count(1);
            return true;
        }
        let now = rights();
        if now & denied(self.key) == 0 {
            return false;
        }
        set_rights(now & !denied(self.key));
        true
    }

    /// Closes what [`Shutter::open`] opened.
    #[inline]
    pub(crate) fn close(&self) {
        if self.key == PLAIN { self.count(-1) } else { set_rights(rights() | denied(self.key)) }
    }

    #[cold]
    fn count(&self, change: i32) {
        let mine = generation();
        let mut round = 0;
        loop {
            let seen = self.changing.load(SeqCst);
            if seen != mine && self.changing.compare_exchange(seen, mine, SeqCst, SeqCst).is_ok() {
                break;
            }
            round += 1;
            if round < SPINS { spin_loop() } else { yield_now() }
        }
        let seen = self.open.load(SeqCst);
        let before = if (seen >> 32) as u32 == mine { seen as u32 } else { 0 };
        let after = before.saturating_add_signed(change);
        if (before == 0) != (after == 0) {
            // Refused, the next store is a fault: there is nothing better to do.
            let _ = protect(&[self.part], after != 0, PLAIN, false);
        }
        self.open.store(u64::from(mine) << 32 | u64::from(after), SeqCst);
        self.changing.store(0, SeqCst);
    }
}
