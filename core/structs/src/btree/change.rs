//! Changing: put, delete, and the few words of a leaf that they write.

use super::BTree;
use super::layout::{ENTRIES, Entry, Form, KEY_BYTES_MAX, Meta, ORDER_BYTES, node};
use super::search::{Node, Place, Step, Toward};
use crate::record::{self, Expected, VALUE_BYTES_MAX, check_length};
use crate::typed;
use std::ops::Range;
use vasmem_engine::{Access, Error, Host, Memory, Offset, Result, Touched, Transaction};

/// What became of a value that was to be put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Put {
    Inserted,
    Replaced,
    Refused,
}

/// A node of a transaction whose entries change one by one.
pub(super) struct Patch {
    at: Offset,
    view: Touched,
    meta: Meta,
    order: [u8; ORDER_BYTES],
    form: Form,
    /// Ranks that have other slots than before lie between these.
    changed: (usize, usize),
}

impl Patch {
    /// Of a node that the transaction has noted.
    pub fn new(node: &Node<Touched>) -> Patch {
        let Node { view, meta, order, form } = *node;
        Patch { at: view.node, view, meta, order, form, changed: (ORDER_BYTES, 0) }
    }

    fn note(&mut self, ranks: Range<usize>) {
        self.changed = (self.changed.0.min(ranks.start), self.changed.1.max(ranks.end));
    }

    /// Writes the entry of a rank.
    pub fn set<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        rank: usize,
        entry: &[u64],
    ) {
        let slot = u32::from(self.order[rank]).min(self.form.capacity - 1);
        let at = self.at + ENTRIES + u64::from(slot * self.form.entry_bytes);
        for (&word, at) in entry.iter().zip((at..).step_by(8)) {
            tx.write(&self.view, at, word);
        }
    }

    /// Puts an entry before that of `rank`; the node is not full.
    pub fn insert<M: Memory, H: Host>(
        &mut self,
        tx: &mut Transaction<'_, M, H>,
        rank: usize,
        entry: &[u64],
    ) {
        let count = self.meta.count();
        self.order[rank..=count].rotate_right(1);
        self.meta = self.meta.with_count(count + 1);
        self.note(rank..count + 1);
        self.set(tx, rank, entry);
    }

    /// Takes the entry of `rank` out.
    pub fn remove(&mut self, rank: usize) {
        let count = self.meta.count();
        self.order[rank..count].rotate_left(1);
        self.meta = self.meta.with_count(count - 1);
        self.note(rank..count);
    }

    /// Writes the order and the count.
    pub fn finish<M: Memory, H: Host>(self, tx: &mut Transaction<'_, M, H>) {
        tx.write(&self.view, self.at + node::META, self.meta.0);
        let (words, _) = self.order.as_chunks::<8>();
        let (from, to) = (self.changed.0 / 8, self.changed.1.div_ceil(8));
        let places = (self.at + node::ORDER..).step_by(8);
        for (at, word) in places.zip(words).take(to).skip(from) {
            tx.write(&self.view, at, u64::from_le_bytes(*word));
        }
    }
}

impl BTree {
    /// Gives `key` the value `bytes`; returns whether the key is new.
    ///
    /// # Errors
    /// `TooLarge`, `Full`, `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn put<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        bytes: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        Ok(self.put_when(tx, (key, bytes), None, record)? == Put::Inserted)
    }

    /// Gives `key` the value `bytes` if `expected` is so; whether it was.
    ///
    /// # Errors
    /// As `put`.
    pub fn put_if<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        expected: Expected<'_>,
        bytes: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        Ok(self.put_when(tx, (key, bytes), Some(expected), record)? != Put::Refused)
    }

    fn put_when<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        (key, bytes): (&[u8], &[u8]),
        expected: Option<Expected<'_>>,
        record: &mut Vec<u8>,
    ) -> Result<Put> {
        self.check_lengths(key, bytes)?;
        let place = self.search_to_change(tx, key, record)?;
        let Some((entry, head)) = place.found else {
            if matches!(expected, Some(Expected::Value(_))) {
                return Ok(Put::Refused);
            }
            self.insert(tx, &place, key, bytes)?;
            return Ok(Put::Inserted);
        };
        let view = place.node.view;
        let agrees = match expected {
            None => true,
            Some(Expected::Absent) => false,
            Some(Expected::Value(value)) => record::has_value(tx, &view, head, value, record)?,
        };
        if !agrees {
            return Ok(Put::Refused);
        }
        if self.form.is_inline() {
            let at = place.node.place(place.rank) + self.form.key_words() as u64 * 8;
            for (word, at) in typed::words(bytes).zip((at..).step_by(8)) {
                tx.write(&view, at, word);
            }
            return Ok(Put::Replaced);
        }
        let old = (entry.leads(), head);
        if let Some(fresh) = record::replace(tx, &view, old, (key, bytes), record)? {
            tx.write(&view, place.node.place(place.rank) + 8, entry.leading_to(fresh).word);
        }
        Ok(Put::Replaced)
    }

    /// Puts a new entry, and where it leads to a record that, where the key would stand.
    fn insert<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        place: &Place<Touched>,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<()> {
        if self.form.is_inline() {
            let entry: Vec<u64> = self.form.entry(key, bytes).collect();
            self.enter(tx, place, key, &entry)?;
        } else {
            let at = record::make(tx, key, bytes)?;
            let entry = Entry::new(key, place.node.meta.prefix(), at);
            self.enter(tx, place, key, &entry.words())?;
        }
        self.count(tx, 1)
    }

    fn enter<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        place: &Place<Touched>,
        key: &[u8],
        entry: &[u64],
    ) -> Result<()> {
        if place.node.count() == self.form.capacity() {
            return self.split(tx, place, key, entry);
        }
        let mut patch = Patch::new(&place.node);
        patch.insert(tx, place.rank, entry);
        patch.finish(tx);
        Ok(())
    }

    /// Refuses what has no place in this tree.
    pub(super) fn check_lengths(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let form = self.form;
        let lengths = (key.len() as u64, value.len() as u64);
        if form.is_inline() && lengths != (form.key_bytes.into(), form.value_bytes.into()) {
            return Err(Error::WrongKind);
        }
        check_length("a key", key.len(), KEY_BYTES_MAX)?;
        check_length("a value", value.len(), VALUE_BYTES_MAX)
    }

    /// Removes a key; the value that it had is the returned range of `record`.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>> {
        let place = self.search_to_change(tx, key, record)?;
        let Some((entry, head)) = place.found else { return Ok(None) };
        let view = place.node.view;
        let large = record::large_node(record, head);
        let range = record::value(tx, &view, head, record)?;
        let mut joined = false;
        if place.node.count() <= self.form.least() {
            joined = self.join_leaf(tx, &place, key)?;
        }
        if !joined {
            let mut patch = Patch::new(&place.node);
            patch.remove(place.rank);
            patch.finish(tx);
        }
        if !self.form.is_inline() {
            record::free(tx, &view, entry.leads(), large)?;
        }
        self.count(tx, -1)?;
        Ok(Some(range))
    }

    /// The way to the leaf that was found to cover `key`, which is still the same.
    pub(super) fn path_to<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        leaf: &Node<Touched>,
    ) -> Result<Vec<Step<Touched>>> {
        let mut path = Vec::new();
        let found = self.descend(tx, Toward::Key(key), Some(&mut path))?;
        let view = tx.decide(&found.view)?;
        if view.node != leaf.view.node { Err(Error::Conflict) } else { Ok(path) }
    }
}
