//! A segment's file mapped into this process.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FallocateFlags, fallocate, fstat, fstatfs, fstatvfs, fsync};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::param::page_size;

use crate::domain::{Domain, Membership};
use crate::flush::{self, Method};
use crate::map_error::MapError;
use crate::media::{Media, Survival};
use crate::region::{HUGE_PAGE, Region};
use crate::shutter::Shutter;
use crate::sigbus::Guard;
use crate::tap::{Socket, Tap};
use crate::words::Window;
use crate::{Medium, Memory, Offset, Ordering};

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading; a write is refused as if it were out of range.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// From so many bytes on, what is to be flushed anyway goes past the caches, which takes half the
/// time. What is smaller is likely to be read soon.
#[cfg(target_arch = "x86_64")]
const STREAMED_MIN: usize = 2048;

/// A file mapped with all the addresses it may ever need, so that growth moves nothing.
///
/// Accesses are checked against the reservation, which may reach past the end of the file: there,
/// and where the file was cut off, reading gives zeros, writing is lost, and the mapping is
/// poisoned.
pub struct Mapped {
    // Dropped in this order: the first four know the region's addresses.
    membership: OnceLock<Membership>,
    shutter: Option<Shutter>,
    writing_guard: Option<Guard>,
    guard: Guard,
    region: Region,
    limit: AtomicU64,
    flushes: Option<Method>,
    /// Whether huge pages are asked for: not after the system once had none.
    huge: AtomicBool,
    socket: Socket,
    /// Where flushed lines go, if the medium is an emulation.
    media: Option<Box<Media>>,
    fd: OwnedFd,
}

/// Whether the file lives in memory, where huge pages can take the place of small ones.
fn is_tmpfs(fd: BorrowedFd<'_>) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    fstatfs(fd).is_ok_and(|found| found.f_type as u64 == TMPFS_MAGIC)
}

impl Mapped {
    /// Maps the file behind `fd` (which is duplicated) at some address and reserves `reserve_bytes`
    /// of them, rounded up to whole pages. The limit is 0 until it is set.
    pub fn map(
        fd: BorrowedFd<'_>,
        reserve_bytes: u64,
        access: Access,
        medium: Medium,
    ) -> Result<Mapped, MapError> {
        Mapped::map_as(fd, reserve_bytes, access, medium, false)
    }

    /// As `map`, where huge pages can be mapped; [`Mapped::allocate`] asks for them where the file
    /// is one of tmpfs.
    pub fn map_huge(
        fd: BorrowedFd<'_>,
        reserve_bytes: u64,
        access: Access,
        medium: Medium,
    ) -> Result<Mapped, MapError> {
        Mapped::map_as(fd, reserve_bytes, access, medium, true)
    }

    fn map_as(
        fd: BorrowedFd<'_>,
        reserve_bytes: u64,
        access: Access,
        medium: Medium,
        huge: bool,
    ) -> Result<Mapped, MapError> {
        let bytes = reserve_bytes
            .checked_next_multiple_of(page_size() as u64)
            .filter(|bytes| (1..=isize::MAX as u64).contains(bytes))
            .ok_or(MapError::BadSize(reserve_bytes))?;
        let refused = |source: io::Error| MapError::Refused { reserve: bytes, source };
        let flushes = match medium {
            Medium::Volatile => None,
            Medium::CacheLine => Some(flush::method()),
            Medium::Cache => Some(Method::Nothing),
        };
        let fd = fcntl_dupfd_cloexec(fd, 0).map_err(|e| refused(e.into()))?;
        let huge = huge && is_tmpfs(fd.as_fd());
        let map = if huge { Region::map_aligned } else { Region::map };
        let region = map(fd.as_fd(), bytes, access, flushes.is_some()).map_err(refused)?;
        let guard = Guard::watch(region.window()).map_err(refused)?;
        Ok(Mapped {
            membership: OnceLock::new(),
            shutter: None,
            writing_guard: None,
            guard: guard.ok_or(MapError::TooMany)?,
            region,
            limit: AtomicU64::new(0),
            flushes,
            huge: AtomicBool::new(huge),
            socket: Socket::default(),
            media: None,
            fd,
        })
    }

    /// From now on this mapping is for reading alone, and so is every address that anybody is told.
    /// Writes go through a second one, which is only open between [`Memory::permit`] and
    /// [`Memory::forbid`]. Nothing happens where the mapping is for reading anyway.
    ///
    /// # Errors
    /// `TooMany`, `Refused`; it is of no use then.
    pub fn shut(&mut self) -> Result<(), MapError> {
        if !self.writable() {
            return Ok(());
        }
        let bytes = self.reserved();
        let refused = |source: io::Error| MapError::Refused { reserve: bytes, source };
        let huge = self.huge.load(Ordering::Relaxed);
        let map = if huge { Region::map_aligned } else { Region::map };
        let synchronous = self.flushes.is_some();
        let other = map(self.fd.as_fd(), bytes, Access::ReadWrite, synchronous).map_err(refused)?;
        let guard = Guard::watch_for(other.window(), Some(&self.guard)).map_err(refused)?;
        let at = other.window().base().addr().get();
        self.region.write_through(other).map_err(refused)?;
        self.writing_guard = Some(guard.ok_or(MapError::TooMany)?);
        self.shutter = Some(Shutter::new(at, bytes as usize).map_err(refused)?);
        Ok(())
    }

    /// Whether it can be written only between [`Memory::permit`] and [`Memory::forbid`].
    pub fn is_shut(&self) -> bool {
        self.shutter.is_some()
    }

    /// Lets flushed lines go to an emulated medium.
    pub fn emulate(&mut self, media: Media) {
        self.media = Some(Box::new(media));
    }

    /// The emulated medium, if it is one.
    pub fn media(&self) -> Option<&Media> {
        self.media.as_deref()
    }

    /// The power of an emulated medium fails, see [`Survival`]. Nobody else may have it mapped for
    /// writing. Returns how many lines were at stake and how many of them survived; none where
    /// nothing is emulated.
    ///
    /// # Errors
    /// Those of the system.
    pub fn crash(&self, survival: Survival, seed: u64) -> io::Result<(u64, u64)> {
        match &self.media {
            Some(media) => {
                let _writing = self.writing();
                media.crash(self.window(), self.fd.as_fd(), survival, seed)
            }
            None => Ok((0, 0)),
        }
    }

    /// Raises [`Memory::limit`] to `end`, at most to the reservation's; it never falls.
    pub fn set_limit(&self, end: Offset) {
        let end = end.min(self.reserved());
        self.limit.fetch_max(end, Ordering::Relaxed);
    }

    /// The file's size in bytes, now.
    pub fn file_size(&self) -> io::Result<u64> {
        Ok(fstat(&self.fd)?.st_size as u64)
    }

    /// The file's number, which no other file of its file system has.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(fstat(&self.fd)?.st_ino)
    }

    /// Bytes that the file's file system has free for this user; `None` where it has no bounds of
    /// its own, or does not tell.
    pub fn free_bytes(&self) -> Option<u64> {
        let found = fstatvfs(&self.fd).ok().filter(|found| found.f_blocks > 0)?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Backs `len` bytes from `at`, which hold nothing yet, with space of their own and lengthens
    /// the file to hold them; durably, where the medium asks for it. After an error they are holes.
    pub fn allocate(&self, at: Offset, len: u64) -> io::Result<()> {
        // A signal undoes the whole step on tmpfs: smaller ones get between frequent signals.
        const SMALLEST_STEP: u64 = 1 << 20;
        let end = at.checked_add(len).ok_or(Errno::FBIG)?;
        self.socket.may_allocate(at, len)?;
        if let Some(media) = &self.media {
            media.back(at, len)?;
        }
        let (mut done, mut step) = (at, len);
        while done < end {
            let piece = step.min(end - done);
            match fallocate(&self.fd, FallocateFlags::empty(), done, piece) {
                Ok(()) => done += piece,
                Err(Errno::INTR) => step = (piece / 2).max(SMALLEST_STEP),
                Err(error) => {
                    // A disk may have given a part, which then nobody else could have.
                    let _ = self.punch(at, len);
                    return Err(error.into());
                }
            }
        }
        self.collapse(at, end);
        if self.needs_flush() { self.sync() } else { Ok(()) }
    }

    /// Puts whole huge pages in the place of the new pages between `at` and `end`, if they were
    /// asked for and the system has some. Looking for them may take the system long: it is asked
    /// until it has none.
    fn collapse(&self, at: Offset, end: Offset) {
        let (from, to) = (at.next_multiple_of(HUGE_PAGE), end / HUGE_PAGE * HUGE_PAGE);
        let mut pages = (from..to).step_by(HUGE_PAGE as usize);
        if self.huge.load(Ordering::Relaxed)
            && !pages.all(|at| self.region.collapse(at, HUGE_PAGE).is_ok())
        {
            self.huge.store(false, Ordering::Relaxed);
        }
    }

    /// Gives the space of `len` bytes from `at` back to the system. They read as zeros, and must be
    /// allocated again before they are written: a hole in a full file system is a fault.
    pub fn punch(&self, at: Offset, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::io::retry_on_intr(|| fallocate(&self.fd, mode, at, len))?)
    }

    /// Makes all that was written durable by the file system's means. It may take milliseconds.
    pub fn sync(&self) -> io::Result<()> {
        self.drain();
        Ok(rustix::io::retry_on_intr(|| fsync(&self.fd))?)
    }

    /// Hints that the line at `at` will be read soon.
    #[inline]
    pub fn prefetch(&self, at: Offset) {
        self.window().prefetch(at);
    }

    /// See [`Memory::poisoned`].
    #[inline]
    pub fn poisoned(&self) -> bool {
        self.guard.poisoned()
    }

    /// Puts a recording tap in, or takes it out. Operations of other threads that are under way
    /// meanwhile may be missed.
    pub fn tap(&self, tap: Option<Arc<dyn Tap>>) {
        let recording = tap.is_some();
        self.socket.plug(tap);
        self.window().set_open(!recording);
    }

    /// Whether writes are possible.
    pub fn writable(&self) -> bool {
        self.window().is_writable()
    }

    /// Whether the kernel promises that flushed lines stay reachable after a power failure, which
    /// only a mapping with [`Medium::CacheLine`] on a DAX mount has (`MAP_SYNC`). Without it that
    /// medium is an emulation.
    pub fn synchronous(&self) -> bool {
        self.region.is_synchronous()
    }

    /// The reservation in bytes: whole pages, at least what was asked for.
    pub fn reserved(&self) -> u64 {
        self.window().bytes()
    }

    /// From now on only threads inside of that domain may touch the mapping.
    ///
    /// # Errors
    /// The system's, and if it is in one already; nothing happened then.
    pub fn join(&self, domain: &Arc<Domain>) -> io::Result<()> {
        let taken = || io::Error::other("this mapping is in a domain already, or shut");
        if self.membership.get().is_some() || self.is_shut() {
            return Err(taken());
        }
        let at = self.base_address();
        domain.take_in(at, self.window().bytes() as usize, self.window().is_writable())?;
        let membership = Membership { domain: domain.clone(), at };
        self.membership.set(membership).map_err(|_| taken())
    }

    /// Where the mapping is in this process.
    pub fn base_address(&self) -> usize {
        self.window().base().addr().get()
    }

    #[inline(always)]
    /// The low half of a word, to wait for.
    pub(crate) fn half(&self, at: Offset) -> Option<&AtomicU32> {
        self.window().half(at)
    }

    fn window(&self) -> &Window {
        self.region.window()
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped")
            .field("base", &self.window().base())
            .field("reserved", &self.reserved())
            .field("limit", &self.limit())
            .field("writable", &self.writable())
            .field("flushes", &self.flushes)
            .field("poisoned", &self.poisoned())
            .finish_non_exhaustive()
    }
}

impl Memory for Mapped {
    #[inline(always)]
    fn load(&self, at: Offset, order: Ordering) -> u64 {
        match self.window().word(at) {
            Some(word) => word.load(order),
            None => self.refused(),
        }
    }

    #[inline]
    fn store(&self, at: Offset, value: u64, order: Ordering) {
        match self.window().open_word(at) {
            Some(word) => word.store(value, order),
            None => self.store_slowly(at, value, order),
        }
    }

    #[inline]
    fn cas(
        &self,
        at: Offset,
        old: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        match self.window().open_word(at) {
            Some(word) => word.compare_exchange(old, new, success, failure),
            None => self.cas_slowly(at, old, new),
        }
    }

    // Copies of a whole line have a constant length, which only helps inside the caller.
    #[inline(always)]
    fn copy_out(&self, at: Offset, into: &mut [u8]) {
        if !self.window().copy_out(at, into) {
            self.refused();
            into.fill(0);
        }
    }

    #[inline]
    fn copy_in(&self, at: Offset, from: &[u8]) {
        if !self.window().copy_in_open(at, from) {
            self.copy_in_slowly(at, from);
        }
    }

    fn copy_in_flushed(&self, at: Offset, from: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if from.len() >= STREAMED_MIN
            && let Some(method) = self.flushes
            && self.window().stream_in_open(method, at, from)
        {
            if let Some(media) = &self.media {
                media.flushed(at, from.len() as u64);
            }
            return;
        }
        if from.len() >= STREAMED_MIN && self.flushes.is_some() && !self.window().is_open() {
            return self.stream_slowly(at, from);
        }
        self.copy_in(at, from);
        self.flush(at, from.len() as u64);
    }

    #[inline(always)]
    fn store_words(&self, at: Offset, words: &[u64]) {
        if !self.window().store_words_open(at, words) {
            self.store_words_slowly(at, words);
        }
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        if order != Ordering::Relaxed {
            fence(order);
        }
    }

    #[inline]
    fn flush(&self, at: Offset, len: u64) {
        if let Some(method) = self.flushes {
            self.flush_by(method, at, len);
            if let Some(media) = &self.media {
                media.flushed(at, len);
            }
        }
    }

    #[inline]
    fn drain(&self) {
        if self.flushes.is_some() {
            if self.window().is_open() {
                flush::drain();
            } else {
                self.drain_slowly();
            }
            if let Some(media) = &self.media {
                media.fence(self.window());
                if media.poisoned() {
                    self.guard.poison();
                }
            }
        }
    }

    #[inline]
    fn committed(&self, bytes: u64) {
        if let Some(media) = &self.media {
            media.committed(bytes);
        }
    }

    #[inline]
    fn needs_flush(&self) -> bool {
        self.flushes.is_some()
    }

    #[inline]
    fn limit(&self) -> Offset {
        self.limit.load(Ordering::Relaxed)
    }

    #[inline]
    fn poisoned(&self) -> bool {
        Mapped::poisoned(self)
    }

    #[inline]
    fn prefetch(&self, at: Offset) {
        Mapped::prefetch(self, at);
    }

    #[inline]
    fn permit(&self) -> bool {
        self.shutter.as_ref().is_some_and(Shutter::open)
    }

    #[inline]
    fn forbid(&self) {
        if let Some(shutter) = &self.shutter {
            shutter.close();
        }
    }

    #[inline]
    fn fence_after_cas(&self) {
        if cfg!(target_arch = "x86_64") {
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    fn raise_limit(&self, end: Offset) {
        let there = self.file_size().unwrap_or(0);
        self.set_limit(end.min(there));
    }

    fn sync(&self) -> io::Result<()> {
        Mapped::sync(self)
    }

    fn allocate(&self, at: Offset, len: u64) -> io::Result<()> {
        Mapped::allocate(self, at, len)?;
        if self.needs_flush() { self.sync() } else { Ok(()) }
    }
}

/// The slow path: accesses that are refused, and all writes while a tap records.
impl Mapped {
    #[cold]
    fn refused(&self) -> u64 {
        self.guard.poison();
        0
    }

    #[cold]
    #[inline(never)]
    fn store_slowly(&self, at: Offset, value: u64, order: Ordering) {
        match self.window().writable_word(at) {
            Some(word) => self.socket.observe(
                || word.store(value, order),
                |tap, ()| tap.store(at, &value.to_le_bytes()),
            ),
            None => _ = self.refused(),
        }
    }

    #[cold]
    #[inline(never)]
    fn store_words_slowly(&self, at: Offset, words: &[u64]) {
        for (i, &word) in words.iter().enumerate() {
            self.store_slowly(at.saturating_add(i as u64 * 8), word, Ordering::Relaxed);
        }
    }

    /// With the strongest order: here it does not matter, and it makes one copy of the code.
    #[cold]
    #[inline(never)]
    fn cas_slowly(&self, at: Offset, old: u64, new: u64) -> Result<u64, u64> {
        let Some(word) = self.window().writable_word(at) else {
            self.refused();
            return Err(!old);
        };
        self.socket.observe(
            || word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst),
            |tap, done| {
                if done.is_ok() {
                    tap.store(at, &new.to_le_bytes());
                }
            },
        )
    }

    #[cold]
    #[inline(never)]
    fn copy_in_slowly(&self, at: Offset, from: &[u8]) {
        let report = |tap: &dyn Tap, done: &bool| {
            if *done {
                tap.store(at, from);
            }
        };
        if !self.socket.observe(|| self.window().copy_in(at, from), report) {
            self.refused();
        }
    }

    /// For the tap it went past the caches; the medium takes it either way.
    #[cold]
    #[inline(never)]
    fn stream_slowly(&self, at: Offset, from: &[u8]) {
        let (Some(method), len) = (self.flushes, from.len() as u64) else { return };
        let report = |tap: &dyn Tap, done: &bool| {
            if *done {
                tap.stream(at, from);
            }
        };
        let stream = || self.window().copy_in(at, from) && self.window().flush(method, at, len);
        if !self.socket.observe(stream, report) {
            self.refused();
        } else if let Some(media) = &self.media {
            media.flushed(at, len);
        }
    }

    fn flush_by(&self, method: Method, at: Offset, len: u64) {
        if self.window().is_open() {
            if !self.window().flush(method, at, len) {
                self.refused();
            }
        } else {
            self.flush_slowly(method, at, len);
        }
    }

    #[cold]
    #[inline(never)]
    fn flush_slowly(&self, method: Method, at: Offset, len: u64) {
        let report = |tap: &dyn Tap, done: &bool| {
            if *done {
                tap.flush(at, len);
            }
        };
        let flush = || self.window().flush(method, at, len);
        if !self.socket.observe(flush, report) {
            self.refused();
        }
    }

    #[cold]
    #[inline(never)]
    fn drain_slowly(&self) {
        self.socket.observe(flush::drain, |tap, ()| tap.fence());
    }
}
