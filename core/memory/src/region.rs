//! The system calls that map a file and take the mapping away.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::mapping::Access;
use crate::words::Window;

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    window: Window,
    synchronous: bool,
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
        let length = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
        let protection = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        let attempt = |flags: MapFlags| {
            // SAFETY: a fresh place of the kernel's choice; nothing of ours is replaced.
            unsafe { mmap(ptr::null_mut(), length, protection, flags, fd, 0) }
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
        Ok(Region { window, synchronous: first.is_some() })
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

impl Drop for Region {
    fn drop(&mut self) {
        let base = self.window.base().as_ptr().cast();
        // SAFETY: the region's own mapping, and no access outlives the region. It cannot fail for
        // a range that is mapped.
        let _ = unsafe { munmap(base, self.window.bytes() as usize) };
    }
}
