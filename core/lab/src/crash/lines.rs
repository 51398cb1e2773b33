//! Lines with stores that need not be durable, and the states that a crash may leave them in.

use super::image::Image;
use crate::random::Random;
use std::collections::BTreeMap;
use vasmem_memory::{CACHE_LINE, Offset};

/// A line with stores since it was last surely durable.
#[derive(Default)]
struct Line {
    /// Words and their values, in order. One that changes nothing is no step.
    steps: Vec<(Offset, u64)>,
    /// So many of them are durable from the next drain on.
    flushed: usize,
}

/// All such lines, and words that went past the caches, by their offsets. The image has what is
/// surely durable.
#[derive(Default)]
pub struct Lines(BTreeMap<Offset, Line>);

/// How many steps of each line are durable, in the order of the lines.
pub type State = Vec<usize>;

impl Lines {
    /// A word was stored.
    pub fn store(&mut self, image: &Image, at: Offset, value: u64) {
        let alone = !at.is_multiple_of(CACHE_LINE) && self.0.contains_key(&at);
        self.step(image, if alone { at } else { at & !(CACHE_LINE - 1) }, (at, value));
    }

    /// A word was stored past the caches: it waits for no other word of its line.
    pub fn stream(&mut self, image: &Image, at: Offset, value: u64) {
        self.step(image, at, (at, value));
    }

    fn step(&mut self, image: &Image, unit: Offset, (at, value): (Offset, u64)) {
        let line = self.0.entry(unit).or_default();
        let last = line.steps.iter().rev().find(|step| step.0 == at);
        if last.map_or_else(|| image.get(at), |step| step.1) != value {
            line.steps.push((at, value));
        }
    }

    /// Lines were flushed: what they have now is durable from the next drain on.
    pub fn flush(&mut self, at: Offset, len: u64) {
        for (_, line) in self.0.range_mut(at..at + len) {
            line.flushed = line.steps.len();
        }
    }

    /// Nobody will wait for what was flushed so far.
    pub fn forget_flushes(&mut self) {
        self.0.values_mut().for_each(|line| line.flushed = 0);
    }

    /// Whether a drain would make anything durable.
    pub fn is_flushed(&self) -> bool {
        self.0.values().any(|line| line.flushed > 0)
    }

    /// What was flushed is durable, in the image too.
    pub fn drain(&mut self, image: &Image) {
        for line in self.0.values_mut() {
            for (at, value) in line.steps.drain(..std::mem::take(&mut line.flushed)) {
                image.set(at, value);
            }
        }
        self.0.retain(|_, line| !line.steps.is_empty());
    }

    /// How many states a crash may leave, the same contents counted as often as they come about.
    pub fn states(&self) -> f64 {
        self.0.values().map(|line| line.steps.len() as f64 + 1.0).product()
    }

    /// The state in which nothing persisted early.
    pub fn first(&self) -> State {
        vec![0; self.0.len()]
    }

    /// Steps of each line.
    pub fn all(&self) -> State {
        self.0.values().map(|line| line.steps.len()).collect()
    }

    /// The state behind `state`; false at the last one.
    pub fn advance(&self, state: &mut State) -> bool {
        for (kept, line) in state.iter_mut().zip(self.0.values()) {
            if *kept < line.steps.len() {
                *kept += 1;
                return true;
            }
            *kept = 0;
        }
        false
    }

    /// Each line by itself at each of its steps, all others as old or as new as can be; about
    /// `most` of these, evenly chosen, where there are more.
    pub fn near(&self, most: u64) -> impl Iterator<Item = State> + use<> {
        let (none, all) = (self.first(), self.all());
        let one_in = (2 * all.iter().sum::<usize>()).div_ceil(most.max(1) as usize).max(1);
        let single = all.clone().into_iter().enumerate().flat_map(|(index, steps)| {
            let old = (1..=steps).map(move |kept| (index, kept, false));
            old.chain((0..steps).map(move |kept| (index, kept, true)))
        });
        let ends = [none.clone(), all.clone()];
        ends.into_iter().chain(single.step_by(one_in).map(move |(index, kept, new)| {
            let mut state = if new { all.clone() } else { none.clone() };
            state[index] = kept;
            state
        }))
    }

    /// Some state: a few lines differ from all old or all new ones, or each is where it likes.
    pub fn some(&self, random: &mut Random) -> State {
        let all = self.all();
        let mut any = |steps: usize| random.below(steps as u64 + 1) as usize;
        let kind = any(3);
        if kind == 0 {
            return all.iter().map(|&steps| any(steps)).collect();
        }
        let mut state = match kind {
            1 => self.first(),
            2 => all.clone(),
            _ => all.iter().map(|&steps| steps * any(1)).collect(),
        };
        for _ in 0..1 + any(2) {
            let index = any(all.len() - 1);
            state[index] = any(all[index]);
        }
        state
    }

    /// Brings the image into a state.
    pub fn apply(&self, image: &Image, state: &State) {
        for (line, &kept) in self.0.values().zip(state) {
            for &(at, value) in &line.steps[..kept] {
                image.set(at, value);
            }
        }
    }

    /// The lines of a state that hold neither nothing nor all of their steps, and those that lag.
    pub fn describe(&self, state: &State) -> String {
        let mut words = Vec::new();
        for ((at, line), &kept) in self.0.iter().zip(state) {
            words.push(format!("line {at:#x} has {kept} of {} stores", line.steps.len()));
        }
        words.join(", ")
    }
}
