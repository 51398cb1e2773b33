//! The words that a transaction is going to write, as they will stand in the redo record.

use crate::access::lay;
use crate::buffers::{BuildOffsetHasher, LINEAR_MAX};
use crate::layout::LINE;
use std::cell::RefCell;
use std::collections::HashMap;
use vasmem_memory::Offset;

/// Words one after the other.
#[derive(Clone, Copy)]
struct Run {
    /// Place of the first.
    at: Offset,
    words: u32,
    /// Number of the first.
    number: u32,
    /// The entry of the node that gates them.
    entry: u32,
}

impl Run {
    /// Number of the word at this place.
    #[inline(always)]
    fn find(&self, at: Offset) -> Option<usize> {
        let word = at.wrapping_sub(self.at) / 8;
        (word < u64::from(self.words)).then_some(self.number as usize + word as usize)
    }
}

/// Runs by the lines that they touch.
#[derive(Clone, Default)]
struct Index {
    /// By line: the first link of its chain.
    heads: HashMap<Offset, u32, BuildOffsetHasher>,
    /// A run, and the next link, 0 for none; link 0 is not used.
    links: Vec<(u32, u32)>,
    /// Runs that are in it.
    known: usize,
}

impl Index {
    fn add(&mut self, runs: &[Run]) {
        if self.links.is_empty() {
            self.links.push((0, 0));
        }
        for (run, &Run { at, words, .. }) in runs.iter().enumerate().skip(self.known) {
            let last = at + (u64::from(words) - 1) * 8;
            for line in at / LINE..=last / LINE {
                let link = self.links.len() as u32;
                let next = self.heads.insert(line, link).unwrap_or(0);
                self.links.push((run as u32, next));
            }
        }
        self.known = runs.len();
    }

    fn find(&self, runs: &[Run], at: Offset) -> Option<usize> {
        let mut link = *self.heads.get(&(at / LINE))?;
        while link != 0 {
            let (run, next) = self.links[link as usize];
            if let Some(number) = runs[run as usize].find(at) {
                return Some(number);
            }
            link = next;
        }
        None
    }
}

/// Words by place; no place comes twice.
#[derive(Clone, Default)]
pub(crate) struct Writes {
    /// Offset and value: pairs of the record.
    pairs: Vec<[u64; 2]>,
    /// The entry of the node that gates each.
    entries: Vec<u32>,
    runs: Vec<Run>,
    /// Of as many runs as were asked for when there were too many to look through.
    index: RefCell<Index>,
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
        if self.runs.len() <= LINEAR_MAX {
            return self.runs.iter().find_map(|run| run.find(at));
        }
        self.look_up(at)
    }

    #[cold]
    fn look_up(&self, at: Offset) -> Option<usize> {
        let mut index = self.index.borrow_mut();
        if index.known < self.runs.len() {
            index.add(&self.runs);
        }
        index.find(&self.runs, at)
    }

    /// Lays words that are going to be written over bytes that were read from `at` on.
    #[inline]
    pub fn lay_over(&self, at: Offset, into: &mut [u8]) {
        let end = at + into.len() as u64;
        if self.runs.len() > LINEAR_MAX.max(into.len() / 8) {
            for place in ((at & !7)..end).step_by(8) {
                if let Some(number) = self.look_up(place) {
                    let [place, word] = self.pairs[number];
                    lay(word, place, at, into);
                }
            }
            return;
        }
        for run in self.runs.iter().filter(|run| run.at < end) {
            let first = at.saturating_sub(run.at) / 8;
            let last = (end - run.at).div_ceil(8).min(u64::from(run.words));
            for word in first..last {
                let [place, word] = self.pairs[run.number as usize + word as usize];
                lay(word, place, at, into);
            }
        }
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
        let number = self.pairs.len() as u32;
        self.runs.push(Run { at, words: 1, number, entry });
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
        let number = self.pairs.len();
        self.pairs.push([at, u64::from_le_bytes(*first)]);
        // An iterator that knows its length: the vector grows once.
        let pair =
            |(i, word): (usize, &[u8; 8])| [at + 8 + i as u64 * 8, u64::from_le_bytes(*word)];
        self.pairs.extend(words.iter().enumerate().map(pair));
        if let Some(last) = last {
            let at = at + 8 + words.len() as u64 * 8;
            self.pairs.push([at, u64::from_le_bytes(*last)]);
        }
        self.entries.resize(self.pairs.len(), entry);
        let count = (self.pairs.len() - number) as u32;
        self.runs.push(Run { at, words: count, number: number as u32, entry });
    }

    /// Puts the words into the order of the ranks of their entries; nothing can be found by place
    /// afterwards.
    pub fn group(&mut self, rank: &[u32]) {
        let rank = |run: &Run| rank[run.entry as usize];
        if self.runs.is_sorted_by_key(rank) {
            return;
        }
        self.runs.sort_by_key(rank);
        let pairs = std::mem::take(&mut self.pairs);
        self.pairs.reserve(pairs.capacity());
        self.entries.clear();
        for run in &self.runs {
            let from = run.number as usize;
            self.pairs.extend_from_slice(&pairs[from..from + run.words as usize]);
            self.entries.resize(self.pairs.len(), run.entry);
        }
    }

    pub fn clear(&mut self) {
        self.pairs.clear();
        self.entries.clear();
        self.runs.clear();
        let index = self.index.get_mut();
        if index.known > 0 {
            index.heads.clear();
            index.links.clear();
            index.known = 0;
        }
    }
}
