//! Forked children: they are counted, and never keep a lock of their parent.
//!
//! A lock on a byte of a file belongs to an open file description. A forked child shares its
//! parent's descriptions, and would keep their locks alive after the parent's death. So each
//! descriptor that holds locks is registered here, and the child's first act is to put a fresh
//! description in its place. It may only make system calls then: the table is fixed and lock-free.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use libc::c_int;

/// Descriptors that can be registered.
const ENTRIES: usize = 4096;

const FREE: RawFd = -1;
/// The child could not reopen the descriptor and closed it.
const LOST: RawFd = -2;

static TABLE: [AtomicI32; ENTRIES] = [const { AtomicI32::new(FREE) }; ENTRIES];

/// Forks that this process began.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// 0 while forks are not watched.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A number that changes in every forked child, so that one sees that it became another process.
#[inline]
pub fn generation() -> u32 {
    match GENERATION.load(Ordering::Relaxed) {
        0 => first_generation(),
        generation => generation,
    }
}

#[cold]
fn first_generation() -> u32 {
    // The system refuses for lack of memory only; the next call tries again.
    let _ = watch();
    GENERATION.load(Ordering::Relaxed)
}

/// Watches forks from now on. Threads may race and install the handlers twice, which is harmless;
/// a lock here could be found held for ever by a child.
pub(crate) fn watch() -> io::Result<()> {
    if GENERATION.load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    // SAFETY: the handlers touch atomics and make system calls, nothing else.
    let error = unsafe { libc::pthread_atfork(Some(before_fork), None, Some(in_child)) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let _ = GENERATION.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    Ok(())
}

extern "C" fn before_fork() {
    FORKS.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for entry in &TABLE {
        let fd = entry.load(Ordering::Relaxed);
        if fd >= 0 && !renew(fd) {
            // SAFETY: the entry's owner holds the descriptor for this table, and looks at the
            // entry before each use.
            unsafe { libc::close(fd) };
            entry.store(LOST, Ordering::Relaxed);
        }
    }
}

/// Puts a fresh description of the same file in the place of `fd`'s.
fn renew(fd: RawFd) -> bool {
    let mut buffer = [0; 32];
    let Some(fresh) = open_again(fd, &mut buffer) else {
        return false;
    };
    // SAFETY: both descriptors are open and this function's to replace and to close.
    unsafe {
        let placed = libc::dup3(fresh, fd, libc::O_CLOEXEC);
        libc::close(fresh);
        placed >= 0
    }
}

/// Opens the file behind `fd` for reading and writing; `buffer` takes its path.
fn open_again(fd: RawFd, buffer: &mut [u8; 32]) -> Option<c_int> {
    write!(&mut buffer[..], "/proc/self/fd/{fd}\0").ok()?;
    let path = CStr::from_bytes_until_nul(buffer).ok()?;
    // SAFETY: the path is a valid C string.
    let fresh = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    (fresh >= 0).then_some(fresh)
}

/// A descriptor with an open file description of its own, in forked children too.
#[derive(Debug)]
pub(crate) struct Unshared {
    entry: &'static AtomicI32,
}

impl Unshared {
    /// Opens the file behind `fd` again, for reading and writing.
    pub(crate) fn open(fd: BorrowedFd<'_>) -> io::Result<Unshared> {
        watch()?;
        loop {
            let forks = FORKS.load(Ordering::SeqCst);
            let mut buffer = [0; 32];
            let fresh = open_again(fd.as_raw_fd(), &mut buffer);
            let fresh = fresh.ok_or_else(io::Error::last_os_error)?;
            let unshared = Unshared::register(fresh)?;
            // A child that was forked in between holds this description. It has no locks yet, so
            // leave it and take another.
            if FORKS.load(Ordering::SeqCst) == forks {
                return Ok(unshared);
            }
        }
    }

    /// Takes over an open descriptor.
    fn register(fd: RawFd) -> io::Result<Unshared> {
        let take = |entry: &&AtomicI32| {
            entry.compare_exchange(FREE, fd, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        };
        if let Some(entry) = TABLE.iter().find(take) {
            return Ok(Unshared { entry });
        }
        // SAFETY: opened by the caller for this, and used by nobody else.
        unsafe { libc::close(fd) };
        Err(io::Error::other("too many lock files in this process"))
    }

    /// The descriptor, for use right now.
    pub(crate) fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        let fd = self.entry.load(Ordering::Relaxed);
        if fd < 0 {
            let text = "since it was forked this process has no lock file of its own, which it may \
                        not open, so it can only read: attach as a user who may write";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        // SAFETY: open while the entry holds it, and only this value's owner takes it out.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl Drop for Unshared {
    /// The locks must be gone already: a fork between the two steps keeps the description.
    fn drop(&mut self) {
        let fd = self.entry.swap(FREE, Ordering::SeqCst);
        if fd >= 0 {
            // SAFETY: the entry held it for this value alone.
            unsafe { libc::close(fd) };
        }
    }
}
