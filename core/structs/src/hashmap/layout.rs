//! Where the parts of a hash map stand. `docs/design.md` draws them.
//!
//! **M1** an entry of depth `d` at index `i` covers the keys whose hash index has `i` as its low
//! `d` bits; an empty entry inherits from the index without its top bit. **M2** a record stands in
//! its home bucket, the one behind it, or, if its home says so, in its stash window. **M3** each
//! key stands once. **M4** whoever takes a table's entry away frees all of its buckets.

use crate::record::{HEAD_BYTES, OFFSET_MASK, RECORD_BYTES_MAX};
use crate::shards::SHARDS;
use vasmem_engine::Offset;
use vasmem_engine::layout::{Kind, LINE};

/// Words of the header's first line, from its start.
pub mod header {
    /// Random identity of the map: a stale handle notices.
    pub const ID: u64 = 8;
    /// Flags that the binding keeps.
    pub const FLAGS: u64 = 16;
    /// Bits of the directory index in use.
    pub const DEPTH: u64 = 24;
    /// Entry of the only table while there is no directory page.
    pub const ONLY: u64 = 32;
    /// First directory page, or 0.
    pub const PAGE: u64 = 40;
}
/// Bytes of the header block.
pub const HEADER_BYTES: u64 = 4096;
/// First line of the header that leads to directory pages 1, 2, ...
const ROOT_LINE: u64 = 1 + SHARDS;
/// Entries in a line.
pub const PER_LINE: u64 = 7;
/// Entries in a directory page.
pub const PER_PAGE: u64 = 256 * PER_LINE;
/// Directory pages at most.
pub const PAGES_MAX: u64 = 1 + (HEADER_BYTES / LINE - ROOT_LINE) * PER_LINE;
/// Bits of the hash that choose a directory index.
pub const DEPTH_MAX: u32 = 24;

/// Line and word of the header that leads to page `page`, which is not 0.
pub fn root_slot(header: Offset, page: u64) -> (Offset, Offset) {
    let line = header + (ROOT_LINE + (page - 1) / PER_LINE) * LINE;
    (line, line + 8 + (page - 1) % PER_LINE * 8)
}

/// Line and word of entry `index` in its page.
pub fn entry_slot(page: Offset, index: u64) -> (Offset, Offset) {
    let line = page + index % PER_PAGE / PER_LINE * LINE;
    (line, line + 8 + index % PER_PAGE % PER_LINE * 8)
}

/// Directory entry: `offset 48 | depth 6 | small 1`. 0 is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry(pub u64);

impl Entry {
    /// Puts the three together.
    pub fn new(table: Offset, depth: u32, small: bool) -> Entry {
        Entry(table | u64::from(depth) << 48 | u64::from(small) << 54)
    }
    /// The table.
    #[inline]
    pub fn table(self) -> Offset {
        self.0 & OFFSET_MASK
    }
    /// Index bits that its keys share.
    #[inline]
    pub fn depth(self) -> u32 {
        (self.0 >> 48) as u32 & 0x3f
    }
    /// Its shape.
    #[inline]
    pub fn shape(self) -> &'static Shape {
        if self.0 >> 54 & 1 != 0 { &SMALL } else { &FULL }
    }
}

/// How a table is divided. Line 0 tells index and depth; then home buckets, the neighbour of the
/// last, stash buckets.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// Kind of its nodes.
    pub kind: Kind,
    /// Lines.
    pub lines: u64,
    /// Home buckets.
    pub homes: u64,
    /// Stash buckets.
    pub stashes: u64,
}

/// A table of one granule.
pub static FULL: Shape = Shape { kind: Kind::HASH_TABLE, lines: 256, homes: 239, stashes: 15 };
/// The first table of a map, 4 KiB.
pub static SMALL: Shape = Shape { kind: Kind::HASH_TABLE_SMALL, lines: 64, homes: 58, stashes: 4 };
/// Stash buckets in which a key may stand.
pub const WINDOW: u64 = 4;

impl Shape {
    /// Line of the home bucket.
    #[inline]
    pub fn home(&self, hash: Hash) -> u64 {
        1 + (((hash.0 & 0xffff) * self.homes) >> 16)
    }
    /// Line of stash bucket number `step` of the key's window.
    pub fn stash(&self, hash: Hash, step: u64) -> u64 {
        2 + self.homes + (hash.tag() + step) % self.stashes
    }
}

/// Hash of a key: bucket 16 | tag 16 | 8 unused | index 24.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hash(pub u64);

impl Hash {
    /// Hashes the bytes of a key (xxh3, seeded by the segment).
    #[inline]
    pub fn of(key: &[u8], seed: u64) -> Hash {
        Hash(xxhash_rust::xxh3::xxh3_64_with_seed(key, seed))
    }
    /// Part that stands in the slot.
    #[inline]
    pub fn tag(self) -> u64 {
        self.0 >> 16 & 0xffff
    }
    /// Directory index in full depth.
    #[inline]
    pub fn index(self) -> u64 {
        self.0 >> 40
    }
}

/// Slot of a bucket: `tag 16 | offset 48`; 0 (but for the flag) is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(pub u64);

/// In a home bucket's first slot: keys of this home stand in the stash.
pub const OVERFLOWED: u64 = 1;

impl Slot {
    /// Puts the two together.
    pub fn new(hash: Hash, record: Offset) -> Slot {
        Slot(hash.tag() << 48 | record)
    }
    /// The record's offset; 0 when empty.
    #[inline]
    pub fn record(self) -> Offset {
        self.0 & OFFSET_MASK & !OVERFLOWED
    }
    /// The same slot, with a record in another place.
    #[inline]
    pub fn leading_to(self, record: Offset) -> Slot {
        Slot(self.0 & (!OFFSET_MASK | OVERFLOWED) | record)
    }
    /// Whether a record with this tag stands here.
    #[inline]
    pub fn has(self, hash: Hash) -> bool {
        self.0 >> 48 == hash.tag() && self.record() != 0
    }
}

/// Longest key.
pub const KEY_BYTES_MAX: u64 = 4000;

const _: () = assert!(FULL.lines == FULL.homes + FULL.stashes + 2);
const _: () = assert!(SMALL.lines == SMALL.homes + SMALL.stashes + 2);
const _: () = assert!(HEAD_BYTES + KEY_BYTES_MAX + 8 <= RECORD_BYTES_MAX);
