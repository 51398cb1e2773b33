//! Lines with stores that need not be durable, and the states that a crash may leave them in.

use crate::contents::Contents;
use crate::event::Event;
use crate::random::Random;
use std::collections::BTreeMap;
use vasmem_memory::{CACHE_LINE, Offset};

/// What a medium promises: which stores may be missing after a crash, and what makes them durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// x86 with durable memory but volatile caches (ADR): a line holds some prefix of its stores,
    /// at least what was flushed and fenced; lines do not wait for each other. Words that went past
    /// the caches wait for nothing but a fence.
    #[default]
    Px86,
    /// Caches are durable: what is missing is the end of all stores, back to a fence at most. It is
    /// also what the death of a process leaves to the others.
    Eadr,
    /// As `Px86`, and the words of a line do not wait for each other either.
    Words,
    /// Everything is there, in the order of the program, at each fence: what tools see that do not
    /// reorder anything.
    FenceOnly,
}

/// What persists in order: a line, a word, or everything.
#[derive(Default)]
struct Line {
    /// Words and their values, in order. One that changes nothing is no step.
    steps: Vec<(Offset, u64)>,
    /// So many of them are durable from the next drain on.
    flushed: usize,
}

/// All that need not be durable, by offset; words that went past the caches have theirs plus one.
/// The contents have what is surely durable.
#[derive(Default)]
pub struct Lines {
    model: Model,
    lines: BTreeMap<Offset, Line>,
    /// Whether anything was stored since the last fence.
    changed: bool,
}

/// How many steps of each line are durable, in the order of the lines.
pub type State = Vec<usize>;

impl Lines {
    /// Of a medium; everything is durable.
    pub fn new(model: Model) -> Lines {
        Lines { model, ..Lines::default() }
    }

    /// What happened next.
    pub fn follow(&mut self, contents: &Contents, event: Event) {
        match event {
            Event::Store(at, value) => self.store(contents, at, value),
            Event::Stream(at, value) => self.stream(contents, at, value),
            Event::Flush(at, len) => self.flush(at, len),
            Event::Fence => self.fence(contents),
        }
    }

    /// A word was stored.
    pub fn store(&mut self, contents: &Contents, at: Offset, value: u64) {
        let unit = match self.model {
            Model::Px86 if self.lines.contains_key(&streamed(at)) => streamed(at),
            Model::Px86 => at & !(CACHE_LINE - 1),
            Model::Words => at,
            Model::Eadr | Model::FenceOnly => 0,
        };
        self.step(contents, unit, (at, value));
    }

    /// A word was stored past the caches: it waits for no other word of its line.
    pub fn stream(&mut self, contents: &Contents, at: Offset, value: u64) {
        match self.model {
            Model::Px86 => self.step(contents, streamed(at), (at, value)),
            _ => self.store(contents, at, value),
        }
    }

    fn step(&mut self, contents: &Contents, unit: Offset, (at, value): (Offset, u64)) {
        self.changed = true;
        if self.model == Model::FenceOnly {
            return contents.set(at, value);
        }
        let newest = |unit| {
            let steps = self.lines.get(&unit).map_or(&[][..], |line: &Line| &line.steps[..]);
            steps.iter().rev().find(|step| step.0 == at).map(|step| step.1)
        };
        // A word past the caches may persist before a store to it that waits for its line.
        let over_a_store = unit == streamed(at) && newest(at & !(CACHE_LINE - 1)).is_some();
        let changes = match newest(unit) {
            Some(last) => last != value,
            None => over_a_store || contents.get(at) != value,
        };
        if changes {
            self.lines.entry(unit).or_default().steps.push((at, value));
        }
    }

    /// Lines were flushed: what they have now is durable from the next drain on.
    pub fn flush(&mut self, at: Offset, len: u64) {
        for (_, line) in self.lines.range_mut(at..at + len) {
            line.flushed = line.steps.len();
        }
    }

    /// Nobody will wait for what was flushed so far.
    pub fn forget_flushes(&mut self) {
        self.lines.values_mut().for_each(|line| line.flushed = 0);
    }

    /// Whether a fence would end any state, so that crashes before and after it differ.
    pub fn is_flushed(&self) -> bool {
        match self.model {
            Model::Px86 | Model::Words => self.lines.values().any(|line| line.flushed > 0),
            Model::Eadr | Model::FenceOnly => self.changed,
        }
    }

    /// What was flushed is durable, in the contents too.
    pub fn fence(&mut self, contents: &Contents) {
        self.changed = false;
        if self.model == Model::Eadr {
            self.flush(0, 1);
        }
        for line in self.lines.values_mut() {
            for (at, value) in line.steps.drain(..std::mem::take(&mut line.flushed)) {
                contents.set(at, value);
            }
        }
        self.lines.retain(|_, line| !line.steps.is_empty());
    }

    /// Offset and steps of everything that need not be durable, in the order of a state.
    pub fn pending(&self) -> impl Iterator<Item = (Offset, &[(Offset, u64)])> {
        self.lines.iter().map(|(&unit, line)| (unit & !1, &line.steps[..]))
    }

    /// How many states a crash may leave, the same contents counted as often as they come about.
    pub fn states(&self) -> f64 {
        self.lines.values().map(|line| line.steps.len() as f64 + 1.0).product()
    }

    /// The state in which nothing persisted early.
    pub fn first(&self) -> State {
        vec![0; self.lines.len()]
    }

    /// Steps of each line.
    pub fn all(&self) -> State {
        self.lines.values().map(|line| line.steps.len()).collect()
    }

    /// The state behind `state`; false at the last one.
    pub fn advance(&self, state: &mut State) -> bool {
        for (kept, line) in state.iter_mut().zip(self.lines.values()) {
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

    /// All lines old or all new, and each by itself against all others.
    pub fn apart(&self) -> impl Iterator<Item = State> + use<> {
        let (none, all) = (self.first(), self.all());
        let ends = [none.clone(), all.clone()];
        ends.into_iter().chain((0..2 * all.len()).map(move |number| {
            let (index, new) = (number / 2, number % 2 == 1);
            let mut state = if new { all.clone() } else { none.clone() };
            state[index] = if new { 0 } else { all[index] };
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

    /// Brings the contents into a state.
    pub fn apply(&self, contents: &Contents, state: &State) {
        for (line, &kept) in self.lines.values().zip(state) {
            for &(at, value) in &line.steps[..kept] {
                contents.set(at, value);
            }
        }
    }

    /// The lines of a state that lag, or those that do not, whichever are fewer, and how many.
    pub fn describe(&self, state: &State) -> (String, usize) {
        let steps = |line: &Line| line.steps.len();
        let lines =
            || self.lines.iter().zip(state).map(|((at, line), &kept)| (at & !1, line, kept));
        let lagging = lines().filter(|(_, line, kept)| *kept < steps(line)).count();
        let early = lines().filter(|(_, _, kept)| *kept > 0).count();
        let told = |lags: bool| {
            let told = lines().filter(
                move |(_, line, kept)| {
                    if lags { *kept < steps(line) } else { *kept > 0 }
                },
            );
            let words = told.map(|(at, line, kept)| {
                format!("line {at:#x} has {kept} of {} stores", steps(line))
            });
            words.collect::<Vec<_>>()
        };
        let (mut words, rest) = match lagging <= early {
            true => (told(true), format!("{} others have all", state.len() - lagging)),
            false => (told(false), format!("{} others have none", state.len() - early)),
        };
        words.push(rest);
        (words.join(", "), lagging.min(early))
    }
}

/// Of a word that went past the caches.
fn streamed(at: Offset) -> Offset {
    at + 1
}
