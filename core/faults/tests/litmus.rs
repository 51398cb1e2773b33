//! Small traces, and the states that a crash may leave of each, written down by hand.

use std::collections::BTreeSet;
use vasmem_faults::{Contents, Lines, Model};

/// A step of a trace. Words 0 and 1 share a line, 8 and 9 the next one.
#[derive(Clone, Copy)]
enum Do {
    Store(u64, u64),
    Stream(u64, u64),
    Flush(u64),
    Drain,
}

use Do::{Drain, Flush, Store, Stream};

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

fn expect(trace: &[Do], states_by_hand: &[[u64; 4]]) {
    expect_of(Model::Px86, trace, states_by_hand);
}

fn expect_of(model: Model, trace: &[Do], states_by_hand: &[[u64; 4]]) {
    assert_eq!(states(model, trace), states_by_hand.iter().copied().collect());
}

#[test]
fn a_store_may_persist_by_itself_or_not() {
    expect(&[Store(0, 1)], &[[0, 0, 0, 0], [1, 0, 0, 0]]);
}

#[test]
fn stores_to_one_line_persist_in_order() {
    expect(&[Store(0, 1), Store(1, 2)], &[[0, 0, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0]]);
    expect(&[Store(1, 2), Store(0, 1)], &[[0, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]]);
}

#[test]
fn lines_do_not_wait_for_each_other() {
    let all = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0], [1, 0, 2, 0]];
    expect(&[Store(0, 1), Store(8, 2)], &all);
}

#[test]
fn a_word_is_overwritten_step_by_step() {
    expect(&[Store(0, 1), Store(0, 2)], &[[0; 4], [1, 0, 0, 0], [2, 0, 0, 0]]);
    expect(&[Store(0, 1), Store(0, 1)], &[[0; 4], [1, 0, 0, 0]]);
    expect(
        &[Store(0, 1), Store(1, 1), Store(0, 0)],
        &[[0; 4], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]],
    );
}

#[test]
fn a_flush_alone_promises_nothing() {
    expect(&[Store(0, 1), Flush(0)], &[[0; 4], [1, 0, 0, 0]]);
    expect(
        &[Store(0, 1), Flush(0), Store(8, 2)],
        &[[0; 4], [1, 0, 0, 0], [0, 0, 2, 0], [1, 0, 2, 0]],
    );
}

#[test]
fn a_drain_alone_promises_nothing() {
    expect(&[Store(0, 1), Drain], &[[0; 4], [1, 0, 0, 0]]);
    expect(&[Drain, Store(0, 1)], &[[0; 4], [1, 0, 0, 0]]);
}

#[test]
fn what_was_flushed_and_drained_is_there() {
    expect(&[Store(0, 1), Flush(0), Drain], &[[1, 0, 0, 0]]);
    expect(&[Store(0, 1), Flush(0), Drain, Store(8, 2)], &[[1, 0, 0, 0], [1, 0, 2, 0]]);
    expect(&[Store(0, 1), Store(1, 2), Flush(1), Drain], &[[1, 2, 0, 0]]);
}

#[test]
fn a_flush_covers_its_own_line_alone() {
    expect(&[Store(0, 1), Store(8, 2), Flush(8), Drain], &[[0, 0, 2, 0], [1, 0, 2, 0]]);
}

#[test]
fn a_flush_covers_what_was_stored_before_it_alone() {
    let trace = [Store(0, 1), Flush(0), Store(1, 2), Drain];
    expect(&trace, &[[1, 0, 0, 0], [1, 2, 0, 0]]);
    let trace = [Store(0, 1), Flush(0), Store(0, 2), Drain, Drain];
    expect(&trace, &[[1, 0, 0, 0], [2, 0, 0, 0]]);
}

#[test]
fn the_second_epoch_begins_where_the_first_ended() {
    let trace = [Store(0, 1), Flush(0), Drain, Store(0, 2), Flush(0), Drain, Store(0, 3)];
    expect(&trace, &[[2, 0, 0, 0], [3, 0, 0, 0]]);
}

#[test]
fn streamed_words_persist_in_any_order() {
    let all = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]];
    expect(&[Stream(0, 1), Stream(1, 2)], &all);
    expect(&[Stream(0, 1), Stream(1, 2), Flush(0), Drain], &[[1, 2, 0, 0]]);
}

#[test]
fn a_store_over_a_streamed_word_comes_after_it() {
    expect(&[Stream(1, 1), Store(1, 2)], &[[0; 4], [0, 1, 0, 0], [0, 2, 0, 0]]);
}

#[test]
fn streamed_words_do_not_wait_for_the_stores_of_their_line() {
    let all = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]];
    expect(&[Stream(0, 1), Store(1, 2)], &all);
    expect(&[Store(1, 2), Stream(0, 1)], &all);
}

#[test]
fn with_durable_caches_only_the_last_stores_are_missing() {
    let trace = [Store(8, 1), Store(0, 2), Store(9, 3)];
    let all = [[0, 0, 0, 0], [0, 0, 1, 0], [2, 0, 1, 0], [2, 0, 1, 3]];
    expect_of(Model::Eadr, &trace, &all);
    expect_of(Model::Eadr, &[Store(8, 1), Drain, Store(0, 2)], &all[1..3]);
}

#[test]
fn words_by_themselves_persist_in_any_order() {
    let all = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 0], [1, 2, 0, 0]];
    expect_of(Model::Words, &[Store(0, 1), Store(1, 2)], &all);
    expect_of(Model::Words, &[Store(0, 1), Store(1, 2), Flush(0), Drain], &all[3..]);
    expect_of(Model::Words, &[Store(0, 1), Store(0, 2)], &[[0; 4], [1, 0, 0, 0], [2, 0, 0, 0]]);
}

#[test]
fn without_reordering_there_is_one_state() {
    expect_of(Model::FenceOnly, &[Store(0, 1), Store(8, 2)], &[[1, 0, 2, 0]]);
    expect_of(Model::FenceOnly, &[Store(0, 1), Drain, Store(0, 2)], &[[2, 0, 0, 0]]);
}
