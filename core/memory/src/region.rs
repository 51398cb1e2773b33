//! The system calls that map a file and take the mapping away.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};
use rustix::param::page_size;

use crate::mapping::Access;
use crate::words::Window;

/// Bytes of a huge page.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;
/// Advice to read all pages in now (Linux 5.14), and to put huge pages there now (Linux 6.1).
const MADV_POPULATE_READ: libc::c_int = 22;
const MADV_COLLAPSE: libc::c_int = 25;

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    window: Window,
    synchronous: bool,
    /// The mapping that is written, if it is another one; unmapped after this one.
    writing: Option<Box<Region>>,
}

impl Region {
    /// Maps `bytes` (a multiple of the page size that fits `isize`) of the file, its end or not.
    /// With `synchronous` it asks first for a mapping whose page tables survive as the data does.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        bytes: u64,
        access: Access,
        synchronous: bool,
    ) -> io::Result<Region> {
        Region::map_at(ptr::null_mut(), fd, bytes, access, synchronous)
    }

    /// As `map`, at `place` and nowhere else unless it is null.
    fn map_at(
        place: *mut c_void,
        fd: BorrowedFd<'_>,
        bytes: u64,
        access: Access,
        synchronous: bool,
    ) -> io::Result<Region> {
        let fixed = if place.is_null() { MapFlags::empty() } else { MapFlags::FIXED_NOREPLACE };
        let length = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
        let protection = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        let attempt = |flags: MapFlags| {
            // SAFETY: a fresh place, of the kernel's choice or free by its word; nothing of ours is
            // replaced.
            unsafe { mmap(place, length, protection, flags | fixed, fd, 0) }
        };
        let shared = MapFlags::SHARED | MapFlags::NORESERVE;
        let checked = MapFlags::SHARED_VALIDATE | MapFlags::NORESERVE | MapFlags::SYNC;
        let first = if synchronous { attempt(checked).ok() } else { None };
        let base = match first {
            Some(base) => base,
            None => attempt(shared)?,
        };
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        let writable = access == Access::ReadWrite;
        // SAFETY: mapped just now, unmapped when the region and so the window ends; nobody else
        // knows the place. Pages are 8-aligned. An access past the end of the file is a SIGBUS,
        // which the handler of this crate answers with a page.
        let window = unsafe { Window::new(base, bytes, writable) };
        Ok(Region { window, synchronous: first.is_some(), writing: None })
    }

    /// As `map`, at an address where huge pages of the file can be mapped as such, if there is one.
    pub(crate) fn map_aligned(
        fd: BorrowedFd<'_>,
        bytes: u64,
        access: Access,
        synchronous: bool,
    ) -> io::Result<Region> {
        let anywhere = Region::map(fd, bytes, access, synchronous)?;
        let at = anywhere.window.base().as_ptr() as usize;
        if bytes < HUGE_PAGE || at.is_multiple_of(HUGE_PAGE as usize) {
            return Ok(anywhere);
        }
        drop(anywhere);
        // Below what just was free; NOREPLACE: only if that is free as well.
        let place = ptr::without_provenance_mut(at & !(HUGE_PAGE as usize - 1));
        match Region::map_at(place, fd, bytes, access, synchronous) {
            Ok(region) => Ok(region),
            Err(_) => Region::map(fd, bytes, access, synchronous),
        }
    }

    /// Makes this mapping one for reading alone. Writes go through `other`, which must be of the
    /// same file.
    ///
    /// # Errors
    /// The system's; `EINVAL` if that has not as many bytes, or is not for writing.
    pub(crate) fn write_through(&mut self, other: Region) -> io::Result<()> {
        // SAFETY: the other one is kept as long as this; the caller says what it maps.
        if !unsafe { self.window.write_through(&other.window) } {
            return Err(Errno::INVAL.into());
        }
        let (at, bytes) = (self.window.base().as_ptr().cast(), self.window.bytes() as usize);
        self.writing = Some(Box::new(other));
        // SAFETY: the region's own mapping, of which the window writes nothing from now on.
        Ok(unsafe { mprotect(at, bytes, MprotectFlags::READ) }?)
    }

    /// Asks for huge pages in a part of the mapping, whose pages are there already, at once.
    pub(crate) fn collapse(&self, at: u64, bytes: u64) -> io::Result<()> {
        if at.checked_add(bytes).is_none_or(|end| end > self.window.bytes()) {
            return Err(Errno::INVAL.into());
        }
        // Read in first: Linux 6.18 maps a huge page that was allocated and never touched as it is,
        // with whatever was in it before.
        for advice in [MADV_POPULATE_READ, MADV_COLLAPSE] {
            // SAFETY: a part of the region's own mapping; the advice changes no content.
            let done = unsafe {
                let start = self.window.base().as_ptr().cast::<u8>().add(at as usize);
                libc::madvise(start.cast(), bytes as usize, advice)
            };
            if done != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Whether the kernel keeps the file's metadata as durable as its flushed lines (`MAP_SYNC`).
    pub(crate) fn is_synchronous(&self) -> bool {
        self.synchronous
    }
}

/// Whether the system says that the file is accessed directly (`STATX_ATTR_DAX`), and whether it
/// grants a mapping that is durable with its flushed lines (`MAP_SYNC`).
///
/// # Errors
/// Those of `statx`, and of a mapping for other reasons.
pub fn is_dax(fd: BorrowedFd<'_>) -> io::Result<(bool, bool)> {
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let direct = found.stx_attributes.contains(StatxAttributes::DAX);
    let flags = MapFlags::SHARED_VALIDATE | MapFlags::SYNC;
    // SAFETY: a fresh place of the kernel's choice, taken away before anything uses it.
    match unsafe { mmap(ptr::null_mut(), page_size(), ProtFlags::READ, flags, fd, 0) } {
        Ok(base) => {
            // SAFETY: mapped just now, and nobody knows of it.
            unsafe { munmap(base, page_size()) }?;
            Ok((direct, true))
        }
        Err(Errno::OPNOTSUPP | Errno::INVAL) => Ok((direct, false)),
        Err(errno) => Err(errno.into()),
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let base = self.window.base().as_ptr().cast();
        // SAFETY: the region's own mapping, and no access outlives the region. It cannot fail for
        // a range that is mapped.
        let _ = unsafe { munmap(base, self.window.bytes() as usize) };
    }
}
