//! Where the parts of a B-tree stand. `docs/design.md` draws them.
//!
//! **B1** the keys below a node lie between its fence (included) and the fence of the next node of
//! its level (excluded); both are fixed as long as it lives. **B2** ranks are in key order: entry
//! `order[i]` has the key of rank `i`, and `order` is a permutation of all slots. **B3** a node's
//! level is one less than its parent's. **B4** whoever takes a node out of the tree frees it.

use crate::record::OFFSET_MASK;
use crate::typed::{ENTRY_BYTES_MAX, KEY_BYTES_MAX as TYPED_KEY_BYTES_MAX};
use std::cmp::Ordering;
use vasmem_engine::Offset;
use vasmem_engine::layout::{Kind, TREE_NODE_BYTES};

/// Words of the header's first line, from its start.
pub mod header {
    /// Random identity of the tree: a stale handle notices.
    pub const ID: u64 = 8;
    /// Flags that the binding keeps.
    pub const FLAGS: u64 = 16;
    /// The root: `offset 48 | level 8`.
    pub const ROOT: u64 = 24;
    /// Of a typed tree: block with the description of its types.
    pub const DESCRIPTION: u64 = 32;
    /// Of a typed tree: bytes of a key, and above 32 bits those of a value.
    pub const FORM: u64 = 40;
}
/// Bytes of the header block.
pub const HEADER_BYTES: u64 = 2048;
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
/// Bytes of an entry that leads to a record or a child.
const ENTRY_BYTES: u64 = 16;
/// A leaf of a typed tree is a small one if that has room for so many entries.
const ENTRIES_WANTED: u64 = 6;

/// What the entries of a node are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Bytes of a key that stands in its entry; 0 where entries lead elsewhere.
    pub key_bytes: u32,
    /// Bytes of the value behind it.
    pub value_bytes: u32,
    /// Bytes of an entry.
    pub entry_bytes: u32,
    /// Entries of a node.
    pub capacity: u32,
    /// Kind of the nodes.
    pub kind: Kind,
}

impl Form {
    /// Of entries that lead to records or to children.
    pub const LEADING: Form = Form {
        key_bytes: 0,
        value_bytes: 0,
        entry_bytes: ENTRY_BYTES as u32,
        capacity: CAPACITY as u32,
        kind: Kind::TREE_NODE,
    };

    /// Of the leaves of a tree with keys and values of so many bytes; `None` if they are none or
    /// too many.
    pub fn typed(key_bytes: u64, value_bytes: u64) -> Option<Form> {
        if !(1..=TYPED_KEY_BYTES_MAX).contains(&key_bytes) || value_bytes > ENTRY_BYTES_MAX {
            return None;
        }
        let entry_bytes = key_bytes.next_multiple_of(8) + value_bytes.next_multiple_of(8);
        if entry_bytes > ENTRY_BYTES_MAX {
            return None;
        }
        let room = |kind: Kind| (kind.node_bytes() - ENTRIES) / entry_bytes;
        let is_small = room(Kind::TREE_NODE) >= ENTRIES_WANTED;
        let kind = if is_small { Kind::TREE_NODE } else { Kind::TREE_LEAF };
        Some(Form {
            key_bytes: key_bytes as u32,
            value_bytes: value_bytes as u32,
            entry_bytes: entry_bytes as u32,
            capacity: room(kind).min(CAPACITY as u64) as u32,
            kind,
        })
    }

    /// Whether keys and values stand in the entries.
    #[inline(always)]
    pub fn is_inline(self) -> bool {
        self.key_bytes != 0
    }
    /// Entries of a node.
    #[inline(always)]
    pub fn capacity(self) -> usize {
        self.capacity as usize
    }
    /// A node that shrinks below this many entries takes in a neighbour, or shares with it.
    pub fn least(self) -> usize {
        self.capacity() / 4
    }
    /// Entries of a node that a bulk build leaves: about 90 %.
    pub fn filled(self) -> usize {
        self.capacity() * 9 / 10
    }
    /// What a key takes at least: its record, or its entry.
    pub fn least_bytes(self) -> u64 {
        if self.is_inline() { self.entry_bytes.into() } else { Kind(1).block_bytes() }
    }
    /// Words of an entry.
    #[inline(always)]
    pub fn words(self) -> usize {
        self.entry_bytes as usize / 8
    }
    /// Words of a key.
    #[inline(always)]
    pub fn key_words(self) -> usize {
        self.key_bytes.div_ceil(8) as usize
    }
    /// How the key of an entry compares with one that begins as it does; `None` if only all bytes
    /// can tell.
    #[inline(always)]
    pub fn compare(self, key: &[u8]) -> Option<Ordering> {
        (self.key_bytes <= HEAD as u32).then(|| (self.key_bytes as usize).cmp(&key.len()))
    }
    /// The words of an entry: those of the key compare as its bytes do.
    pub fn entry<'a>(self, key: &'a [u8], value: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
        key.chunks(8).map(head_of).chain(crate::typed::words(value))
    }
}

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
    /// Its two words.
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        [self.head, self.word]
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
    fn typed_entries_have_room_in_their_leaves() {
        for key in 1..=TYPED_KEY_BYTES_MAX {
            for value in 0..=ENTRY_BYTES_MAX {
                let Some(form) = Form::typed(key, value) else {
                    assert!(key.next_multiple_of(8) + value.next_multiple_of(8) > ENTRY_BYTES_MAX);
                    continue;
                };
                assert!((6..=CAPACITY).contains(&form.capacity()));
                let bytes = u64::from(form.entry_bytes) * u64::from(form.capacity);
                assert!(ENTRIES + bytes <= form.kind.node_bytes());
                let (key, value) = (vec![1; key as usize], vec![2; value as usize]);
                assert_eq!(form.entry(&key, &value).count(), form.words());
            }
        }
        assert_eq!(Form::typed(0, 8), None);
        assert_eq!(Form::typed(u64::MAX, u64::MAX), None);
        assert_eq!(Form::typed(8, 8).map(Form::capacity), Some(CAPACITY));
    }

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
