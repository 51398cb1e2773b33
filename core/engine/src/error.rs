//! What can go wrong in the engine, as values. Broken invariants of a segment are `Corrupted`;
//! those of our own code panic.

use std::borrow::Cow;
use vasmem_memory::Offset;

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Invariants that a check of shared bytes can find broken; `docs/design.md` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Invariant {
    /// An offset is aligned and inside the backed part of the segment.
    Offset = 1,
    /// A node stands in a node extent of its kind.
    Kind = 2,
    /// A descriptor says what its granule is, within limits.
    Descriptor = 3,
    /// An allocated block has its bit set, a free one has not.
    Bitmap = 4,
    /// Every allocated block is reachable once, or listed by a live lane.
    Reachable = 5,
    /// A redo record lists nodes and words inside the heap, in order, within its capacity.
    Record = 6,
    /// A locked node is listed by a record of its owner that is not idle.
    Lock = 7,
    /// The root directory has a readable entry for every name, each name once.
    Directory = 8,
    /// A directory entry of a hash map has an offset and a depth that fit its index.
    HashDirectory = 9,
    /// A record has lengths that fit its block, and stands where its key says.
    MapRecord = 10,
    /// The count shards of a map or tree sum up to the number of records.
    MapCount = 11,
    /// The mapping is whole: nobody truncated the file.
    Mapping = 12,
    /// The header is one of ours and its checksum is right.
    Header = 13,
    /// Every key stands once.
    MapUnique = 14,
    /// A node of a B-tree has the level and the fence of its place, and a use for each slot.
    TreeNode = 15,
    /// Keys of a B-tree ascend within the fences of their nodes, and entries are of their keys.
    TreeOrder = 16,
    /// An array's block holds its capacity, and its length is within that.
    Array = 17,
    /// A lock or a lease names a lane that there is.
    Owner = 18,
    /// Items of a queue stand from its head to its tail, and leases where its bits say.
    Queue = 19,
}

/// An error of the engine.
#[derive(Debug)]
pub enum Error {
    /// Somebody else was faster; the operation runs again by itself.
    Conflict,
    /// Shared bytes break an invariant.
    Corrupted {
        /// Which one.
        invariant: Invariant,
        /// Where.
        at: Offset,
    },
    /// No space is left up to `max_size`, or the system has none.
    Full {
        /// Bytes that were asked for.
        needed_bytes: u64,
        /// Bytes that the segment has now.
        size_bytes: u64,
        /// Bytes that it may have.
        max_bytes: u64,
        /// Why the system has none; `None` if it was not asked.
        refused: Option<std::io::ErrorKind>,
    },
    /// Waited as long as the caller allows.
    Timeout {
        /// What for.
        waited_for: Holder,
    },
    /// The caller's patience was interrupted by a signal.
    Interrupted,
    /// The segment is attached for reading only.
    ReadOnly,
    /// The power failed since the last writer, and a writer must attach first.
    NeedsRecovery,
    /// The power failed while changes were not synced: what is on the medium may be torn.
    Unclean,
    /// Not a segment, or one that this version cannot read.
    Format(Cow<'static, str>),
    /// A key, a value or a transaction is larger than the format allows.
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The largest allowed.
        max_bytes: u64,
    },
    /// The structure behind this handle was removed.
    Removed,
    /// A structure of that name exists with another kind.
    WrongKind,
    /// The system refused something.
    Os(std::io::Error),
    /// The operation goes no further and cleans nothing up: a failpoint ended it as a kill would
    /// (only in the `lab` build), or this is a forked child, and it is the parent's operation.
    Died,
}

/// What a wait is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A node lock of this lane.
    Lane(u16),
    /// The writer token, held by this lane.
    Token(u16),
    /// Any lane at all.
    FreeLane,
    /// Another thread of this process, which has no more lanes.
    OwnLane,
    /// The growth lock.
    Growth,
    /// Another process that recovers the segment while it attaches.
    Attaching,
    /// A lock that the owner of this lane has taken.
    Keeper(u16),
    /// Many conflicts in a row.
    Conflicts,
}

impl Error {
    /// Not a segment that this version can take.
    #[cold]
    pub fn format(reason: impl Into<Cow<'static, str>>) -> Error {
        Error::Format(reason.into())
    }

    /// Shared bytes break `invariant` at `at`.
    #[cold]
    pub fn corrupted(invariant: Invariant, at: Offset) -> Error {
        Error::Corrupted { invariant, at }
    }
}

/// Whether the system refused for lack of room: space, quota, a limit on files, or memory.
pub fn is_out_of_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, OutOfMemory, QuotaExceeded, StorageFull};
    matches!(error.kind(), FileTooLarge | OutOfMemory | QuotaExceeded | StorageFull)
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::Os(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Conflict => write!(f, "another transaction was faster"),
            Error::Corrupted { invariant, at } => {
                write!(
                    f,
                    "invariant {} ({invariant:?}) is broken at offset {at}",
                    *invariant as u16
                )
            }
            Error::Full { needed_bytes, size_bytes, max_bytes, .. } => write!(
                f,
                "no room for {needed_bytes} bytes: size {size_bytes}, max_size {max_bytes}"
            ),
            Error::Timeout { waited_for } => write!(f, "waited too long for {waited_for:?}"),
            Error::Interrupted => write!(f, "interrupted by a signal"),
            Error::ReadOnly => write!(f, "attached for reading only"),
            Error::Unclean => write!(f, "written after the last sync, then the power failed"),
            Error::NeedsRecovery => write!(f, "a writer must attach first to recover"),
            Error::Format(reason) => write!(f, "{reason}"),
            Error::TooLarge { what, bytes, max_bytes } => {
                write!(f, "{what} of {bytes} bytes, at most {max_bytes} are possible")
            }
            Error::Removed => write!(f, "the structure was removed"),
            Error::WrongKind => write!(f, "the name belongs to a structure of another kind"),
            Error::Os(error) => write!(f, "{error}"),
            Error::Died => write!(f, "ended in the middle"),
        }
    }
}

impl std::error::Error for Error {}
