//! Descriptors that Python hands over by number.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A private duplicate of descriptor number `fd`.
///
/// # Errors
/// Those of the system, for a number that is not an open descriptor.
pub fn duplicate(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not -1, and it is only passed to fcntl within this call, which refuses
    // a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned()
}
