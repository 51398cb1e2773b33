//! What a transaction has gathered: nodes it touched, words to write, content for fresh space. All
//! of it is private memory, kept by the lane so that it is allocated once.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use vasmem_memory::Offset;

use crate::access::View;
use crate::layout::Kind;
use crate::writes::Writes;

/// What a transaction does with a node.
pub(crate) mod mode {
    /// Its counter was seen and must still be so.
    pub const SEEN: u8 = 1;
    /// It decides the result.
    pub const READ: u8 = 2;
    /// Words of it, or behind it, are written.
    pub const WRITE: u8 = 4;
    /// It is freed.
    pub const FREE: u8 = 8;
    /// It was free, and is filled.
    pub const FRESH: u8 = 16;
    /// Bits or counts in it change, whatever else changes meanwhile.
    pub const COMMUTE: u8 = 32;
    /// It is unlocked last.
    pub const LAST: u8 = 64;
    /// It was locked when it was seen: its view is kept.
    pub const CLOSELY: u8 = 128;
    /// Modes that move the counter.
    pub const CHANGES: u8 = WRITE | FREE | FRESH | COMMUTE;
}

/// A node that the transaction touched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub node: Offset,
    /// As seen; in the list to be locked, as locked.
    pub counter: u64,
    /// Its place in `entries`.
    pub number: u32,
    pub mode: u8,
}

/// A change of a word that is made absolute under its lock: bits that must be clear are set, bits
/// that must be set are cleared, a count is added to. No bit is both set and cleared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commute {
    pub entry: u32,
    pub at: Offset,
    pub set: u64,
    pub clear: u64,
    pub add: u64,
    /// What the granule must still be, if the word belongs to a run's descriptor: an empty run may
    /// have become another kind since the block was chosen.
    pub run: Option<Kind>,
}

/// Content for space that nothing points to yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub at: Offset,
    /// Its place in the arena.
    pub from: usize,
    /// Bytes; 0 once the block was freed again.
    pub len: usize,
    /// Bytes of each node that the space holds, whose first word is left alone; 0 for data.
    pub node_bytes: u64,
}

/// Up to this many, a list is searched from its start; above, through an index.
pub(crate) const LINEAR_MAX: usize = 16;

/// Something with a place.
pub(crate) trait Placed {
    fn place(&self) -> Offset;
}
impl Placed for Entry {
    #[inline(always)]
    fn place(&self) -> Offset {
        self.node
    }
}
impl Placed for Commute {
    #[inline(always)]
    fn place(&self) -> Offset {
        self.at
    }
}

/// A list, no two items of which have the same place.
#[derive(Clone)]
pub(crate) struct List<T> {
    items: Vec<T>,
    index: HashMap<Offset, u32, BuildOffsetHasher>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List { items: Vec::new(), index: HashMap::default() }
    }
}

impl<T: Placed> List<T> {
    /// Number of the item at this place.
    #[inline(always)]
    pub fn find(&self, at: Offset) -> Option<usize> {
        if self.items.len() <= LINEAR_MAX {
            return self.items.iter().position(|item| item.place() == at);
        }
        self.index.get(&at).map(|&number| number as usize)
    }

    /// Adds an item whose place is not in the list yet.
    #[inline]
    pub fn push(&mut self, item: T) {
        let (number, at) = (self.items.len(), item.place());
        self.items.push(item);
        if number >= LINEAR_MAX {
            self.note(number, at);
        }
    }

    #[cold]
    fn note(&mut self, number: usize, at: Offset) {
        if number == LINEAR_MAX {
            let items = self.items.iter().enumerate();
            self.index.extend(items.map(|(number, item)| (item.place(), number as u32)));
        } else {
            self.index.insert(at, number as u32);
        }
    }

    pub fn clear(&mut self) {
        self.items.clear();
        if !self.index.is_empty() {
            self.index.clear();
        }
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> std::ops::DerefMut for List<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

/// All that a transaction has gathered.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    pub entries: List<Entry>,
    pub writes: Writes,
    pub commutes: List<Commute>,
    fills: Vec<Fill>,
    /// Fills by place, once there are many.
    fill_index: BTreeMap<Offset, u32>,
    pub arena: Vec<u8>,
    /// Nodes that were locked when they were seen.
    views: Vec<View>,
    /// An owner's record was overwritten while its words were read: what was read is worth nothing,
    /// though the node may still come to the counter that was seen.
    pub stale: Cell<bool>,
    /// Whether somebody has pins, once this transaction has looked.
    pub respects_pins: Option<bool>,
    /// Blocks that are freed although somebody has pins: none of these.
    pub freed: Vec<Offset>,
    /// Counts what is to be changed, so that one can tell whether anything came to it.
    pub changes: u64,
}

impl Buffers {
    pub fn clear(&mut self) {
        self.entries.clear();
        self.writes.clear();
        self.commutes.clear();
        self.fills.clear();
        self.arena.clear();
        self.views.clear();
        self.stale.set(false);
        self.respects_pins = None;
        self.freed.clear();
        self.changes = 0;
        if !self.fill_index.is_empty() {
            self.fill_index.clear();
        }
    }

    /// The entry of `node` with `mode` added.
    #[inline(always)]
    pub fn entry(&mut self, node: Offset, mode: u8) -> u32 {
        if let Some(number) = self.entries.find(node) {
            self.entries[number].mode |= mode;
            return number as u32;
        }
        let number = self.entries.len() as u32;
        self.entries.push(Entry { node, counter: 0, number, mode });
        number
    }

    /// Keeps how a locked node was seen, the latest look alone.
    pub fn keep_view(&mut self, view: View) {
        self.views.retain(|known| known.node != view.node);
        self.views.push(view);
    }

    /// Keeps the views of `other`, which are the later ones.
    pub fn keep_views_of(&mut self, other: &Buffers) {
        self.views.clone_from(&other.views);
    }

    /// How a node that was locked was seen.
    #[cold]
    pub fn find_view(&self, node: Offset) -> Option<&View> {
        self.views.iter().find(|view| view.node == node)
    }

    /// The gathered change of the word at `at`, which `node` gates.
    pub fn commute(&mut self, node: Offset, at: Offset, mode: u8) -> &mut Commute {
        self.changes += 1;
        let number = match self.commutes.find(at) {
            Some(number) => number,
            None => {
                let entry = self.entry(node, mode);
                let run = None;
                self.commutes.push(Commute { entry, at, set: 0, clear: 0, add: 0, run });
                self.commutes.len() - 1
            }
        };
        &mut self.commutes[number]
    }

    /// Takes back bits that this transaction was going to set; whether it was.
    pub fn cancel_set(&mut self, at: Offset, mask: u64) -> bool {
        let Some(number) = self.commutes.find(at) else { return false };
        let commute = &mut self.commutes[number];
        let sets = commute.set & mask == mask;
        if sets {
            commute.set &= !mask;
            self.changes += 1;
        }
        sets
    }

    /// Appends content to the arena and gives it to the block at `at`.
    pub fn put_fill(&mut self, at: Offset, node_bytes: u64, append: impl FnOnce(&mut Vec<u8>)) {
        self.changes += 1;
        let from = self.arena.len();
        append(&mut self.arena);
        let len = self.arena.len() - from;
        // Later writes of this transaction come in whole words.
        self.arena.resize(from + len.next_multiple_of(8), 0);
        self.fills.push(Fill { at, from, len, node_bytes });
        let number = self.fills.len() - 1;
        if number == LINEAR_MAX {
            let fills = self.fills.iter().enumerate().filter(|(_, fill)| fill.len > 0);
            self.fill_index.extend(fills.map(|(i, fill)| (fill.at, i as u32)));
        } else if number > LINEAR_MAX {
            self.fill_index.insert(at, number as u32);
        }
    }

    /// Contents of fresh space.
    pub fn fills(&self) -> impl Iterator<Item = &Fill> {
        self.fills.iter().filter(|fill| fill.len > 0)
    }

    #[inline(always)]
    pub fn has_fills(&self) -> bool {
        !self.fills.is_empty()
    }

    /// The content that covers `at`.
    #[inline]
    pub fn find_fill(&self, at: Offset) -> Option<&Fill> {
        let covers = |fill: &&Fill| fill.at <= at && at - fill.at < fill.len as u64;
        if self.fills.len() <= LINEAR_MAX {
            return self.fills.iter().rfind(covers);
        }
        let (_, &number) = self.fill_index.range(..=at).next_back()?;
        self.fills.get(number as usize).filter(covers)
    }

    /// Forgets the content of a block that is freed before it was ever there.
    pub fn drop_fill(&mut self, at: Offset) {
        let number = match self.fill_index.remove(&at) {
            Some(number) => Some(number as usize),
            None if self.fills.len() <= LINEAR_MAX => {
                self.fills.iter().position(|fill| fill.at == at && fill.len > 0)
            }
            None => None,
        };
        if let Some(fill) = number.and_then(|number| self.fills.get_mut(number)) {
            fill.len = 0;
        }
    }
}

/// Hashes offsets, which are already spread out, by one multiplication.
#[derive(Clone, Copy, Default)]
pub(crate) struct OffsetHasher(u64);
pub(crate) type BuildOffsetHasher = std::hash::BuildHasherDefault<OffsetHasher>;

impl std::hash::Hasher for OffsetHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
