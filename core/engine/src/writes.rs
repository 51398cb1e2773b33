//! The words that a transaction is going to write, as they will stand in the redo record.

use crate::buffers::{BuildOffsetHasher, LINEAR_MAX};
use std::cell::RefCell;
use std::collections::HashMap;
use vasmem_memory::Offset;

/// Words by place; no place comes twice.
#[derive(Clone, Default)]
pub(crate) struct Writes {
    /// Offset and value: pairs of the record.
    pairs: Vec<[u64; 2]>,
    /// The entry of the node that gates each.
    entries: Vec<u32>,
    /// Numbers by place, of as many as were asked for when there were too many to look through.
    index: RefCell<HashMap<Offset, u32, BuildOffsetHasher>>,
}

impl Writes {
    /// Pairs of offset and value, in record order once they were grouped.
    #[inline(always)]
    pub fn pairs(&self) -> &[[u64; 2]] {
        &self.pairs
    }

    /// The entries that gate the words.
    #[inline(always)]
    pub fn entries(&self) -> &[u32] {
        &self.entries
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Number of the word at this place.
    #[inline(always)]
    pub fn find(&self, at: Offset) -> Option<usize> {
        if self.pairs.len() <= LINEAR_MAX {
            return self.pairs.iter().position(|pair| pair[0] == at);
        }
        self.look_up(at)
    }

    #[cold]
    fn look_up(&self, at: Offset) -> Option<usize> {
        let mut index = self.index.borrow_mut();
        let known = index.len();
        let unknown = self.pairs.iter().enumerate().skip(known);
        index.extend(unknown.map(|(number, pair)| (pair[0], number as u32)));
        index.get(&at).map(|&number| number as usize)
    }

    /// The value of a word by number.
    #[inline(always)]
    pub fn value(&self, number: usize) -> u64 {
        self.pairs[number][1]
    }

    /// Gives a word by number another value.
    #[inline(always)]
    pub fn set(&mut self, number: usize, value: u64) {
        self.pairs[number][1] = value;
    }

    /// Sets the word at a place, gated by `entry`.
    #[inline(always)]
    pub fn put(&mut self, entry: u32, at: Offset, value: u64) {
        match self.find(at) {
            Some(number) => self.set(number, value),
            None => self.push(entry, at, value),
        }
    }

    /// Adds a word at a place that has none yet.
    #[inline(always)]
    pub fn push(&mut self, entry: u32, at: Offset, value: u64) {
        self.pairs.push([at, value]);
        self.entries.push(entry);
    }

    /// Adds words one after the other, none of which is there yet.
    #[inline(always)]
    pub fn push_run(
        &mut self,
        entry: u32,
        at: Offset,
        first: &[u8; 8],
        words: &[[u8; 8]],
        last: Option<&[u8; 8]>,
    ) {
        self.pairs.push([at, u64::from_le_bytes(*first)]);
        let places = (at + 8..).step_by(8);
        self.pairs.extend(words.iter().zip(places).map(|(w, at)| [at, u64::from_le_bytes(*w)]));
        if let Some(last) = last {
            let at = at + 8 + words.len() as u64 * 8;
            self.pairs.push([at, u64::from_le_bytes(*last)]);
        }
        self.entries.resize(self.pairs.len(), entry);
    }

    /// Puts the words into the order of the ranks of their entries; nothing can be found by place
    /// afterwards.
    pub fn group(&mut self, rank: &[u32]) {
        let rank = |entry: u32| rank[entry as usize];
        if self.entries.is_sorted_by_key(|&entry| rank(entry)) {
            return;
        }
        if self.entries.len() <= LINEAR_MAX {
            return self.group_few(rank);
        }
        let mut order: Vec<_> = self.entries.iter().copied().zip(self.pairs.drain(..)).collect();
        order.sort_by_key(|&(entry, _)| rank(entry));
        self.entries.clear();
        self.entries.extend(order.iter().map(|&(entry, _)| entry));
        self.pairs.extend(order.iter().map(|&(_, pair)| pair));
    }

    fn group_few(&mut self, rank: impl Fn(u32) -> u32) {
        for end in 1..self.entries.len() {
            let mut at = end;
            while at > 0 && rank(self.entries[at - 1]) > rank(self.entries[at]) {
                self.entries.swap(at - 1, at);
                self.pairs.swap(at - 1, at);
                at -= 1;
            }
        }
    }

    pub fn clear(&mut self) {
        self.pairs.clear();
        self.entries.clear();
        let index = self.index.get_mut();
        if !index.is_empty() {
            index.clear();
        }
    }
}
