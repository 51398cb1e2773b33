//! Small traces, and the states that a crash may leave of each, written down by hand.

use std::collections::BTreeSet;
use vasmem_faults::{Contents, Lines, Model, words};

/// A step of a trace. Words 0 and 1 share a line, 8 and 9 the next one.
#[derive(Clone, Copy, Debug)]
enum Do {
    Store(u64, u64),
    Stream(u64, u64),
    Flush(u64),
    Drain,
}

use Do::{Drain, Flush, Store, Stream};
use Model::{Eadr, FenceOnly, Px86, Words};

const WORDS: [u64; 4] = [0, 1, 8, 9];

/// What words 0, 1, 8 and 9 may hold after a crash at the end of the trace.
fn states(model: Model, trace: &[Do]) -> BTreeSet<[u64; 4]> {
    let contents = Contents::new(128);
    let mut lines = Lines::new(model);
    for &step in trace {
        match step {
            Store(word, value) => lines.store(&contents, word * 8, value),
            Stream(word, value) => lines.stream(&contents, word * 8, value),
            Flush(word) => lines.flush((word * 8) & !63, 64),
            Drain => lines.fence(&contents),
        }
    }
    let (mut found, mut state, mut drawn) = (BTreeSet::new(), lines.first(), 0);
    loop {
        let before = contents.mark();
        lines.apply(&contents, &state);
        found.insert(WORDS.map(|word| contents.get(word * 8)));
        contents.roll_back(before);
        drawn += 1;
        if !lines.advance(&mut state) {
            assert_eq!(f64::from(drawn), lines.states(), "the product of the lines' steps");
            return found;
        }
    }
}

/// A name, a model, a trace, and the states by hand.
type Litmus = (&'static str, Model, &'static [Do], &'static [[u64; 4]]);

const LITMUS: &[Litmus] = &[
    ("nothing happened", Px86, &[], &[[0, 0, 0, 0]]),
    ("a store persists or not", Px86, &[Store(0, 1)], &[[0, 0, 0, 0], [1, 0, 0, 0]]),
    (
        "stores to a line persist in order",
        Px86,
        &[Store(0, 1), Store(1, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "the order is that of the program, not of addresses",
        Px86,
        &[Store(1, 2), Store(0, 1)],
        &[[0, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "lines do not wait for each other",
        Px86,
        &[Store(0, 1), Store(8, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [1, 0, 2, 0]],
    ),
    (
        "two lines that cross",
        Px86,
        &[Store(0, 1), Store(8, 2), Store(1, 3), Store(9, 4)],
        &[
            [0, 0, 0, 0],
            [1, 0, 0, 0],
            [1, 3, 0, 0],
            [0, 0, 2, 0],
            [1, 0, 2, 0],
            [1, 3, 2, 0],
            [0, 0, 2, 4],
            [1, 0, 2, 4],
            [1, 3, 2, 4],
        ],
    ),
    (
        "a word is overwritten step by step",
        Px86,
        &[Store(0, 1), Store(0, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]],
    ),
    (
        "a value that is there already is no step",
        Px86,
        &[Store(0, 1), Store(0, 1)],
        &[[0, 0, 0, 0], [1, 0, 0, 0]],
    ),
    (
        "a value that comes back is a step",
        Px86,
        &[Store(0, 1), Store(1, 1), Store(0, 0)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]],
    ),
    (
        "a durable value stored again",
        Px86,
        &[Store(0, 1), Flush(0), Drain, Store(0, 1)],
        &[[1, 0, 0, 0]],
    ),
    ("a flush needs a drain", Px86, &[Store(0, 1), Flush(0)], &[[0, 0, 0, 0], [1, 0, 0, 0]]),
    (
        "a death between flush and drain",
        Px86,
        &[Store(0, 1), Flush(0), Store(8, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [1, 0, 2, 0]],
    ),
    (
        "a death between the flush of both lines and the drain",
        Px86,
        &[Store(0, 1), Store(8, 2), Flush(0), Flush(8)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [1, 0, 2, 0]],
    ),
    ("a drain without a flush", Px86, &[Store(0, 1), Drain], &[[0, 0, 0, 0], [1, 0, 0, 0]]),
    ("a drain before the store", Px86, &[Drain, Store(0, 1)], &[[0, 0, 0, 0], [1, 0, 0, 0]]),
    (
        "a flush behind the drain",
        Px86,
        &[Store(0, 1), Drain, Flush(0)],
        &[[0, 0, 0, 0], [1, 0, 0, 0]],
    ),
    ("flushed and drained is there", Px86, &[Store(0, 1), Flush(0), Drain], &[[1, 0, 0, 0]]),
    (
        "the drain need not follow at once",
        Px86,
        &[Store(0, 1), Flush(0), Store(8, 2), Drain],
        &[[1, 0, 0, 0], [1, 0, 2, 0]],
    ),
    (
        "a flush takes the whole line",
        Px86,
        &[Store(0, 1), Store(1, 2), Flush(1), Drain],
        &[[1, 2, 0, 0]],
    ),
    (
        "a flush of the wrong line",
        Px86,
        &[Store(0, 1), Flush(8), Drain],
        &[[0, 0, 0, 0], [1, 0, 0, 0]],
    ),
    (
        "a flush of one of two lines",
        Px86,
        &[Store(0, 1), Store(8, 2), Flush(8), Drain],
        &[[0, 0, 2, 0], [1, 0, 2, 0]],
    ),
    (
        "a flush before the store",
        Px86,
        &[Flush(0), Store(0, 1), Drain],
        &[[0, 0, 0, 0], [1, 0, 0, 0]],
    ),
    (
        "a flush between two stores to a line",
        Px86,
        &[Store(0, 1), Flush(0), Store(1, 2), Drain],
        &[[1, 0, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "a flush between two stores to a word",
        Px86,
        &[Store(0, 1), Flush(0), Store(0, 2), Drain, Drain],
        &[[1, 0, 0, 0], [2, 0, 0, 0]],
    ),
    (
        "a second flush before the drain",
        Px86,
        &[Store(0, 1), Flush(0), Store(0, 2), Flush(0), Drain],
        &[[2, 0, 0, 0]],
    ),
    (
        "one drain for two flushed lines",
        Px86,
        &[Store(0, 1), Store(8, 2), Flush(0), Flush(8), Drain],
        &[[1, 0, 2, 0]],
    ),
    (
        "a second epoch",
        Px86,
        &[Store(0, 1), Flush(0), Drain, Store(0, 2), Flush(0), Drain, Store(0, 3)],
        &[[2, 0, 0, 0], [3, 0, 0, 0]],
    ),
    (
        "data before its commit word",
        Px86,
        &[Store(0, 1), Flush(0), Drain, Store(8, 2)],
        &[[1, 0, 0, 0], [1, 0, 2, 0]],
    ),
    (
        "a commit word without a drain before it",
        Px86,
        &[Store(0, 1), Flush(0), Store(8, 2), Flush(8), Drain],
        &[[1, 0, 2, 0]],
    ),
    (
        "a commit word in the line of its data",
        Px86,
        &[Store(0, 1), Store(1, 2), Flush(0)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "streamed words persist in any order",
        Px86,
        &[Stream(0, 1), Stream(1, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "a streamed word is durable once flushed and drained",
        Px86,
        &[Stream(0, 1), Stream(1, 2), Flush(0), Drain],
        &[[1, 2, 0, 0]],
    ),
    (
        "streamed before a store to its line",
        Px86,
        &[Stream(0, 1), Store(1, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "streamed after a store to its line",
        Px86,
        &[Store(1, 2), Stream(0, 1)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "a store over a streamed word comes after it",
        Px86,
        &[Stream(1, 1), Store(1, 2)],
        &[[0, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0]],
    ),
    (
        "a streamed word twice",
        Px86,
        &[Stream(0, 1), Stream(0, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]],
    ),
    (
        "streamed over a store, which may be late",
        Px86,
        &[Store(1, 3), Store(0, 1), Stream(0, 2)],
        &[[0, 0, 0, 0], [0, 3, 0, 0], [1, 3, 0, 0], [2, 0, 0, 0], [2, 3, 0, 0]],
    ),
    (
        "streamed back to the durable value",
        Px86,
        &[Store(0, 1), Stream(0, 0), Flush(0), Drain],
        &[[0, 0, 0, 0]],
    ),
    (
        "streamed in two lines",
        Px86,
        &[Stream(0, 1), Stream(8, 2), Flush(8), Drain],
        &[[0, 0, 2, 0], [1, 0, 2, 0]],
    ),
    (
        "durable caches: the end is missing",
        Eadr,
        &[Store(8, 1), Store(0, 2), Store(9, 3)],
        &[[0, 0, 0, 0], [0, 0, 1, 0], [2, 0, 1, 0], [2, 0, 1, 3]],
    ),
    (
        "durable caches: a drain alone suffices",
        Eadr,
        &[Store(8, 1), Drain, Store(0, 2)],
        &[[0, 0, 1, 0], [2, 0, 1, 0]],
    ),
    (
        "durable caches: a flush does nothing",
        Eadr,
        &[Store(0, 1), Flush(0), Store(8, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 2, 0]],
    ),
    (
        "durable caches: streamed words are in order",
        Eadr,
        &[Stream(0, 1), Stream(1, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "durable caches: two lines that cross",
        Eadr,
        &[Store(0, 1), Store(8, 2), Store(1, 3), Store(9, 4)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 2, 0], [1, 3, 2, 0], [1, 3, 2, 4]],
    ),
    (
        "words: any subset of a line",
        Words,
        &[Store(0, 1), Store(1, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]],
    ),
    (
        "words: any subset of two lines",
        Words,
        &[Store(0, 1), Store(1, 2), Store(8, 3)],
        &[
            [0, 0, 0, 0],
            [1, 0, 0, 0],
            [0, 2, 0, 0],
            [1, 2, 0, 0],
            [0, 0, 3, 0],
            [1, 0, 3, 0],
            [0, 2, 3, 0],
            [1, 2, 3, 0],
        ],
    ),
    (
        "words: one word is still in order",
        Words,
        &[Store(0, 1), Store(0, 2)],
        &[[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0]],
    ),
    (
        "words: a flush takes the whole line",
        Words,
        &[Store(0, 1), Store(1, 2), Flush(0), Drain],
        &[[1, 2, 0, 0]],
    ),
    (
        "words: a flush of the wrong line",
        Words,
        &[Store(0, 1), Store(8, 2), Flush(0), Drain],
        &[[1, 0, 0, 0], [1, 0, 2, 0]],
    ),
    (
        "words: a flush between two stores to a line",
        Words,
        &[Store(0, 1), Flush(0), Store(1, 2), Drain],
        &[[1, 0, 0, 0], [1, 2, 0, 0]],
    ),
    ("fences only: everything is there", FenceOnly, &[Store(0, 1), Store(8, 2)], &[[1, 0, 2, 0]]),
    ("fences only: the last value", FenceOnly, &[Store(0, 1), Drain, Store(0, 2)], &[[2, 0, 0, 0]]),
    (
        "fences only: streamed words too",
        FenceOnly,
        &[Stream(0, 1), Store(0, 2), Stream(8, 3)],
        &[[2, 0, 3, 0]],
    ),
];

#[test]
fn every_trace_leaves_the_states_written_here() {
    for &(name, model, trace, by_hand) in LITMUS {
        let by_hand: BTreeSet<_> = by_hand.iter().copied().collect();
        assert_eq!(states(model, trace), by_hand, "{name}: {model:?}, {trace:?}");
    }
}

#[test]
fn there_are_at_least_forty_and_none_twice() {
    let names: BTreeSet<_> = LITMUS.iter().map(|litmus| litmus.0).collect();
    assert_eq!(names.len(), LITMUS.len());
    assert!(names.len() >= 40);
}

/// The trace of 16 bytes that are stored at byte `at`.
fn sixteen(at: u64, kind: fn(u64, u64) -> Do) -> Vec<Do> {
    let mut trace = Vec::new();
    words(at, &[0xff; 16], |_| 0, |word, value| trace.push(kind(word / 8, value)));
    trace
}

#[test]
fn sixteen_bytes_tear_between_words_alone() {
    let all = u64::MAX;
    let in_order = [[0; 4], [all, 0, 0, 0], [all, all, 0, 0]];
    assert_eq!(states(Px86, &sixteen(0, Store)), BTreeSet::from(in_order));
    let any = [[0; 4], [all, 0, 0, 0], [0, all, 0, 0], [all, all, 0, 0]];
    assert_eq!(states(Px86, &sixteen(0, Stream)), BTreeSet::from(any));
}
