//! The recording tap: an observer that sees every store, flush and fence of a mapping in order.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Offset;

/// An observer of one mapping. It is called with the recording lock held, so the calls are in the
/// order in which this process did the operations, and it must not write to the mapping itself.
pub trait Tap: Send + Sync {
    /// `bytes` were stored at `at`: a word store, a successful exchange, or a copy.
    fn store(&self, at: Offset, bytes: &[u8]);

    /// `bytes` were stored at `at` past the caches, their words in no order, and flushed.
    fn stream(&self, at: Offset, bytes: &[u8]) {
        self.store(at, bytes);
        self.flush(at, bytes.len() as u64);
    }

    /// The lines that hold `len` bytes from `at` were flushed. Only where the medium needs it.
    fn flush(&self, at: Offset, len: u64);

    /// Flushes were drained ([`crate::Memory::drain`]). An ordering fence is not reported, as no
    /// one may rely on it for durability.
    fn fence(&self);

    /// `len` bytes from `at` are going to be backed. An error is that of the system: there is no
    /// room for them.
    fn allocate(&self, at: Offset, len: u64) -> io::Result<()> {
        let _ = (at, len);
        Ok(())
    }
}

/// The place of a mapping's tap.
#[derive(Default)]
pub(crate) struct Socket {
    tap: Mutex<Option<Arc<dyn Tap>>>,
}

impl Socket {
    pub(crate) fn plug(&self, tap: Option<Arc<dyn Tap>>) {
        *self.lock() = tap;
    }

    /// Does `operation`, and tells the tap of it as `report` says, as one step.
    pub(crate) fn observe<R>(
        &self,
        operation: impl FnOnce() -> R,
        report: impl FnOnce(&dyn Tap, &R),
    ) -> R {
        let tap = self.lock();
        let result = operation();
        if let Some(tap) = tap.as_deref() {
            report(tap, &result);
        }
        result
    }

    /// Whether the tap allows `len` bytes from `at` to be backed.
    pub(crate) fn may_allocate(&self, at: Offset, len: u64) -> io::Result<()> {
        self.lock().as_deref().map_or(Ok(()), |tap| tap.allocate(at, len))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Tap>>> {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
