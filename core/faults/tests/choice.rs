//! Choices of states: as many as there must be, none twice, and all of them states.

use std::collections::HashSet;
use vasmem_faults::random::Random;
use vasmem_faults::{Choice, Contents, Event, Lines, State};

/// Lines with 1, 2, 3... stores each.
fn lines(count: u64) -> Lines {
    let (contents, mut lines) = (Contents::new(64 * count), Lines::default());
    for line in 0..count {
        for store in 0..=line {
            lines.follow(&contents, Event::Store(64 * line + 8 * (store % 8), 1 + store));
        }
    }
    lines
}

fn chosen(lines: &Lines, choice: Choice) -> Vec<State> {
    lines.choose(choice, &mut Random::new(7))
}

#[test]
fn all_are_as_many_as_the_product_says() {
    for count in 0..6 {
        let lines = lines(count);
        let all = chosen(&lines, Choice::All);
        assert_eq!(all.len() as f64, lines.states());
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}

#[test]
fn near_and_random_ones_are_among_all() {
    let lines = lines(5);
    let all: HashSet<State> = chosen(&lines, Choice::All).into_iter().collect();
    let mut before = 0;
    for distance in [1, 2] {
        let near = chosen(&lines, Choice::Near { distance, most: 100_000 });
        assert_eq!(near.iter().collect::<HashSet<_>>().len(), near.len(), "none twice");
        assert!(near.iter().all(|state| all.contains(state)));
        assert!(near.len() > before);
        before = near.len();
    }
    assert!(chosen(&lines, Choice::Random(500)).iter().all(|state| all.contains(state)));
}

#[test]
fn near_ones_are_those_of_the_formula() {
    // All old or all new, or one line of the five apart from that: 2 + 2 * (1 + 2 + 3 + 4 + 5).
    let near = chosen(&lines(5), Choice::Near { distance: 1, most: 100_000 });
    assert_eq!(near.len(), 2 + 2 * 15);
    assert!(chosen(&lines(5), Choice::Near { distance: 2, most: 20 }).len() <= 40);
}
