//! Where the parts of a B-tree stand. `docs/design.md` draws them.
//!
//! **B1** the keys below a node lie between its fence (included) and the fence of the next node of
//! its level (excluded); both are fixed as long as it lives. **B2** ranks are in key order: entry
//! `order[i]` has the key of rank `i`, and `order` is a permutation of all slots. **B3** a node's
//! level is one less than its parent's. **B4** whoever takes a node out of the tree frees it.

use crate::record::OFFSET_MASK;
use std::cmp::Ordering;
use vasmem_engine::Offset;
use vasmem_engine::layout::TREE_NODE_BYTES;

/// Words of the header's first line, from its start.
pub mod header {
    /// Random identity of the tree: a stale handle notices.
    pub const ID: u64 = 8;
    /// Flags that the binding keeps.
    pub const FLAGS: u64 = 16;
    /// The root: `offset 48 | level 8`.
    pub const ROOT: u64 = 24;
}
/// Bytes of the header block.
pub const HEADER_BYTES: u64 = 2048;
/// Count shards: lines 1..=16 of the header, the count in their first word.
pub const SHARDS: u64 = 16;
/// Highest level of a root: more than any number of keys needs.
pub const LEVEL_MAX: u8 = 15;
/// Longest key.
pub const KEY_BYTES_MAX: u64 = 1 << 20;
/// The longest record: of such a key, with its value out of line.
pub const RECORD_BYTES_MAX: u64 = KEY_BYTES_MAX + 16;

/// Places in a node, from its start.
pub mod node {
    /// Count, level, bytes of the common prefix.
    pub const META: u64 = 8;
    /// Record of the key that is the lower fence; 0 in the first node of a level.
    pub const FENCE: u64 = 16;
    /// Slot numbers, a byte each, in key order; behind the last rank the free ones.
    pub const ORDER: u64 = 24;
}

/// Entries of a node.
pub const CAPACITY: usize = capacity();
/// Bytes of the order of slots, in whole words.
pub const ORDER_BYTES: usize = CAPACITY.next_multiple_of(8);
/// First entry, from the start of its node.
pub const ENTRIES: u64 = node::ORDER + ORDER_BYTES as u64;
/// Bytes of an entry.
pub const ENTRY_BYTES: u64 = 16;
/// A node that shrinks below this many entries takes in a neighbour, or shares with it.
pub const LEAST: usize = CAPACITY / 4;
/// Entries of a node that a bulk build leaves: about 90 %.
pub const FILLED: usize = CAPACITY * 9 / 10;

const fn capacity() -> usize {
    let mut count = 255_usize;
    while node::ORDER as usize + count.next_multiple_of(8) + count * ENTRY_BYTES as usize
        > TREE_NODE_BYTES as usize
    {
        count -= 1;
    }
    count
}

/// Word `META` of a node: count 8 | level 8 | 0 16 | prefix bytes 32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta(pub u64);

impl Meta {
    /// Puts the three together.
    pub fn new(count: usize, level: u8, prefix: usize) -> Meta {
        Meta(count as u64 | u64::from(level) << 8 | (prefix as u64) << 32)
    }
    /// Entries in use.
    #[inline(always)]
    pub fn count(self) -> usize {
        self.0 as usize & 0xff
    }
    /// 0 in a leaf.
    #[inline(always)]
    pub fn level(self) -> u8 {
        (self.0 >> 8) as u8
    }
    /// Bytes that all its keys have in common, and that its heads leave out.
    #[inline(always)]
    pub fn prefix(self) -> usize {
        (self.0 >> 32) as usize
    }
    /// The same with another count.
    pub fn with_count(self, count: usize) -> Meta {
        Meta(self.0 & !0xff | count as u64)
    }
}

/// Bytes of a key that stand in its entry.
const HEAD: usize = 8;

/// An entry: the first eight bytes of the key behind the node's prefix, big-endian and padded with
/// zeros; then `offset 48 | bytes of the key behind the prefix, at most 9, 4 | check 12`. The
/// offset is that of a record in a leaf, and that of a child, whose fence is the key, above. The
/// check is of the whole key: it tells a key that was damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key's first bytes.
    pub head: u64,
    /// Where it leads, and how long the key is.
    pub word: u64,
}

impl Entry {
    /// The entry of a key in a node whose prefix has so many bytes.
    pub fn new(key: &[u8], prefix: usize, leads: Offset) -> Entry {
        let suffix = key.get(prefix..).unwrap_or_default();
        let check = xxhash_rust::xxh3::xxh3_64(key) & !0 << 52;
        Entry { head: head_of(suffix), word: leads | length_of(suffix) << 48 | check }
    }
    /// An entry that nobody looks at: that of the first child.
    pub fn first(leads: Offset) -> Entry {
        Entry { head: 0, word: leads }
    }
    /// The record or child.
    #[inline(always)]
    pub fn leads(self) -> Offset {
        self.word & OFFSET_MASK
    }
    /// The same, leading elsewhere.
    pub fn leading_to(self, at: Offset) -> Entry {
        Entry { word: self.word & !OFFSET_MASK | at, ..self }
    }
    /// How its key compares with one that has the same head; `None` if only all bytes can tell.
    #[inline(always)]
    pub fn compare(self, suffix: &[u8]) -> Option<Ordering> {
        let (own, other) = (self.word >> 48 & 0xf, length_of(suffix));
        if own > HEAD as u64 && other > HEAD as u64 { None } else { Some(own.cmp(&other)) }
    }
}

/// The first bytes of a key's suffix as a number that compares as they do.
#[inline(always)]
pub fn head_of(suffix: &[u8]) -> u64 {
    match suffix.first_chunk::<HEAD>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; HEAD];
            bytes[..suffix.len()].copy_from_slice(suffix);
            u64::from_be_bytes(bytes)
        }
    }
}

#[inline(always)]
fn length_of(suffix: &[u8]) -> u64 {
    suffix.len().min(HEAD + 1) as u64
}

/// Bytes at the beginning of both.
pub fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

const _: () = assert!(ENTRIES + CAPACITY as u64 * ENTRY_BYTES <= TREE_NODE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_compare_as_their_keys_do() {
        let keys: [&[u8]; 9] =
            [b"", b"\0", b"\0\0", b"a", b"a\0", b"aaaaaaaa", b"aaaaaaaa\0", b"aaaaaaaab", b"b"];
        for one in keys {
            for other in keys {
                let entry = Entry::new(one, 0, 64);
                let told = match entry.head.cmp(&head_of(other)) {
                    Ordering::Equal => entry.compare(other),
                    order => Some(order),
                };
                assert_eq!(told.unwrap_or(one.cmp(other)), one.cmp(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn fields_come_back() {
        let meta = Meta::new(CAPACITY, LEVEL_MAX, 1 << 20);
        assert_eq!((meta.count(), meta.level(), meta.prefix()), (CAPACITY, LEVEL_MAX, 1 << 20));
        assert_eq!(meta.with_count(1), Meta::new(1, LEVEL_MAX, 1 << 20));
        let entry = Entry::new(b"abcde", 2, 1 << 40);
        assert_eq!(entry.leading_to(128), Entry::new(b"abcde", 2, 128));
        assert_eq!(entry.head, head_of(b"cde"));
        assert_eq!(entry.leads(), 1 << 40);
    }
}
