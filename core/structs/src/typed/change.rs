//! Changing: put, delete, and splitting a table.

use super::TypedMap;
use super::layout::{OVERFLOWED, node, words};
use super::lookup::{Found, Node, Search};
use crate::hashmap::{DEPTH_MAX, Entry, Hash, Table, too_deep};
use crate::record::Expected;
use vasmem_engine::lab::{Mutation, mutated};
use vasmem_engine::layout::GRANULE;
use vasmem_engine::{Access, Host, Memory, Result, Seen, Touched, Transaction};

/// What became of a value that was to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The key is new.
    Inserted,
    /// It was there.
    Replaced,
    /// It was not as expected.
    Refused,
}

impl TypedMap {
    /// Gives `key` the value, if `expected` is so where it is given.
    ///
    /// # Errors
    /// `Full`, `Removed`, `Corrupted`, `TooLarge` at the limit of the directory, or `Conflict` to
    /// run again.
    pub fn put<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        value: &[u8],
        expected: Option<Expected<'_>>,
    ) -> Result<Put> {
        let hash = Hash::of(key, tx.seed());
        let key: Vec<u64> = words(key).collect();
        loop {
            let table = self.map.table(tx, hash.index())?;
            match self.search(tx, &table, hash, &key)? {
                Search::Hit(found) => {
                    let fits = match expected {
                        None => true,
                        Some(Expected::Absent) => false,
                        Some(Expected::Value(old)) => {
                            let mut now = vec![0; value.len()];
                            self.copy_value(tx, &found, &mut now)?;
                            now == old
                        }
                    };
                    if fits {
                        self.write_value(tx, &found, value);
                    }
                    return Ok(if fits { Put::Replaced } else { Put::Refused });
                }
                Search::Miss { .. } if matches!(expected, Some(Expected::Value(_))) => {
                    return Ok(Put::Refused);
                }
                Search::Miss { home, next } => {
                    if let Some(place) = self.place(tx, &table, hash, &home, &next)? {
                        self.insert(tx, &place, &key, value);
                        self.map.count(tx, 1)?;
                        return Ok(Put::Inserted);
                    }
                }
            }
            self.split(tx, &table)?;
        }
    }

    fn write_value<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        found: &Found<Touched>,
        value: &[u8],
    ) {
        let at = self.value_at(found.view.node, found.number);
        for (word, at) in words(value).zip((at..).step_by(8)) {
            tx.write(&found.view, at, word);
        }
    }

    /// A free entry: at home, so that a lookup rarely goes on, else behind it, else in the stash,
    /// of which the home is told; `None` if the table must be split first.
    fn place<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        table: &Table<Touched>,
        hash: Hash,
        home: &Node<Touched>,
        next: &Node<Touched>,
    ) -> Result<Option<Found<Touched>>> {
        let free = |seen: &Node<Touched>| (!seen.used & self.form.all()).count_ones();
        let place = |seen: &Node<Touched>| Found {
            view: seen.view,
            used: seen.used,
            number: u64::from((!seen.used).trailing_zeros()),
        };
        if let Some(seen) = [home, next].into_iter().find(|seen| free(seen) > 0) {
            return Ok(Some(place(seen)));
        }
        for step in 0..self.form.window() {
            let stash = self.node(tx, table, self.form.stash(hash, step))?;
            if free(&stash) > 0 {
                if home.used & OVERFLOWED == 0 && !mutated(Mutation::StashNotTold) {
                    let at = home.view.node + node::USED;
                    tx.write(&home.view, at, home.used | OVERFLOWED);
                }
                return Ok(Some(place(&stash)));
            }
        }
        Ok(None)
    }

    fn insert<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        place: &Found<Touched>,
        key: &[u64],
        value: &[u8],
    ) {
        let node = place.view.node;
        for (&word, at) in key.iter().zip((node + self.form.entry(place.number)..).step_by(8)) {
            tx.write(&place.view, at, word);
        }
        self.write_value(tx, place, value);
        tx.write(&place.view, node + node::USED, place.used | 1 << place.number);
    }

    /// Removes a key; whether it was there, and its value in `value`, which is as long.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        value: &mut [u8],
    ) -> Result<bool> {
        let hash = Hash::of(key, tx.seed());
        let key: Vec<u64> = words(key).collect();
        let table = self.map.table(tx, hash.index())?;
        let Search::Hit(found) = self.search(tx, &table, hash, &key)? else { return Ok(false) };
        self.copy_value(tx, &found, value)?;
        let at = found.view.node + node::USED;
        tx.write(&found.view, at, found.used & !(1 << found.number));
        self.map.count(tx, -1)?;
        Ok(true)
    }

    /// Makes two tables of one. Entries keep the number of their node, so they always fit.
    fn split<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        table: &Table<Touched>,
    ) -> Result<()> {
        let bit = table.entry.depth();
        if bit >= DEPTH_MAX {
            return Err(too_deep());
        }
        let buddy = table.index | 1 << bit;
        let mut drafts = [vec![0; (GRANULE / 8) as usize], vec![0; (GRANULE / 8) as usize]];
        for (draft, index) in drafts.iter_mut().zip([table.index, buddy]) {
            (draft[1], draft[2]) = (index, u64::from(bit) + 1);
        }
        let first = self.node(tx, table, 0)?;
        tx.free_node(&first.view);
        for number in 1..self.form.nodes() {
            let seen = self.node(tx, table, number)?;
            self.divide(tx, &seen, number, bit, &mut drafts)?;
            tx.free_node(&seen.view);
        }
        let mut fresh = [0; 2];
        for (place, draft) in fresh.iter_mut().zip(&drafts) {
            *place = tx.alloc_nodes(self.form.kind)?;
            tx.fill_nodes_of(*place, draft, self.form.node_bytes());
        }
        self.map.deepen(tx, bit + 1)?;
        self.map.set_entry(tx, buddy, Entry::new(fresh[1], bit + 1, false))?;
        self.map.set_entry(tx, table.index, Entry::new(fresh[0], bit + 1, false))?;
        tx.free(table.entry.table())
    }

    /// Copies the entries of a node to the drafts that their keys belong into.
    fn divide<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        seen: &Node<Touched>,
        number: u64,
        bit: u32,
        drafts: &mut [Vec<u64>; 2],
    ) -> Result<()> {
        let (form, seed) = (self.form, tx.seed());
        let word_of = |number: u64, at: u64| ((number * form.node_bytes() + at) / 8) as usize;
        for entry in (0..form.entries).filter(|entry| seen.used & 1 << entry != 0) {
            let from = form.entry(entry);
            let places = (from..from + form.entry_bytes()).step_by(8);
            let words: Vec<u64> =
                places.map(|at| tx.word(&seen.view, seen.view.node() + at)).collect();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let hash = Hash::of(&bytes[..form.key_bytes as usize], seed);
            let draft = &mut drafts[(hash.index() >> bit & 1) as usize];
            draft[word_of(number, from)..][..words.len()].copy_from_slice(&words);
            draft[word_of(number, node::USED)] |= 1 << entry;
            let home = form.home(hash);
            let in_stash = number != home && number != home + 1;
            if in_stash && !mutated(Mutation::SplitForgetsStash) {
                draft[word_of(home, node::USED)] |= OVERFLOWED;
            }
        }
        tx.check(&seen.view)
    }
}
