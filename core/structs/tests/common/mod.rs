//! A segment on a memory file, attached as a process would.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use vasmem_engine::os::{OsHost, Sleeper};
use vasmem_engine::{Geometry, Segment, format};
use vasmem_memory::{Access, LockFile, Mapped, Medium};

pub type Attached = Segment<Mapped, OsHost>;

pub struct Files {
    segment: OwnedFd,
    locks: OwnedFd,
    medium: Medium,
}

impl Files {
    pub fn new(size: u64, max_size: u64, medium: Medium) -> Files {
        let segment = memfd_create("segment", MemfdFlags::CLOEXEC).unwrap();
        let locks = memfd_create("locks", MemfdFlags::CLOEXEC).unwrap();
        let geometry = Geometry::new(max_size, 0x5eed, [3; 16]);
        let (header, end) = format::first_bytes(&geometry, size);
        ftruncate(&segment, end).unwrap();
        let memory =
            Mapped::map(segment.as_fd(), geometry.size_limit, Access::ReadWrite, medium).unwrap();
        memory.allocate(0, header).unwrap();
        memory.allocate(geometry.heap_at, end - geometry.heap_at).unwrap();
        format::create(&memory, &geometry, end, [1, 1]);
        Files { segment, locks, medium }
    }

    pub fn attach(&self) -> Attached {
        let probe =
            Mapped::map(self.segment.as_fd(), 8192, Access::ReadWrite, self.medium).unwrap();
        let geometry = format::open(&probe, probe.file_size().unwrap(), true).unwrap();
        let memory =
            Mapped::map(self.segment.as_fd(), geometry.size_limit, Access::ReadWrite, self.medium)
                .unwrap();
        let locks = LockFile::open_through(self.locks.as_fd()).unwrap();
        let segment = Segment::new(memory, Some(OsHost::new(locks)), geometry);
        assert!(segment.backed() > 0);
        segment
    }
}

pub fn patient() -> Sleeper {
    Sleeper::new(Duration::from_secs(10))
}
