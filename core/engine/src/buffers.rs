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
    /// Bits that it was going to set once. Going back to a savepoint may want them again, so nobody
    /// takes for granted that they are free.
    pub cancelled: u64,
    /// What the granule must still be, if the word belongs to a run's descriptor: an empty run may
    /// have become another kind since the block was chosen.
    pub run: Option<Kind>,
}

/// Content for space that nothing points to yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub at: Offset,
    /// What it is.
    pub source: Source,
    /// Bytes; 0 once the block was freed again.
    pub len: usize,
    /// Whether the block that begins here is this transaction's own.
    pub begins: bool,
    /// Bytes of each node that the space holds, whose first word is left alone; 0 for data.
    pub node_bytes: u64,
}

/// Where the content of a fill comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// A place in the arena.
    Arena(usize),
    /// Nowhere.
    Zeros,
    /// Another place of the segment, which a node that is read decidingly keeps as it is.
    Copy(Offset),
}

/// Up to this many, a list is searched from its start; above, through an index.
pub(crate) const LINEAR_MAX: usize = 16;

/// A larger arena is given back when it was used.
const ARENA_BYTES_KEPT: usize = 1 << 20;

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
        if self.arena.capacity() > ARENA_BYTES_KEPT {
            self.arena = Vec::new();
        }
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
                let none = Commute { entry, at, set: 0, clear: 0, add: 0, cancelled: 0, run };
                self.commutes.push(none);
                self.commutes.len() - 1
            }
        };
        &mut self.commutes[number]
    }

    /// Takes back those bits of `mask` that this transaction was going to set; returns the others.
    pub fn cancel_set(&mut self, at: Offset, mask: u64) -> u64 {
        let Some(number) = self.commutes.find(at) else { return mask };
        let commute = &mut self.commutes[number];
        let cancelled = commute.set & mask;
        if cancelled != 0 {
            commute.set &= !cancelled;
            commute.cancelled |= cancelled;
            self.changes += 1;
        }
        mask & !cancelled
    }

    /// Appends content to the arena and gives it to the block at `at`.
    pub fn put_fill(&mut self, at: Offset, node_bytes: u64, append: impl FnOnce(&mut Vec<u8>)) {
        let from = self.arena.len();
        append(&mut self.arena);
        let len = self.arena.len() - from;
        // Later writes of this transaction come in whole words.
        self.arena.resize(from + len.next_multiple_of(8), 0);
        self.push_fill(Fill { at, source: Source::Arena(from), len, begins: true, node_bytes });
    }

    /// Notes content for space that nothing points to yet.
    pub fn push_fill(&mut self, fill: Fill) {
        self.changes += 1;
        let at = fill.at;
        self.fills.push(fill);
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
        self.fill_number(at).map(|number| &self.fills[number])
    }

    #[inline]
    fn fill_number(&self, at: Offset) -> Option<usize> {
        let covers = |fill: &Fill| fill.at <= at && at - fill.at < fill.len as u64;
        if self.fills.len() <= LINEAR_MAX {
            return self.fills.iter().rposition(covers);
        }
        let (_, &number) = self.fill_index.range(..=at).next_back()?;
        self.fills.get(number as usize).filter(|fill| covers(fill)).map(|_| number as usize)
    }

    /// Bytes from `at`, which no content covers, to the next that does, at most `most`.
    pub fn until_fill(&self, at: Offset, most: usize) -> usize {
        let next = if self.fills.len() <= LINEAR_MAX {
            self.fills().map(|fill| fill.at).filter(|&next| next > at).min()
        } else {
            self.fill_index.range(at..).next().map(|(&next, _)| next)
        };
        next.map_or(most, |next| most.min((next - at) as usize))
    }

    /// The place in the arena of the word at `at`, if content covers it; brings content there that
    /// is elsewhere, by `copy_out`.
    #[inline]
    pub fn arena_place(
        &mut self,
        at: Offset,
        copy_out: impl FnOnce(Offset, &mut [u8]),
    ) -> Option<usize> {
        let number = self.fill_number(at)?;
        let Fill { at: start, source, len, .. } = self.fills[number];
        let from = match source {
            Source::Arena(from) => from,
            Source::Zeros | Source::Copy(_) => {
                let from = self.arena.len();
                self.arena.resize(from + len.next_multiple_of(8), 0);
                if let Source::Copy(there) = source {
                    copy_out(there, &mut self.arena[from..from + len]);
                }
                self.fills[number].source = Source::Arena(from);
                from
            }
        };
        Some(from + (at - start) as usize)
    }

    /// Whether words or content between `at` and `end` are to be written.
    pub fn changes_between(&self, at: Offset, end: Offset) -> bool {
        self.writes.pairs().iter().any(|pair| (at..end).contains(&pair[0]))
            || self.fills().any(|fill| fill.at < end && at < fill.at + fill.len as u64)
    }

    /// Forgets the content of a block that is freed.
    pub fn drop_fills(&mut self, at: Offset, bytes: u64) {
        let end = at.saturating_add(bytes);
        if self.fills.len() <= LINEAR_MAX {
            let inside = self.fills.iter_mut().filter(|fill| (at..end).contains(&fill.at));
            return inside.for_each(|fill| fill.len = 0);
        }
        while let Some((&place, &number)) = self.fill_index.range(at..end).next() {
            self.fill_index.remove(&place);
            self.fills[number as usize].len = 0;
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
