//! Where the parts of a typed hash map stand. `docs/design.md` draws them.
//!
//! Header and directory are those of a hash map. A table is one granule of nodes of 64 to 1024
//! bytes; an entry is the key's words and the value's words, in the node itself. **Y1** a used
//! entry stands in its home node, the one behind it, or, if its home says so, in its stash window.

use crate::hashmap::Hash;
use vasmem_engine::Offset;
use vasmem_engine::layout::{GRANULE, Kind, LINE};

/// Words of the header's first line, beside those of every hash map.
pub mod header {
    /// Block with the description of the types; its length stands before it.
    pub const DESCRIPTION: u64 = 48;
    /// Bytes of a key, and above 32 bits those of a value.
    pub const FORM: u64 = 56;
}
/// Longest key and longest value.
pub const KEY_BYTES_MAX: u64 = 256;
/// Largest entry: two of them have room in the largest node.
pub const ENTRY_BYTES_MAX: u64 = 504;

/// Places in a node, from its start.
pub mod node {
    /// A bit for each entry in use, and [`OVERFLOWED`](super::OVERFLOWED).
    pub const USED: u64 = 8;
    /// First entry.
    pub const ENTRIES: u64 = 16;
}
/// In a home node: keys of this home stand in the stash.
pub const OVERFLOWED: u64 = 1 << 63;
/// Entries of a node at most: their bits fit below the flag.
const ENTRIES_MAX: u64 = 48;
/// Stash nodes in which a key may stand.
pub const WINDOW: u64 = 4;
/// A node is as small as it can be with room for so many entries.
const ENTRIES_WANTED: u64 = 6;

/// How entries, nodes and tables are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Bytes of a key.
    pub key_bytes: u64,
    /// Bytes of a value.
    pub value_bytes: u64,
    /// Kind of the tables.
    pub kind: Kind,
    /// Entries of a node.
    pub entries: u64,
}

impl Form {
    /// For keys and values of so many bytes; `None` if they are none or too many.
    pub fn new(key_bytes: u64, value_bytes: u64) -> Option<Form> {
        if !(1..=KEY_BYTES_MAX).contains(&key_bytes) || value_bytes > ENTRY_BYTES_MAX {
            return None;
        }
        let bytes = key_bytes.next_multiple_of(8) + value_bytes.next_multiple_of(8);
        if bytes > ENTRY_BYTES_MAX {
            return None;
        }
        let room = |kind: Kind| (kind.node_bytes() - node::ENTRIES) / bytes;
        let [.., largest] = Kind::TYPED_TABLES;
        let smallest = Kind::TYPED_TABLES.into_iter().find(|&kind| room(kind) >= ENTRIES_WANTED);
        let kind = smallest.unwrap_or(largest);
        Some(Form { key_bytes, value_bytes, kind, entries: room(kind).min(ENTRIES_MAX) })
    }

    /// Words of a key.
    #[inline]
    pub fn key_words(&self) -> u64 {
        self.key_bytes.div_ceil(8)
    }

    /// Bytes of an entry.
    #[inline]
    pub fn entry_bytes(&self) -> u64 {
        (self.key_words() + self.value_bytes.div_ceil(8)) * 8
    }

    /// Bytes of a node.
    #[inline]
    pub fn node_bytes(&self) -> u64 {
        self.kind.node_bytes()
    }

    /// Nodes of a table: the first tells index and depth, then home nodes, the neighbour of the
    /// last, stash nodes.
    #[inline]
    pub fn nodes(&self) -> u64 {
        GRANULE / self.node_bytes()
    }

    /// Stash nodes.
    #[inline]
    fn stashes(&self) -> u64 {
        self.nodes() / 16
    }

    /// Home nodes.
    #[inline]
    fn homes(&self) -> u64 {
        self.nodes() - 2 - self.stashes()
    }

    /// Number of the home node.
    #[inline]
    pub fn home(&self, hash: Hash) -> u64 {
        1 + (((hash.0 & 0xffff) * self.homes()) >> 16)
    }

    /// Number of stash node `step` of the key's window.
    #[inline]
    pub fn stash(&self, hash: Hash, step: u64) -> u64 {
        2 + self.homes() + (hash.tag() + step) % self.stashes()
    }

    /// Stash nodes in the window of a key, each once.
    #[inline]
    pub fn window(&self) -> u64 {
        WINDOW.min(self.stashes())
    }

    /// Place of a node.
    #[inline]
    pub fn node(&self, table: Offset, number: u64) -> Offset {
        table + number * self.node_bytes()
    }

    /// Place of an entry, from the start of its node.
    #[inline]
    pub fn entry(&self, number: u64) -> u64 {
        node::ENTRIES + number * self.entry_bytes()
    }

    /// The bits of all entries.
    #[inline]
    pub fn all(&self) -> u64 {
        (1 << self.entries) - 1
    }
}

/// The words of a key or a value, with zeros to the end of the last.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

const _: () = assert!(Kind::TYPED_TABLES[0].0 == 80);
const _: () = assert!(LINE * 16 <= GRANULE / 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_room_in_their_nodes() {
        for key in 1..=KEY_BYTES_MAX {
            for value in 0..=ENTRY_BYTES_MAX {
                let Some(form) = Form::new(key, value) else {
                    assert!(key.next_multiple_of(8) + value.next_multiple_of(8) > ENTRY_BYTES_MAX);
                    continue;
                };
                assert!(form.entries >= 2 && form.entries <= ENTRIES_MAX);
                assert!(form.entry(form.entries) <= form.node_bytes());
                assert!(form.homes() + form.stashes() + 2 == form.nodes());
            }
        }
        assert_eq!(Form::new(0, 8), None);
        assert_eq!(Form::new(u64::MAX, u64::MAX), None);
        assert_eq!(Form::new(8, 8).map(|form| (form.node_bytes(), form.entries)), Some((128, 7)));
    }
}
