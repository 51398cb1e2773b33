//! Memory of this process alone, for unit tests and for loom.

use core::sync::atomic::AtomicBool;

use crate::sync::{AtomicU64, fence};
use crate::{Medium, Memory, Offset, Ordering};

/// A vector of words that behaves like a mapping; its limit is its size.
///
/// Under `--cfg loom` the words are loom's, and a copy that covers part of a word merges by a load
/// and a store, so there concurrent writers of one word must be ordered by other means.
#[derive(Debug)]
pub struct Plain {
    words: Vec<AtomicU64>,
    medium: Medium,
    // Always the standard library's: it is sticky and decides nothing, so loom need not explore it.
    poisoned: AtomicBool,
}

impl Plain {
    /// Zeroed memory of `bytes`, rounded up to whole words.
    pub fn new(bytes: u64, medium: Medium) -> Plain {
        let words = usize::try_from(bytes.div_ceil(8)).expect("fits in this process");
        Plain {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            medium,
            poisoned: AtomicBool::new(false),
        }
    }

    fn refuse(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }

    fn word(&self, at: Offset) -> Option<&AtomicU64> {
        let index = usize::try_from(at / 8).ok();
        let word = index.filter(|_| at.is_multiple_of(8)).and_then(|i| self.words.get(i));
        if word.is_none() {
            self.refuse();
        }
        word
    }

    /// The words that `len` bytes from `at` touch, each with the bytes in it (start, end).
    fn covering(
        &self,
        at: Offset,
        len: usize,
    ) -> Option<impl Iterator<Item = (&AtomicU64, usize, usize)>> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.limit());
        let Some(end) = end else {
            self.refuse();
            return None;
        };
        let words = self.words.iter().enumerate().skip((at / 8) as usize);
        let last = end.div_ceil(8);
        Some(words.take_while(move |(i, _)| (*i as u64) < last).map(move |(i, word)| {
            let base = i as u64 * 8;
            let from = at.max(base) - base;
            let to = end.min(base + 8) - base;
            (word, from as usize, to as usize)
        }))
    }
}

impl Memory for Plain {
    fn load(&self, at: Offset, order: Ordering) -> u64 {
        self.word(at).map_or(0, |word| word.load(order))
    }

    fn store(&self, at: Offset, value: u64, order: Ordering) {
        if let Some(word) = self.word(at) {
            word.store(value, order);
        }
    }

    fn cas(
        &self,
        at: Offset,
        old: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        let word = self.word(at).ok_or(!old)?;
        word.compare_exchange(old, new, success, failure)
    }

    fn copy_out(&self, at: Offset, into: &mut [u8]) {
        let Some(covering) = self.covering(at, into.len()) else {
            into.fill(0);
            return;
        };
        let mut rest = into;
        for (word, from, to) in covering {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            let (head, tail) = rest.split_at_mut(to - from);
            head.copy_from_slice(&bytes[from..to]);
            rest = tail;
        }
    }

    fn copy_in(&self, at: Offset, from: &[u8]) {
        let Some(covering) = self.covering(at, from.len()) else {
            return;
        };
        let mut rest = from;
        for (word, start, end) in covering {
            let (head, tail) = rest.split_at(end - start);
            merge(word, start, head);
            rest = tail;
        }
    }

    fn fence(&self, order: Ordering) {
        if order != Ordering::Relaxed {
            fence(order);
        }
    }

    fn flush(&self, _at: Offset, _len: u64) {}

    fn drain(&self) {}

    fn needs_flush(&self) -> bool {
        self.medium == Medium::CacheLine
    }

    fn limit(&self) -> Offset {
        self.words.len() as u64 * 8
    }

    fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    fn raise_limit(&self, _end: Offset) {}
}

fn overlaid(word: u64, start: usize, bytes: &[u8]) -> u64 {
    let mut merged = word.to_le_bytes();
    merged[start..start + bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(merged)
}

/// Writes `bytes` over the word from its byte `start` on.
fn merge(word: &AtomicU64, start: usize, bytes: &[u8]) {
    if let Ok(whole) = <[u8; 8]>::try_from(bytes) {
        word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        return;
    }
    #[cfg(loom)]
    word.store(overlaid(word.load(Ordering::Relaxed), start, bytes), Ordering::Relaxed);
    #[cfg(not(loom))]
    {
        let mut seen = word.load(Ordering::Relaxed);
        while let Err(found) = word.compare_exchange_weak(
            seen,
            overlaid(seen, start, bytes),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            seen = found;
        }
    }
}
