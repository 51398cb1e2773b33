//! Small traces, and the states that a crash may leave of each, written down by hand.

use std::collections::BTreeSet;
use vasmem_lab::crash::image::Image;
use vasmem_lab::crash::lines::Lines;

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
fn states(trace: &[Do]) -> BTreeSet<[u64; 4]> {
    let image = Image::new(128);
    let mut lines = Lines::default();
    for &step in trace {
        match step {
            Store(word, value) => lines.store(&image, word * 8, value),
            Stream(word, value) => lines.stream(&image, word * 8, value),
            Flush(word) => lines.flush((word * 8) & !63, 64),
            Drain => lines.drain(&image),
        }
    }
    let (mut found, mut state, mut drawn) = (BTreeSet::new(), lines.first(), 0);
    loop {
        let before = image.mark();
        lines.apply(&image, &state);
        found.insert(WORDS.map(|word| image.get(word * 8)));
        image.roll_back(before);
        drawn += 1;
        if !lines.advance(&mut state) {
            assert_eq!(f64::from(drawn), lines.states(), "the product of the lines' steps");
            return found;
        }
    }
}

fn expect(trace: &[Do], states_by_hand: &[[u64; 4]]) {
    assert_eq!(states(trace), states_by_hand.iter().copied().collect());
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
