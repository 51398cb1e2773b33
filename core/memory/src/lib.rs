//! The lowest layer of vasmem: shared memory as a handful of operations.
//!
//! [`Memory`] is what every other layer sees: words, byte copies, fences and flushes at an
//! [`Offset`]. [`Mapped`] is a file mapped into this process, [`Plain`] is memory of this process
//! alone, for tests and model checking. Nothing here knows what the bytes mean.
//!
//! Everything in a mapping may change at any time, by other processes too. So it is only ever read
//! and written by relaxed atomics or by opaque instructions, and never borrowed as `&T`. Ordering
//! is the caller's: by the [`Ordering`] of a word access, or by [`Memory::fence`].

#[cfg(target_endian = "big")]
compile_error!("segments are little-endian; a big-endian machine would need conversions");

pub mod sync;

mod arc;
mod plain;

#[cfg(not(loom))]
mod copy;

#[cfg(not(loom))]
mod domain;
#[cfg(not(loom))]
mod flush;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod futex;
#[cfg(not(loom))]
mod holders;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod map_error;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod media;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod shutter;
#[cfg(not(loom))]
mod sigbus;
#[cfg(not(loom))]
mod tap;
#[cfg(not(loom))]
mod words;

pub use core::sync::atomic::Ordering;
pub use plain::Plain;

#[cfg(not(loom))]
pub use domain::{Domain, has_keys};
#[cfg(not(loom))]
pub use flush::flush_method;
#[cfg(not(loom))]
pub use fork::generation;
#[cfg(not(loom))]
pub use lock::LockFile;
#[cfg(not(loom))]
pub use map_error::MapError;
#[cfg(not(loom))]
pub use mapping::{Access, Mapped};
#[cfg(not(loom))]
pub use media::{COUNTS, Latency, Media, Survival};
#[cfg(not(loom))]
pub use region::is_dax;
#[cfg(not(loom))]
pub use tap::Tap;

/// Distance in bytes from the segment's base, the only kind of pointer. 0 is null.
pub type Offset = u64;

/// Bytes that persist together: the unit of [`Memory::flush`].
pub const CACHE_LINE: u64 = 64;

/// What the medium asks for before a store is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Nothing: stores are as durable as they will ever be (tmpfs), or [`Mapped::sync`] makes
    /// them so (a file in the page cache).
    Volatile,
    /// The store's cache line must be flushed and a fence drained: persistent memory.
    CacheLine,
    /// The processor's caches are durable themselves (eADR): draining is enough.
    Cache,
}

/// Shared memory.
///
/// Callers check offsets before they use them. An implementation is memory-safe for any offset all
/// the same: an access that is unaligned (words) or not wholly inside the memory reads zeros or is
/// ignored, and sets [`Memory::poisoned`].
///
/// An `order` that the standard library refuses for the operation (loading with `Release`) panics.
pub trait Memory {
    /// Reads the 8-aligned word at `at`.
    fn load(&self, at: Offset, order: Ordering) -> u64;

    /// Writes the 8-aligned word at `at`.
    fn store(&self, at: Offset, value: u64, order: Ordering);

    /// Writes `new` if the 8-aligned word at `at` is `old`. `Ok(old)` if it was written, otherwise
    /// the word found. A refused access (out of range, read-only) is `Err(!old)`.
    fn cas(
        &self,
        at: Offset,
        old: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64>;

    /// Copies bytes out, from any alignment. Relaxed: bytes that others write meanwhile may be old
    /// or new in any mixture, so validate before use.
    fn copy_out(&self, at: Offset, into: &mut [u8]);

    /// Copies bytes in, at any alignment. Relaxed, and never touches a byte outside the range.
    fn copy_in(&self, at: Offset, from: &[u8]);

    /// As [`Memory::copy_in`] and [`Memory::flush`] together, into space that nobody else uses:
    /// others may see it only after [`Memory::drain`].
    fn copy_in_flushed(&self, at: Offset, from: &[u8]) {
        self.copy_in(at, from);
        self.flush(at, from.len() as u64);
    }

    /// Writes words one after the other from the 8-aligned `at` on, relaxed.
    fn store_words(&self, at: Offset, words: &[u64]) {
        for (i, &word) in words.iter().enumerate() {
            self.store(at + i as u64 * 8, word, Ordering::Relaxed);
        }
    }

    /// Orders this thread's accesses before and after it. It does not wait for flushes.
    fn fence(&self, order: Ordering);

    /// Starts to write back the lines that hold `len` bytes from `at`; durable after
    /// [`Memory::drain`]. Nothing where the medium needs none.
    fn flush(&self, at: Offset, len: u64);

    /// Waits until all that this thread flushed is durable. Nothing where the medium needs none.
    fn drain(&self);

    /// A transaction that wrote `bytes`, its record apart, has ended: for whoever counts.
    fn committed(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Whether durability needs [`Memory::flush`] and [`Memory::drain`].
    fn needs_flush(&self) -> bool;

    /// The first offset that this process does not know to be backed.
    fn limit(&self) -> Offset;

    /// Whether an access fell outside the memory, or the memory vanished under it: what was read
    /// since is worth nothing, what was written may be lost. It stays set.
    fn poisoned(&self) -> bool;

    /// Hints that the line at `at` will be read soon. Any offset is fine.
    fn prefetch(&self, at: Offset) {
        let _ = at;
    }

    /// A sequentially consistent fence at a point that this thread reaches only after a successful
    /// [`Memory::cas`], with nothing to be ordered in between: free where an atomic
    /// read-modify-write is a full fence itself (x86).
    fn fence_after_cas(&self) {
        self.fence(Ordering::SeqCst);
    }

    /// Raises [`Memory::limit`] to `end`, as far as the bytes really are there.
    fn raise_limit(&self, end: Offset);

    /// Backs `len` bytes from `at` with zeroed space of their own; durably where the medium asks.
    fn allocate(&self, at: Offset, len: u64) -> std::io::Result<()> {
        let _ = (at, len);
        Ok(())
    }

    /// Makes all that was written durable by the file system's means, where it has any.
    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    /// Lets this thread write until [`Memory::forbid`], where writing is a fault otherwise; false
    /// if it may anyway, and [`Memory::forbid`] is not due.
    fn permit(&self) -> bool {
        false
    }

    /// The end of what [`Memory::permit`] began.
    fn forbid(&self) {}

    /// As [`Memory::permit`], until what it returns is dropped.
    #[inline]
    fn writing(&self) -> Writing<'_, Self> {
        Writing(self.permit().then_some(self))
    }

    /// One step of a spin loop.
    fn relax(&self) {
        sync::spin_loop();
    }
}

/// While it lives this thread may write.
pub struct Writing<'a, M: Memory + ?Sized>(Option<&'a M>);

impl<M: Memory + ?Sized> Drop for Writing<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(memory) = self.0 {
            memory.forbid();
        }
    }
}
