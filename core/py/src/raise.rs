//! Exceptions for errors of the engine: each message says what, where and what to do.

use crate::attached::Engine;
use crate::error::{FIGURES, Kind as Exception};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use vasmem_engine::os::OsHost;
use vasmem_engine::{Error, Holder, Invariant};

/// The exception for `error` in the segment called `name`. `raised` is what a signal handler raised
/// if the error is an interruption.
#[cold]
pub fn exception(
    name: &str,
    engine: Option<&Engine>,
    error: Error,
    raised: Option<PyErr>,
) -> PyErr {
    if engine.is_some_and(|engine| engine.memory.poisoned()) {
        return Exception::SegmentCorrupted.error(format!(
            "segment {name:?} lost bytes under this process (invariant {}, {:?}): somebody \
             truncated its file; detach, and restore it or remove it",
            Invariant::Mapping as u16,
            Invariant::Mapping
        ));
    }
    match error {
        Error::Interrupted => {
            raised.unwrap_or_else(|| pyo3::exceptions::PyKeyboardInterrupt::new_err("interrupted"))
        }
        Error::Full { needed_bytes, size_bytes, max_bytes, refused } => {
            let free_bytes = engine.and_then(|engine| engine.memory.free_bytes());
            let room = Room { needed_bytes, size_bytes, max_bytes, free_bytes };
            room.full(name, refused)
        }
        Error::Corrupted { invariant, at } => Exception::SegmentCorrupted.error(format!(
            "segment {name:?} is corrupt: invariant {} ({invariant:?}) is broken at offset {at}; \
             check() lists all that is, vasmem.salvage copies what can be read; then remove it",
            invariant as u16
        )),
        Error::Timeout { waited_for } => Exception::LockTimeout.error(format!(
            "segment {name:?}: waited too long for {}; raise segment.timeout or end that process",
            holder(engine, waited_for)
        )),
        Error::Conflict => Exception::ConflictError.error(format!(
            "segment {name:?}: others changed what was read, nothing was written; run it again"
        )),
        Error::ReadOnly => Exception::PermissionDenied.error(format!(
            "segment {name:?} is attached read-only: attach it with readonly=False to write"
        )),
        Error::Unclean => Exception::NeedsRecovery.error(format!(
            "segment {name:?} was written after it was last synced or closed, and then the machine \
             went down, so it may be torn: restore a copy or a dump, or copy what can be read with \
             vasmem.salvage, then remove it"
        )),
        Error::NeedsRecovery => Exception::NeedsRecovery.error(format!(
            "segment {name:?} was not detached cleanly before the machine went down: attach it \
             once for writing, which recovers it"
        )),
        Error::Format(reason) => {
            Exception::FormatMismatch.error(format!("cannot attach {name:?}: {reason}"))
        }
        Error::TooLarge { what, bytes, max_bytes } => {
            pyo3::exceptions::PyValueError::new_err(format!(
                "{what} of {bytes} bytes does not fit into segment {name:?}: at most {max_bytes}"
            ))
        }
        Error::WrongKind => Exception::WrongType.error(format!(
            "a structure of that name but of another kind is in segment {name:?}: use its own kind"
        )),
        Error::Removed => Exception::VasmemError.error(format!(
            "this structure was removed from segment {name:?}: open or create it again by name"
        )),
        Error::Os(error) if error.kind() == ErrorKind::PermissionDenied => {
            Exception::PermissionDenied.error(format!("segment {name:?}: {error}"))
        }
        Error::Os(error) => PyErr::from(error),
        Error::Died => {
            raised.unwrap_or_else(|| Exception::VasmemError.error("ended by a failpoint"))
        }
    }
}

/// What there is where something does not fit, in bytes.
pub struct Room {
    /// What was asked for beyond what is there.
    pub needed_bytes: u64,
    /// What the segment has.
    pub size_bytes: u64,
    /// What it may have.
    pub max_bytes: u64,
    /// What the file system has free for this user; `None` where it has no bounds of its own.
    pub free_bytes: Option<u64>,
}

impl Room {
    /// `SegmentFull`, with these figures as attributes. `refused` is the system's reason; without
    /// one it is the segment's own limit.
    #[cold]
    pub fn full(&self, name: &str, refused: Option<ErrorKind>) -> PyErr {
        let Room { needed_bytes, size_bytes, max_bytes, free_bytes } = self;
        let left = match (refused, free_bytes) {
            (Some(_), Some(free)) => format!(", and {free} bytes are free where it lives"),
            _ => String::new(),
        };
        let advice = match refused {
            None => "make a segment with a larger max_size",
            Some(ErrorKind::FileTooLarge) => "raise the limit on the size of a file (ulimit -f)",
            Some(ErrorKind::QuotaExceeded) => "raise the user's quota (quota shows it)",
            Some(ErrorKind::OutOfMemory) => "the system has no memory left: free some",
            Some(_) => "free some of its tmpfs or disk (df shows it)",
        };
        let error = Exception::SegmentFull.error(if *size_bytes == 0 {
            format!(
                "no room for the segment {name:?} of {needed_bytes} bytes{left}; give a smaller \
                 size, or {advice}"
            )
        } else {
            format!(
            "segment {name:?} is full: {needed_bytes} more bytes are needed, it has {size_bytes} \
             of at most {max_bytes}{left}; nothing was changed; remove items, or {advice}"
            )
        });
        Python::attach(|py| match self.tell(error.value(py)) {
            Ok(()) => error,
            Err(failure) => failure,
        })
    }

    fn tell(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let known = [self.needed_bytes, self.size_bytes, self.max_bytes].map(Some);
        let figures = known.into_iter().chain([self.free_bytes]);
        FIGURES.iter().zip(figures).try_for_each(|(name, bytes)| error.setattr(*name, bytes))
    }
}

/// Names whoever is waited for: pid and command.
fn holder(engine: Option<&Engine>, holder: Holder) -> String {
    let owner = |lane: u16| match engine.map_or(0, |engine| engine.owner_pid(lane)) {
        0 => format!("the owner of lane {lane}"),
        pid => process(pid),
    };
    let host = engine.and_then(|engine| engine.host.as_ref());
    match holder {
        Holder::Lane(lane) => format!("a commit of {}", owner(lane)),
        Holder::Token(lane) => format!("the transaction of {}", owner(lane)),
        Holder::FreeLane => engine.map_or_else(String::new, lanes),
        Holder::OwnLane => {
            format!(
                "another thread of {}, all of whose lanes are in use",
                process(std::process::id())
            )
        }
        Holder::Growth => {
            let growing = host.map(OsHost::growing).unwrap_or_default();
            format!("{}, which grows the segment", processes(&growing))
        }
        Holder::Attaching => {
            let attached = host.map(OsHost::attached).unwrap_or_default();
            format!("{}, which attached it or recovers it", processes(&attached))
        }
        Holder::Keeper(lane) => format!("{}, which has the lock", owner(lane)),
        Holder::Conflicts => "a moment without other writers".to_owned(),
    }
}

/// A process by pid and command.
fn process(pid: u32) -> String {
    match command(pid) {
        None => format!("process {pid}"),
        Some(command) => format!("process {pid} ({command})"),
    }
}

/// Command line of a process, if it is to be seen from here.
pub fn command(pid: u32) -> Option<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    Some(words.trim().to_owned()).filter(|command| !command.is_empty())
}

fn processes(pids: &[u32]) -> String {
    match pids {
        [] => "another process".to_owned(),
        [pid] => process(*pid),
        [pid, others @ ..] => format!("{} and {} more", process(*pid), others.len()),
    }
}

/// Who has most of the lanes.
fn lanes(engine: &Engine) -> String {
    let mut owned = BTreeMap::<u32, usize>::new();
    for lane in 0..engine.lanes_used() as u16 {
        *owned.entry(engine.owner_pid(lane)).or_default() += 1;
    }
    let most = owned.into_iter().filter(|&(pid, _)| pid != 0).max_by_key(|&(_, lanes)| lanes);
    let most = most.map(|(pid, lanes)| format!(", {lanes} of them by {}", process(pid)));
    format!("a free lane: all {} are taken{}", engine.geometry.lanes, most.unwrap_or_default())
}
