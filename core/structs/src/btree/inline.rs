//! Typed trees: keys and values of fixed sizes stand in the entries of the leaves. Everything above
//! the leaves is that of other trees; to most of what reads leaves, an entry is a record.

use super::BTree;
use super::layout::{ENTRIES, Entry, Form};
use super::scan::{Edge, toward};
use super::search::{Node, Step, Toward};
use crate::record::{HEAD_BYTES, Head};
use crate::typed::KEY_BYTES_MAX;
use std::ops::Bound;
use vasmem_engine::layout::LINE;
use vasmem_engine::{Access, Glance, Glimpse, Host, Memory, Offset, Result, Seen};

/// Keys whose memory is asked for at a time.
pub const GROUP: usize = 16;
/// Leaves that are asked for before the first is looked at.
const LEAVES_AHEAD: usize = 3;

/// Where the leaf of a key is, as far as that was found at a glance.
pub type Ahead = Option<(Glimpse, Offset)>;

/// Keys and values, each one behind the other.
#[derive(Debug, Default)]
pub struct Columns {
    /// Keys, as bytes that are in their order.
    pub keys: Vec<u8>,
    /// Their values.
    pub values: Vec<u8>,
    /// Where keys have eight bytes, they may come as little-endian numbers instead: with these bits
    /// changed.
    pub numbers: Option<u64>,
    /// The entries of one leaf.
    pub entries: Vec<u8>,
}

/// Keeps the words of an entry; the entry leads to them.
pub(super) fn inline_entry(words: &mut Vec<u64>, entry: impl Iterator<Item = u64>) -> Entry {
    let at = words.len();
    words.extend(entry);
    Entry { head: words[at], word: at as u64 }
}

impl Form {
    /// The bytes of a key that has these words.
    pub(super) fn key_of(self, words: &[u64]) -> Vec<u8> {
        let words = words.iter().take(self.key_words());
        let mut key: Vec<u8> = words.flat_map(|word| word.to_be_bytes()).collect();
        key.truncate(self.key_bytes as usize);
        key
    }
}

impl<V: Seen> Node<V> {
    /// All words of the entry of a rank.
    pub(super) fn entry_words<'a, A: Access<View = V>>(
        &self,
        access: &'a A,
        rank: usize,
    ) -> impl Iterator<Item = u64> + use<'a, A, V> {
        let (view, at) = (self.view, self.place(rank));
        let places = (at..at + u64::from(self.form.entry_bytes)).step_by(8);
        places.map(move |at| access.word(&view, at))
    }
}

/// Copies words that compare as their bytes do, to bytes that may end in the middle of one.
#[inline(always)]
fn put_key(words: &[u8], into: &mut [u8]) {
    for (word, into) in words.chunks_exact(8).zip(into.chunks_mut(8)) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        bytes.reverse();
        into.copy_from_slice(&bytes[..into.len()]);
    }
}

impl BTree {
    /// Makes a record of an entry; not yet checked against its node's version.
    pub(super) fn inline_record<A: Access>(
        &self,
        access: &A,
        leaf: &Node<A::View>,
        rank: usize,
        record: &mut Vec<u8>,
    ) -> Head {
        let form = leaf.form;
        let (key_bytes, value_bytes) = (form.key_bytes as usize, form.value_bytes as usize);
        let (from, key_words) = (HEAD_BYTES as usize, form.key_words() * 8);
        // The words of the key first go to where there is room for all of them.
        let bytes = from + (key_bytes + value_bytes).max(key_words);
        if record.len() < bytes {
            record.resize(bytes, 0);
        }
        let mut words = [0; KEY_BYTES_MAX as usize];
        let at = leaf.place(rank);
        access.bytes(&leaf.view, at, &mut words[..key_words]);
        put_key(&words[..key_words], &mut record[from..from + key_bytes]);
        let value = &mut record[from + key_bytes..from + key_bytes + value_bytes];
        access.bytes(&leaf.view, at + key_words as u64, value);
        let head = Head::new(key_bytes as u64, value_bytes as u64);
        record[..from].copy_from_slice(&head.0.to_le_bytes());
        head
    }

    /// Asks for the leaves of some keys.
    pub fn ask<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        keys: &[&[u8]],
    ) -> [Ahead; GROUP] {
        let mut ahead = [None; GROUP];
        for (ahead, key) in ahead.iter_mut().zip(keys) {
            *ahead = self.leaf_of(glance, key).ok().flatten();
        }
        ahead
    }

    fn leaf_of<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        key: &[u8],
    ) -> Result<Ahead> {
        let toward = Toward::Key(key);
        let (node, level) = self.descend_to(glance, toward, 1, None)?;
        if level == 0 {
            return Ok(None);
        }
        let rank = self.child_rank(glance, &node, toward)?;
        let leaf = node.entry(glance, rank).leads();
        self.prefetch_leaf(glance, leaf);
        Ok(Some((node.view, leaf)))
    }

    fn prefetch_leaf<A: Access>(&self, access: &A, leaf: Offset) {
        // Three quarters of a leaf are used, more or less.
        let used = ENTRIES + u64::from(self.form.capacity * self.form.entry_bytes) * 3 / 4;
        (leaf..leaf + used).step_by(LINE as usize).for_each(|line| access.prefetch(line));
    }

    /// As [`BTree::get_inline`], of a key whose leaf was asked for.
    ///
    /// # Errors
    /// As [`BTree::get`].
    pub fn get_asked<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        (parent, leaf): &(Glimpse, Offset),
        key: &[u8],
        value: &mut [u8],
    ) -> Result<bool> {
        let leaf = self.node(glance, Some(parent), *leaf, 0)?;
        self.value_in(glance, &leaf, key, value)
    }

    /// Looks a key of a typed tree up; `value` has its length, and whatever it is if the key is not
    /// there.
    ///
    /// # Errors
    /// As [`BTree::get`].
    pub fn get_inline<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        value: &mut [u8],
    ) -> Result<bool> {
        let mut leaf = self.descend(access, Toward::Key(key), None)?;
        leaf.view = access.decide(&leaf.view)?;
        self.value_in(access, &leaf, key, value)
    }

    fn value_in<A: Access>(
        &self,
        access: &mut A,
        leaf: &Node<A::View>,
        key: &[u8],
        value: &mut [u8],
    ) -> Result<bool> {
        let (rank, found) = self.rank(access, leaf, key, 0, &mut None)?;
        if found {
            let at = leaf.place(rank) + leaf.form.key_words() as u64 * 8;
            access.bytes(&leaf.view, at, value);
        }
        access.check(&leaf.view)?;
        Ok(found)
    }

    /// Adds up to `limit` items of a typed tree to `columns`, from an edge to another, from leaves
    /// of one parent; where to go on, if there may be more.
    ///
    /// # Errors
    /// As [`BTree::scan`]; `columns` may have some of the items then.
    pub fn scan_inline<A: Access>(
        &self,
        access: &mut A,
        (from, to): (Edge<'_>, Edge<'_>),
        reverse: bool,
        limit: usize,
        columns: &mut Columns,
    ) -> Result<Option<Bound<Vec<u8>>>> {
        let mut path = Vec::new();
        let mut leaf = self.descend(access, toward(from, reverse), Some(&mut path))?;
        let mut begin = self.cut(access, &leaf, from, reverse)?;
        let mut left = limit;
        self.prefetch_next(access, &path, reverse, limit);
        loop {
            leaf.view = access.decide(&leaf.view)?;
            let end = self.cut(access, &leaf, to, !reverse)?;
            // Ranks from `low` to before `high`; the end may lie in a leaf further on.
            let (low, high) = if reverse { (end, begin) } else { (begin, end) };
            let taken = high.saturating_sub(low).min(left);
            let first = if reverse { high.max(taken) - taken } else { low };
            self.read_columns(access, &leaf, (first, taken), reverse, columns);
            access.check(&leaf.view)?;
            left -= taken;
            let is_end = end != if reverse { 0 } else { leaf.count() };
            if is_end || left == 0 {
                return Ok(None);
            }
            match self.neighbour(access, &mut path, reverse)? {
                Some(next) => leaf = next,
                None => return self.beyond(access, &leaf, &path, from, reverse),
            }
            begin = if reverse { leaf.count() } else { 0 };
        }
    }

    /// Asks for the next leaves, as many as `limit` items may need.
    fn prefetch_next<A: Access>(
        &self,
        access: &A,
        path: &[Step<A::View>],
        reverse: bool,
        limit: usize,
    ) {
        let Some(Step { node, rank }) = path.last() else { return };
        for step in 1..=LEAVES_AHEAD.min(limit / (self.form.capacity() / 2)) {
            let rank = if reverse { rank.checked_sub(step) } else { Some(rank + step) };
            if let Some(rank) = rank.filter(|&rank| rank < node.count()) {
                self.prefetch_leaf(access, node.entry(access, rank).leads());
            }
        }
    }

    /// The next leaf of the same parent. Its range begins where that of the last one ends, since
    /// the parent is still the same.
    fn neighbour<A: Access>(
        &self,
        access: &mut A,
        path: &mut [Step<A::View>],
        reverse: bool,
    ) -> Result<Option<Node<A::View>>> {
        let Some(Step { node, rank }) = path.last_mut() else { return Ok(None) };
        let next = if reverse { rank.checked_sub(1) } else { Some(*rank + 1) };
        let Some(next) = next.filter(|&next| next < node.count()) else { return Ok(None) };
        *rank = next;
        let at = node.entry(access, next).leads();
        self.node(access, Some(&node.view), at, 0).map(Some)
    }

    fn read_columns<A: Access>(
        &self,
        access: &A,
        leaf: &Node<A::View>,
        (first, count): (usize, usize),
        reverse: bool,
        columns: &mut Columns,
    ) {
        let form = leaf.form;
        let (key_bytes, value_bytes) = (form.key_bytes as usize, form.value_bytes as usize);
        let (keys_at, values_at) = (columns.keys.len(), columns.values.len());
        columns.keys.resize(keys_at + count * key_bytes, 0);
        columns.values.resize(values_at + count * value_bytes, 0);
        // All entries at once: those of a locked node have words of its owner laid over.
        let entries = &mut columns.entries;
        // Slots behind the last one that is used stay out of the cache.
        let slots = (first..first + count).map(|rank| leaf.slot(rank) + 1).max().unwrap_or(0);
        entries.resize(slots * form.entry_bytes as usize, 0);
        let entries_at = leaf.view.node() + ENTRIES;
        access.bytes(&leaf.view, entries_at, entries);
        let (keys, mut values) = (&mut columns.keys[keys_at..], &mut columns.values[values_at..]);
        let rank = |number| if reverse { first + count - 1 - number } else { first + number };
        if let (Some(bits), 8, 8) = (columns.numbers, key_bytes, value_bytes) {
            // The most usual form, for which nothing is left to be found out in the loop.
            let (pairs, _) = entries.as_chunks::<16>();
            let items = keys.as_chunks_mut::<8>().0.iter_mut().zip(values.as_chunks_mut::<8>().0);
            for (number, (key, value)) in items.enumerate() {
                let (word, own) = pairs[leaf.slot(rank(number))].split_at(8);
                key.copy_from_slice(word);
                *key = (u64::from_le_bytes(*key) ^ bits).to_le_bytes();
                value.copy_from_slice(own);
            }
            return;
        }
        for (number, key) in keys.chunks_exact_mut(key_bytes).enumerate() {
            let at = (leaf.place(rank(number)) - entries_at) as usize;
            let (words, rest) =
                entries[at..at + form.entry_bytes as usize].split_at(form.key_words() * 8);
            match columns.numbers {
                Some(bits) if key_bytes == 8 => {
                    key.copy_from_slice(words);
                    key.iter_mut().zip(bits.to_le_bytes()).for_each(|(byte, bits)| *byte ^= bits);
                }
                _ => put_key(words, key),
            }
            let (value, others) = values.split_at_mut(value_bytes);
            value.copy_from_slice(&rest[..value_bytes]);
            values = others;
        }
    }
}
