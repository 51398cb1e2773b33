//! What the tests share: files without a name, and forked processes.
#![allow(unsafe_code, dead_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vasmem_memory::{Access, Mapped, Medium};

pub const PAGE: u64 = 4096;

/// A file in memory of the given size.
pub fn file(bytes: u64) -> OwnedFd {
    let fd = memfd_create("vasmem-test", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, bytes).unwrap();
    fd
}

pub fn map(fd: &OwnedFd, reserve: u64) -> Mapped {
    Mapped::map(fd.as_fd(), reserve, Access::ReadWrite, Medium::Volatile).unwrap()
}

/// No forked process lives longer.
const PATIENCE_SECONDS: u32 = 60;

/// The exit status of a forked process that panicked.
const PANICKED: i32 = 101;

/// A forked process, killed and reaped at the latest when dropped.
pub struct Child {
    id: i32,
    running: bool,
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Signal(i32),
}

/// Runs `work` in a forked process, which ends with the result as its exit status. Only the calling
/// thread exists there, so `work` should do little else than system calls.
pub fn fork(work: impl FnOnce() -> i32) -> Child {
    // SAFETY: the child runs `work` and ends without returning into the test harness; the C
    // library keeps its allocator usable in forked children.
    let id = unsafe { libc::fork() };
    assert!(id >= 0, "fork failed");
    if id == 0 {
        // SAFETY: a timer of this process: it ends, should it ever hang.
        unsafe { libc::alarm(PATIENCE_SECONDS) };
        let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
        // SAFETY: ends the process.
        unsafe { libc::_exit(status) }
    }
    Child { id, running: true }
}

impl Child {
    pub fn kill(&self) {
        // SAFETY: a child that was not reaped yet, so the id is still its own.
        unsafe { libc::kill(self.id, libc::SIGKILL) };
    }

    pub fn wait(mut self) -> End {
        self.reap()
    }

    fn reap(&mut self) -> End {
        let mut status = 0;
        // SAFETY: a child that was not reaped yet, and a valid place for its status.
        while unsafe { libc::waitpid(self.id, &mut status, 0) } != self.id {}
        self.running = false;
        if libc::WIFSIGNALED(status) {
            End::Signal(libc::WTERMSIG(status))
        } else {
            End::Exit(libc::WEXITSTATUS(status))
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.running {
            self.kill();
            self.reap();
        }
    }
}
