//! A segment in memory files, which other processes reach through this one's descriptors.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use vasmem_engine::layout::HEADER_BYTES;
use vasmem_engine::os::OsHost;
use vasmem_engine::{Geometry, Result, Segment, format};
use vasmem_memory::{Access, LockFile, MapError, Mapped, Medium};

/// A segment as a process or thread of ours attaches it: with lanes of its own.
pub type Attached = Segment<Mapped, OsHost>;

/// The segment's file and its companion lock file.
pub struct Place {
    segment: File,
    locks: File,
}

impl Place {
    /// Makes an empty segment.
    pub fn new(size_bytes: u64, max_bytes: u64) -> Result<Place> {
        let memory_file = |name| memfd_create(name, MemfdFlags::CLOEXEC).map_err(io::Error::from);
        let place =
            Place { segment: memory_file("segment")?.into(), locks: memory_file("locks")?.into() };
        let geometry = Geometry::new(max_bytes, 0x5eed, [7; 16]);
        let (header, end) = format::first_bytes(&geometry, size_bytes);
        ftruncate(&place.segment, end).map_err(io::Error::from)?;
        let memory = place.map(geometry.size_limit, Access::ReadWrite)?;
        memory.allocate(0, header)?;
        memory.allocate(geometry.heap_at, end - geometry.heap_at)?;
        format::create(&memory, &geometry, end, [1, 1]);
        Ok(place)
    }

    /// Opens the files of another process by the paths that its [`Place::paths`] gave.
    pub fn open(segment: &str, locks: &str) -> Result<Place> {
        let open = |path| File::options().read(true).write(true).open(path);
        Ok(Place { segment: open(segment)?, locks: open(locks)? })
    }

    /// Where other processes find the files while this one lives.
    pub fn paths(&self) -> [PathBuf; 2] {
        let own = std::process::id();
        [&self.segment, &self.locks]
            .map(|file| PathBuf::from(format!("/proc/{own}/fd/{}", file.as_raw_fd())))
    }

    fn map(&self, reserve_bytes: u64, access: Access) -> io::Result<Mapped> {
        let mapped = Mapped::map(self.segment.as_fd(), reserve_bytes, access, Medium::Volatile);
        mapped.map_err(|error: MapError| io::Error::other(error.to_string()))
    }

    /// Attaches, as if this were another process.
    pub fn attach(&self, access: Access) -> Result<Attached> {
        let header = self.map(HEADER_BYTES, Access::ReadOnly)?;
        let geometry = format::open(&header, header.file_size()?, true)?;
        let memory = self.map(geometry.size_limit, access)?;
        let host = match access {
            Access::ReadOnly => None,
            Access::ReadWrite => Some(OsHost::new(LockFile::open_through(self.locks.as_fd())?)),
        };
        let segment = Segment::new(memory, host, geometry);
        segment.backed();
        Ok(segment)
    }
}
