//! Memory behind an [`Arc`], so that several simulated processes can share one.

use crate::{Memory, Offset, Ordering};
use std::io;
use std::sync::Arc;

impl<T: Memory + ?Sized> Memory for Arc<T> {
    fn load(&self, at: Offset, order: Ordering) -> u64 {
        (**self).load(at, order)
    }
    fn store(&self, at: Offset, value: u64, order: Ordering) {
        (**self).store(at, value, order);
    }
    fn cas(
        &self,
        at: Offset,
        old: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        (**self).cas(at, old, new, success, failure)
    }
    fn copy_out(&self, at: Offset, into: &mut [u8]) {
        (**self).copy_out(at, into);
    }
    fn copy_in(&self, at: Offset, from: &[u8]) {
        (**self).copy_in(at, from);
    }
    fn fence(&self, order: Ordering) {
        (**self).fence(order);
    }
    fn flush(&self, at: Offset, len: u64) {
        (**self).flush(at, len);
    }
    fn drain(&self) {
        (**self).drain();
    }
    fn needs_flush(&self) -> bool {
        (**self).needs_flush()
    }
    fn limit(&self) -> Offset {
        (**self).limit()
    }
    fn poisoned(&self) -> bool {
        (**self).poisoned()
    }
    fn prefetch(&self, at: Offset) {
        (**self).prefetch(at);
    }
    fn fence_after_cas(&self) {
        (**self).fence_after_cas();
    }
    fn raise_limit(&self, end: Offset) {
        (**self).raise_limit(end);
    }
    fn allocate(&self, at: Offset, len: u64) -> io::Result<()> {
        (**self).allocate(at, len)
    }
    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
    fn relax(&self) {
        (**self).relax();
    }
}
