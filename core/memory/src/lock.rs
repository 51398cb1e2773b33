//! Locks on single bytes of a companion file, which the kernel drops when their owner dies.
//!
//! They belong to an open file description: they work between processes, containers and threads
//! with descriptions of their own, but do not exclude two users of one [`LockFile`].
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_short, flock};

use crate::fork::Unshared;
use crate::holders::holders;
use rustix::fs::fstat;

/// A private open file description of the lock file.
///
/// A forked child's copy is a description of its own, without any locks. Bytes may lie beyond the
/// end of the file, up to `i64::MAX`.
#[derive(Debug)]
pub struct LockFile {
    file: Unshared,
}

impl LockFile {
    /// Opens the file behind `fd` again, for reading and writing, whatever `fd` is open for. It
    /// asks for the right to do so, so a process that may only read the file gets an error.
    pub fn open_through(fd: BorrowedFd<'_>) -> io::Result<LockFile> {
        let file = Unshared::open(fd)?;
        Ok(LockFile { file })
    }

    /// Takes the byte for itself, or tells (false) that another description has a lock on it.
    pub fn try_exclusive(&self, byte: u64) -> io::Result<bool> {
        self.try_lock(libc::F_WRLCK, byte)
    }

    /// Takes the byte together with others that share it, or tells (false) that another description
    /// has it for itself. An exclusive lock of one's own becomes a shared one.
    pub fn try_shared(&self, byte: u64) -> io::Result<bool> {
        self.try_lock(libc::F_RDLCK, byte)
    }

    /// Gives the byte up; fine if it was not held.
    pub fn unlock(&self, byte: u64) -> io::Result<()> {
        self.control(libc::F_OFD_SETLK, request(libc::F_UNLCK, byte, 1)?)?;
        Ok(())
    }

    /// Whether another description holds a lock of any kind on the byte. One's own do not count.
    pub fn held_elsewhere(&self, byte: u64) -> io::Result<bool> {
        let found = self.control(libc::F_OFD_GETLK, request(libc::F_WRLCK, byte, 1)?)?;
        Ok(c_int::from(found.l_type) != libc::F_UNLCK)
    }

    /// pids of the processes that hold a lock on the byte, of those into which this one may look.
    /// Slow, and out of date at once: for messages.
    pub fn holders(&self, byte: u64) -> Vec<u32> {
        let found = self.file.fd().ok().and_then(|fd| fstat(fd).ok());
        found.map_or_else(Vec::new, |found| holders((found.st_dev, found.st_ino), byte))
    }

    fn try_lock(&self, kind: c_int, byte: u64) -> io::Result<bool> {
        match self.control(libc::F_OFD_SETLK, request(kind, byte, 1)?) {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn control(&self, command: c_int, mut request: flock) -> io::Result<flock> {
        let fd = self.file.fd()?.as_raw_fd();
        loop {
            // SAFETY: an open descriptor, and the commands in use take a pointer to a `flock`.
            if unsafe { libc::fcntl(fd, command, &mut request) } != -1 {
                return Ok(request);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Before the descriptor is forgotten, see `Unshared`; its end drops them in any case.
        let all = request(libc::F_UNLCK, 0, 0);
        let _ = all.and_then(|all| self.control(libc::F_OFD_SETLK, all));
    }
}

/// A request for `len` bytes from `start`, or for all from there if `len` is 0.
fn request(kind: c_int, start: u64, len: i64) -> io::Result<flock> {
    // SAFETY: plain integers; zeros are valid, and the process id must be 0 for these locks.
    let mut request: flock = unsafe { mem::zeroed() };
    request.l_type = kind as c_short;
    request.l_whence = libc::SEEK_SET as c_short;
    request.l_start = i64::try_from(start).map_err(|_| io::ErrorKind::InvalidInput)?;
    request.l_len = len;
    Ok(request)
}
