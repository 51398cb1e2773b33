//! Overwriting rows: through the redo record, or all rows anew where that would be too much.

use super::layout::{LOGGED_BYTES_MAX, STRIPE_BYTES, STRIPES, block_bytes, stripe};
use super::{Array, State, mask_of};
use std::ops::Range;
use vasmem_engine::lab::{Mutation, mutated};
use vasmem_engine::{Access, Host, Memory, Offset, Result, Touched, Transaction};

/// More runs than this are not worth a fill each.
const FILLS_MAX: usize = 64;
/// All stripes.
pub(super) const ALL: u16 = (1 << STRIPES) - 1;

/// Whole words to be written.
struct Run {
    /// Byte of the rows, a multiple of 8.
    at: u64,
    /// Its words in the buffer.
    from: usize,
    to: usize,
}

impl Run {
    fn end(&self) -> u64 {
        self.at + (self.to - self.from) as u64
    }
}

/// Words to be written, made of ranges of bytes and of what stands beside them.
#[derive(Default)]
struct Runs {
    runs: Vec<Run>,
    words: Vec<u8>,
}

impl Runs {
    /// Adds bytes that begin at `start`, behind all that were added; `word` knows what stands in
    /// the word at a byte.
    fn add(&mut self, start: u64, bytes: &[u8], word: impl Fn(u64) -> [u8; 8]) {
        let joins = self.runs.last().is_some_and(|run| start <= run.end());
        if !joins {
            let from = self.words.len();
            self.runs.push(Run { at: start & !7, from, to: from });
        }
        let Some(run) = self.runs.last_mut() else { return };
        let (have, byte_end) = (run.end(), start + bytes.len() as u64);
        let end = byte_end.next_multiple_of(8);
        if have < end {
            let first = self.words.len();
            self.words.resize(first + (end - have) as usize, 0);
            if start > have {
                self.words[first..first + 8].copy_from_slice(&word(have));
            }
            if byte_end < end {
                let last = self.words.len() - 8;
                self.words[last..].copy_from_slice(&word(end - 8));
            }
            run.to = self.words.len();
        }
        let place = run.from + (start - run.at) as usize;
        self.words[place..place + bytes.len()].copy_from_slice(bytes);
    }
}

impl Array {
    /// Overwrites ranges of bytes of rows, in ascending order and apart from each other, with
    /// `bytes`, which has theirs one behind the other. Does nothing and is false if they are not
    /// all there.
    ///
    /// # Errors
    /// `Full`, `Removed`, `Corrupted`, or `Conflict` to run again.
    ///
    /// # Panics
    /// If `bytes` is shorter than all ranges together.
    pub fn write<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        ranges: &[Range<u64>],
        bytes: &[u8],
    ) -> Result<bool> {
        let state = self.state(tx)?;
        if !self.fits(&state, ranges) {
            let head = tx.decide(&state.head)?;
            tx.check(&head)?;
            return Ok(false);
        }
        let views = self.guards(tx, &state, mask_of(ranges))?;
        let word = |at: u64| {
            let mut word = [0; 8];
            tx.bytes_under(&views, state.data + at, &mut word);
            word
        };
        let (mut runs, mut rest) = (Runs::default(), bytes);
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let (here, behind) = rest.split_at((range.end - range.start) as usize);
            runs.add(range.start, here, word);
            rest = behind;
        }
        if runs.words.len() as u64 > LOGGED_BYTES_MAX {
            self.write_anew(tx, &state, &runs)?;
        } else {
            self.write_logged(tx, &state, &runs)?;
        }
        Ok(true)
    }

    fn write_logged<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        Runs { runs, words }: &Runs,
    ) -> Result<()> {
        let used = state.length * self.row_bytes;
        let anew = !tx.changes_between(state.data, state.data + used.next_multiple_of(8));
        let mut stripes: [Option<Touched>; STRIPES] = [None; STRIPES];
        let first = runs.first().map_or(0, |run| stripe(run.at));
        for run in runs {
            let (mut at, mut rest) = (run.at, &words[run.from..run.to]);
            while !rest.is_empty() {
                let left = STRIPE_BYTES - at % STRIPE_BYTES;
                let (here, behind) = rest.split_at(rest.len().min(left as usize));
                let number = if mutated(Mutation::FirstStripeOnly) { first } else { stripe(at) };
                let view = match stripes[number] {
                    Some(view) => view,
                    None => self.guard(tx, state, number)?,
                };
                stripes[number] = Some(view);
                tx.write_words(&view, state.data + at, here, anew);
                at += here.len() as u64;
                rest = behind;
            }
        }
        Ok(())
    }

    /// The node of a stripe; it decides.
    pub(super) fn guard<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        stripe: usize,
    ) -> Result<Touched> {
        let guards = self.guards(tx, state, 1 << stripe)?;
        Ok(guards[1])
    }

    /// Writes all rows into a new block.
    fn write_anew<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        Runs { runs, words }: &Runs,
    ) -> Result<()> {
        let views = self.guards(tx, state, ALL)?;
        let used = (state.length * self.row_bytes).next_multiple_of(8);
        let room = block_bytes(state.capacity * self.row_bytes);
        let new = tx.alloc(room)?;
        if runs.len() <= FILLS_MAX && tx.stands_still(&views, state.data, used) {
            let mut done = 0;
            for run in runs {
                tx.fill_copy(new + done, state.data + done, run.at - done);
                tx.fill(new + run.at, &[&words[run.from..run.to]]);
                done = run.end();
            }
            tx.fill_copy(new + done, state.data + done, used - done);
        } else {
            let mut all = vec![0; used as usize];
            tx.bytes_under(&views, state.data, &mut all);
            for run in runs {
                all[run.at as usize..run.end() as usize].copy_from_slice(&words[run.from..run.to]);
            }
            tx.fill(new, &[&all]);
        }
        self.move_to(tx, state, &views, (new, room / self.row_bytes), state.length)
    }

    /// Publishes a new block and frees the old one (A2).
    pub(super) fn move_to<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        views: &[Touched],
        (block, capacity): (Offset, u64),
        length: u64,
    ) -> Result<()> {
        if !mutated(Mutation::StripesLeft) {
            views.iter().for_each(|view| tx.touch(view));
        }
        let head = tx.decide(&state.head)?;
        tx.write(&head, self.node + super::header::DATA, block);
        tx.write(&head, self.node + super::header::CAPACITY, capacity);
        tx.write(&head, self.node + super::header::LENGTH, length);
        tx.free(state.data)
    }
}
