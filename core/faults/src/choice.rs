//! Which states are tried where there are too many.

use crate::lines::{Lines, State};
use crate::random::Random;

/// A choice of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Every one.
    All,
    /// Those in which at most `distance` lines are neither as old nor as new as all others.
    Near {
        /// Lines, 1 or 2.
        distance: u32,
        /// Evenly chosen, where there are more than so many.
        most: usize,
    },
    /// So many that follow from a seed.
    Random(usize),
}

impl Lines {
    /// The states of a choice. None twice, but for random ones.
    pub fn choose(&self, choice: Choice, random: &mut Random) -> Vec<State> {
        match choice {
            Choice::All => self.every(),
            Choice::Near { distance, most } => self.close(distance, most),
            Choice::Random(count) if self.all().is_empty() => {
                self.every().into_iter().take(count).collect()
            }
            Choice::Random(count) => (0..count).map(|_| self.some(random)).collect(),
        }
    }

    fn every(&self) -> Vec<State> {
        let mut states = vec![self.first()];
        while let Some(mut next) = states.last().cloned() {
            if !self.advance(&mut next) {
                break;
            }
            states.push(next);
        }
        states
    }

    fn close(&self, distance: u32, most: usize) -> Vec<State> {
        let all = self.all();
        let singles: Vec<(usize, usize)> = all
            .iter()
            .enumerate()
            .flat_map(|(index, &steps)| (0..=steps).map(move |kept| (index, kept)))
            .collect();
        let mut changes: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
        changes.extend(singles.iter().map(|&single| vec![single]));
        if distance > 1 {
            // Both numbers of a pair are thinned out alike.
            let pairs = singles.len() * singles.len() / 2;
            let stride = ((pairs / most.max(1)) as f64).sqrt().ceil().max(1.0) as usize;
            for (number, first) in singles.iter().enumerate().step_by(stride) {
                let others = singles[number..].iter().step_by(stride);
                let others = others.filter(|other| other.0 > first.0);
                changes.extend(others.map(|other| vec![*first, *other]));
            }
        }
        let one_in = (2 * changes.len()).div_ceil(most.max(1)).max(1);
        let mut states: Vec<State> = [self.first(), all.clone()]
            .into_iter()
            .flat_map(|base| {
                changes.iter().step_by(one_in).map(move |change| {
                    let mut state = base.clone();
                    change.iter().for_each(|&(index, kept)| state[index] = kept);
                    state
                })
            })
            .collect();
        let mut seen = std::collections::HashSet::new();
        states.retain(|state| seen.insert(state.clone()));
        states
    }
}
