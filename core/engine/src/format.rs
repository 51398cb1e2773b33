//! Making a segment, and attaching to one: the header and nothing behind it is believed before it
//! was checked.

use crate::error::{Error, Invariant, Result};
use crate::layout::{
    FEATURE_PINS, FORMAT_MAJOR, FORMAT_MINOR, GRANULE, Geometry, HEADER_BYTES, HEADER_MIRROR, Kind,
    LINE, MAGIC, Meta, SIZE_MAX, descriptor, header, lane,
};
use crate::record::{Phase, Record, sum_words};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use vasmem_memory::{Memory, Offset};

/// Bytes at the start that a fresh segment needs: header, and heap up to `size` bytes.
pub fn first_bytes(geometry: &Geometry, size_bytes: u64) -> (u64, Offset) {
    let region = geometry.region(0);
    let least = region.data_at() + GRANULE - geometry.heap_at;
    let size = size_bytes.max(least).next_multiple_of(GRANULE);
    let end = (geometry.heap_at + size).min(geometry.size_limit);
    (HEADER_BYTES, end)
}

/// Writes a fresh segment into zeroed memory that is backed as [`first_bytes`] says. It is durable
/// after [`set_home`].
///
/// The caller links it under its name afterwards, so nobody ever attaches a half-built one.
pub fn create<M: Memory>(memory: &M, geometry: &Geometry, backed: Offset, boot: [u64; 2]) {
    let place = geometry.place(geometry.directory_at);
    let set = |at, value| memory.store(at, value, Relaxed);
    set(place.map_word, 1 << place.map_bit);
    set(place.descriptor + descriptor::META, Meta::new(Kind::DIRECTORY, 0, 1).0);
    set(place.descriptor + descriptor::BITMAP, 1);
    memory.flush(geometry.heap_at, geometry.directory_at + GRANULE - geometry.heap_at);
    set(header::BACKED, backed);
    set(header::INCARNATION, 1);
    set(header::BOOT, boot[0]);
    set(header::BOOT + 8, boot[1]);
    for copy in [0, HEADER_MIRROR] {
        let words = fixed_words(geometry);
        for (index, word) in words.iter().enumerate() {
            set(copy + index as u64 * 8, *word);
        }
        set(copy + header::CHECKSUM, sum_words(0, &words));
    }
    memory.flush(0, HEADER_BYTES);
    memory.fence(Release);
}

fn fixed_words(geometry: &Geometry) -> [u64; FIXED] {
    let mut words = [0; FIXED];
    let uuid = |half: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&geometry.uuid[half..half + 8]);
        u64::from_le_bytes(bytes)
    };
    for (at, value) in [
        (header::MAGIC, MAGIC),
        (header::FORMAT, FORMAT_MAJOR | FORMAT_MINOR << 32),
        (header::READ_COMPATIBLE, geometry.features),
        (header::UUID, uuid(0)),
        (header::UUID + 8, uuid(8)),
        (header::SEED, geometry.seed),
        (header::SIZE_LIMIT, geometry.size_limit),
        (header::LANES_AT, geometry.lanes_at),
        (header::LANE_BYTES, geometry.lane_bytes),
        (header::LANES, geometry.lanes),
        (header::HEAP_AT, geometry.heap_at),
        (header::DIRECTORY_AT, geometry.directory_at),
    ] {
        words[at as usize / 8] = value;
    }
    words
}

/// Words before the checksum.
const FIXED: usize = header::CHECKSUM as usize / 8;

/// The part of the header that never changes.
fn read_geometry<M: Memory>(memory: &M, file_bytes: u64, writing: bool) -> Result<Geometry> {
    if file_bytes < HEADER_BYTES {
        return Err(Error::format("too short for a segment: not one, or truncated"));
    }
    memory.raise_limit(HEADER_BYTES);
    let mut words = read_copy(memory, 0);
    if words.is_none() {
        words = read_copy(memory, HEADER_MIRROR);
    }
    let Some(words) = words else {
        return Err(match memory.load(header::MAGIC, Acquire) {
            MAGIC => Error::corrupted(Invariant::Header, 0),
            word if word == MAGIC.swap_bytes() => Error::format(
                "it is of a machine with the other byte order: dump it there, load it here",
            ),
            _ => Error::format("not a vasmem segment: the magic number is missing"),
        });
    };
    let word = |at: Offset| words[at as usize / 8];
    let made = word(header::FORMAT);
    let known = if made & 0xffff_ffff == FORMAT_MAJOR { 0 } else { u64::MAX };
    ensure_known(made, word(header::INCOMPATIBLE) | known, "attach it with the vasmem it is of")?;
    if writing {
        let newer = word(header::READ_COMPATIBLE) & !FEATURE_PINS;
        ensure_known(made, newer, "attach it read-only, or with the vasmem it is of")?;
    }
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&word(header::UUID).to_le_bytes());
    uuid[8..].copy_from_slice(&word(header::UUID + 8).to_le_bytes());
    let geometry = Geometry {
        lanes_at: word(header::LANES_AT),
        lane_bytes: word(header::LANE_BYTES),
        lanes: word(header::LANES),
        features: word(header::READ_COMPATIBLE),
        heap_at: word(header::HEAP_AT),
        size_limit: word(header::SIZE_LIMIT),
        directory_at: word(header::DIRECTORY_AT),
        seed: word(header::SEED),
        uuid,
    };
    check_geometry(&geometry)?;
    Ok(geometry)
}

/// As [`open`], for reading only, of a segment whose bytes behind the header may be damaged: all of
/// the file is there to be looked at.
///
/// # Errors
/// As `open`, where both copies of the header are broken.
pub fn open_damaged<M: Memory>(memory: &M, file_bytes: u64) -> Result<Geometry> {
    let geometry = read_geometry(memory, file_bytes, false)?;
    memory.raise_limit(geometry.size_limit);
    Ok(geometry)
}

/// Checks a header and tells the geometry. `file_bytes` is how far the memory really goes,
/// `writing` whether the caller is going to write.
///
/// # Errors
/// `Format` for anything that is not a segment of this format, `Corrupted` for a broken one.
pub fn open<M: Memory>(memory: &M, file_bytes: u64, writing: bool) -> Result<Geometry> {
    let geometry = read_geometry(memory, file_bytes, writing)?;
    let backed = memory.load(header::BACKED, Acquire);
    let fits = backed > geometry.heap_at && backed <= geometry.size_limit;
    if !fits || !backed.is_multiple_of(GRANULE) {
        return Err(Error::corrupted(Invariant::Header, header::BACKED));
    }
    if file_bytes < backed {
        return Err(Error::corrupted(Invariant::Mapping, file_bytes));
    }
    memory.raise_limit(backed);
    Ok(geometry)
}

/// Refuses what this version lacks for a segment of format `made`: `missing` has a bit a feature.
fn ensure_known(made: u64, missing: u64, advice: &str) -> Result<()> {
    if missing == 0 {
        return Ok(());
    }
    let (major, minor) = (made & 0xffff_ffff, made >> 32);
    let features = match missing {
        u64::MAX => String::new(),
        bits => format!(" with features {bits:#x}, which this vasmem does not know"),
    };
    Err(Error::format(format!(
        "it is of format {major}.{minor}{features}; this vasmem takes format {FORMAT_MAJOR}, up to \
         {FORMAT_MAJOR}.{FORMAT_MINOR} in full: {advice}"
    )))
}

fn read_copy<M: Memory>(memory: &M, at: Offset) -> Option<[u64; FIXED]> {
    let mut words = [0; FIXED];
    for (index, word) in words.iter_mut().enumerate() {
        *word = memory.load(at + index as u64 * 8, Relaxed);
    }
    let sum = memory.load(at + header::CHECKSUM, Relaxed);
    (words[0] == MAGIC && sum_words(0, &words) == sum).then_some(words)
}

/// A checksum does not make a header of somebody else trustworthy.
fn check_geometry(geometry: &Geometry) -> Result<()> {
    let lanes_end = geometry
        .lane_bytes
        .checked_mul(geometry.lanes)
        .and_then(|bytes| bytes.checked_add(geometry.lanes_at));
    let fits = geometry.lanes_at >= HEADER_BYTES
        && geometry.lanes_at.is_multiple_of(4096)
        && (1024..=1 << 20).contains(&geometry.lane_bytes)
        && geometry.lane_bytes.is_multiple_of(1024)
        && (1..=1023).contains(&geometry.lanes)
        && lanes_end.is_some_and(|end| end <= geometry.heap_at)
        && geometry.heap_at.is_multiple_of(GRANULE)
        && geometry.size_limit <= SIZE_MAX
        && geometry.size_limit.is_multiple_of(GRANULE)
        && geometry.heap_at < geometry.size_limit
        && geometry.directory_at.is_multiple_of(LINE)
        && geometry.directory_at == geometry.region(0).data_at();
    if fits { Ok(()) } else { Err(Error::corrupted(Invariant::Header, 0)) }
}

/// Says of a fresh segment that the medium holds all of it, once that is so.
///
/// # Errors
/// `Os` where the system cannot write.
pub fn mark<M: Memory>(memory: &M) -> Result<()> {
    memory.sync()?;
    memory.store(header::MARK, crate::mark::CLEAN, Release);
    Ok(memory.sync()?)
}

/// Notes the number of the file that holds the segment.
pub fn set_home<M: Memory>(memory: &M, inode: u64) {
    if memory.load(header::HOME, Relaxed) != inode {
        let _writing = memory.writing();
        memory.store(header::HOME, inode, Release);
        memory.flush(header::HOME, 8);
        memory.drain();
    }
}

/// Whether the segment was at home in another file than that of this number: it was copied.
pub fn is_away<M: Memory>(memory: &M, inode: u64) -> bool {
    ![0, inode].contains(&memory.load(header::HOME, Acquire))
}

/// End of the backed bytes, as the header has it.
pub fn backed<M: Memory>(memory: &M) -> Offset {
    memory.load(header::BACKED, Acquire)
}

/// Whether no writer was attached who wrote, as far as the lanes tell: a copy of it is whole.
pub fn is_still<M: Memory>(memory: &M, geometry: &Geometry) -> bool {
    (0..memory.load(header::LANES_USED, Acquire).min(geometry.lanes)).all(|lane| {
        let pid_at = geometry.lane(lane + 1) - lane::TAIL + lane::PID;
        let state = Record::state(memory, geometry, lane as u16);
        memory.load(pid_at, Relaxed) == 0 && state.phase() == Some(Phase::Idle)
    })
}

/// Whether the machine was started again since the last writer.
pub fn is_other_boot<M: Memory>(memory: &M, boot: [u64; 2]) -> bool {
    let stored = [memory.load(header::BOOT, Acquire), memory.load(header::BOOT + 8, Acquire)];
    stored != boot
}

/// Notes the boot in which a writer is attached; after recovery, if any was due. Not flushed: after
/// a power failure the boot is another one in any case.
pub fn set_boot<M: Memory>(memory: &M, boot: [u64; 2]) {
    let _writing = memory.writing();
    memory.store(header::BOOT, boot[0], Relaxed);
    memory.store(header::BOOT + 8, boot[1], Release);
}
