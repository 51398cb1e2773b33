//! Exceptions for errors of the engine: each message says what, where and what to do.

use crate::attached::Engine;
use crate::error::Kind as Exception;
use pyo3::prelude::*;
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
        Error::Full { needed_bytes, size_bytes, max_bytes } => {
            full(name, needed_bytes, size_bytes, max_bytes)
        }
        Error::Corrupted { invariant, at } => Exception::SegmentCorrupted.error(format!(
            "segment {name:?} is corrupt: invariant {} ({invariant:?}) is broken at offset {at}; \
             check() lists all that is broken; keep a copy, then restore or remove the segment",
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
             went down, so it may be torn: remove it, and restore a copy or a dump"
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
        Error::Os(error) => PyErr::from(error),
        Error::Died => Exception::VasmemError.error("ended by a failpoint"),
    }
}

fn full(name: &str, needed_bytes: u64, size_bytes: u64, max_bytes: u64) -> PyErr {
    let advice = if size_bytes + needed_bytes > max_bytes {
        "make a segment with a larger max_size"
    } else {
        "the system has no memory left for it: free some (df shows it)"
    };
    Exception::SegmentFull.error(format!(
        "segment {name:?} is full: {needed_bytes} more bytes are needed, it has {size_bytes} of at \
         most {max_bytes}; nothing was changed; remove items, or {advice}"
    ))
}

/// Names whoever is waited for: pid and command of a lane's owner.
fn holder(engine: Option<&Engine>, holder: Holder) -> String {
    let process = |lane: u16| {
        let pid = engine.map_or(0, |engine| engine.owner_pid(lane));
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .map(|line| line.replace('\0', " ").trim().to_owned())
            .unwrap_or_default();
        match (pid, command.as_str()) {
            (0, _) => format!("the owner of lane {lane}"),
            (pid, "") => format!("process {pid}"),
            (pid, command) => format!("process {pid} ({command})"),
        }
    };
    match holder {
        Holder::Lane(lane) => format!("a commit of {}", process(lane)),
        Holder::Token(lane) => format!("the transaction of {}", process(lane)),
        Holder::FreeLane => "a free lane (all are in use)".to_owned(),
        Holder::Growth => "another process that grows the segment".to_owned(),
        Holder::Attaching => "another process that has it attached or recovers it".to_owned(),
        Holder::Conflicts => "a moment without other writers".to_owned(),
    }
}
