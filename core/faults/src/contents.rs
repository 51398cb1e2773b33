//! The words of a memory, with all that is needed to take stores back.

use std::cell::{Cell, RefCell};
use vasmem_memory::Offset;

/// Words in this process's own memory: every store can be taken back, and equal contents are told
/// by a sum.
#[derive(Default)]
pub struct Contents {
    words: Vec<Cell<u64>>,
    /// Words that were overwritten, the last one last.
    undo: RefCell<Vec<(Offset, u64)>>,
    sum: Cell<u64>,
}

/// A state of contents, to come back to.
#[derive(Clone, Copy)]
pub struct Mark {
    undone: usize,
    sum: u64,
}

impl Contents {
    /// Zeros.
    pub fn new(bytes: u64) -> Contents {
        Contents { words: vec![Cell::new(0); bytes as usize / 8], ..Contents::default() }
    }

    /// Their size.
    pub fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// The present state.
    pub fn mark(&self) -> Mark {
        Mark { undone: self.undo.borrow().len(), sum: self.sum.get() }
    }

    /// Takes back all stores since.
    pub fn roll_back(&self, mark: Mark) {
        self.roll_back_with(mark, |_, _| {});
    }

    /// As `roll_back`; `each` is told of every word that has another value now.
    pub fn roll_back_with(&self, mark: Mark, mut each: impl FnMut(Offset, u64)) {
        for (at, value) in self.undo.borrow_mut().drain(mark.undone..).rev() {
            self.words[at as usize / 8].set(value);
            each(at, value);
        }
        self.sum.set(mark.sum);
    }

    /// Words that were overwritten since, as often as they were, with what they hold now.
    pub fn since(&self, mark: Mark, mut each: impl FnMut(Offset, u64)) {
        for &(at, _) in &self.undo.borrow()[mark.undone..] {
            each(at, self.get(at));
        }
    }

    /// Forgets how to take anything back.
    pub fn settle(&self) {
        self.undo.borrow_mut().clear();
    }

    /// A sum over all words: equal contents have equal ones, others hardly ever.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// The word at `at`, or nothing outside.
    #[inline]
    pub fn word(&self, at: Offset) -> Option<&Cell<u64>> {
        self.words.get((at / 8) as usize).filter(|_| at.is_multiple_of(8))
    }

    /// The word at `at`, which is inside.
    #[inline]
    pub fn get(&self, at: Offset) -> u64 {
        self.words[at as usize / 8].get()
    }

    /// Overwrites the word at `at`, which is inside.
    #[inline]
    pub fn set(&self, at: Offset, value: u64) {
        let old = self.words[at as usize / 8].replace(value);
        if old != value {
            self.undo.borrow_mut().push((at, old));
            self.sum.set(self.sum.get() ^ mix(at, old) ^ mix(at, value));
        }
    }
}

/// A number that depends on every bit of a word and of its place.
#[inline]
fn mix(at: Offset, value: u64) -> u64 {
    let product = u128::from(value ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        * u128::from(at.wrapping_add(0xd134_2543_de82_ef95) | 1);
    let folded = (product >> 64) as u64 ^ product as u64;
    folded.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(23) ^ folded
}
