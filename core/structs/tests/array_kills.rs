//! A process dies at every numbered step of every change of an array: others read all or
//! nothing of it, before and after they recover it, and so they do after a power failure.
#![cfg(feature = "lab")]

mod deaths;

use deaths::{Tx, few};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::simulated::{Attached, Machine};
use vasmem_engine::{Access, Error, Result};
use vasmem_memory::Medium;
use vasmem_structs::Array;
use vasmem_structs::check::check;

fn rows<A: Access>(array: &Array, access: &mut A) -> Result<Vec<u8>> {
    let bytes = array.len(access)? * array.row_bytes();
    let mut found = vec![0; bytes as usize];
    match array.read(access, std::slice::from_ref(&(0..bytes)), None, &mut found)? {
        true => Ok(found),
        false => Err(Error::Conflict),
    }
}

/// A change of an array that has so many rows of so many bytes.
struct Change {
    name: &'static str,
    rows: (u64, u64),
    run: fn(&Array, &mut Tx<'_>) -> Result<()>,
}

fn put(array: &Array, tx: &mut Tx<'_>, ranges: &[(u64, u64)]) -> Result<()> {
    let ranges: Vec<_> = ranges.iter().map(|&(from, to)| from..to).collect();
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    array.write(tx, &ranges, &vec![b'n'; total as usize]).map(|done| assert!(done))
}

fn extend(array: &Array, tx: &mut Tx<'_>, bytes: usize) -> Result<()> {
    array.extend(tx, &vec![b'e'; bytes]).map(|_| ())
}

const LARGE: (u64, u64) = (5 << 10, 1 << 10);

const CHANGES: [Change; 13] = [
    Change { name: "a row", rows: (100, 8), run: |array, tx| put(array, tx, &[(16, 24)]) },
    Change {
        name: "rows of several stripes",
        rows: (3000, 8),
        run: |array, tx| put(array, tx, &[(4080, 4120), (9001, 9003), (9005, 9017)]),
    },
    Change {
        name: "rows of all stripes",
        rows: (9000, 8),
        run: |array, tx| put(array, tx, &[(0, 72_000)]),
    },
    Change {
        name: "all rows anew",
        rows: LARGE,
        run: |array, tx| {
            put(array, tx, &[(100, (4 << 20) + 300), ((4 << 20) + 900, (5 << 20) - 1)])
        },
    },
    Change { name: "append", rows: (3, 8), run: |array, tx| extend(array, tx, 16) },
    Change { name: "append to a word", rows: (11, 3), run: |array, tx| extend(array, tx, 21) },
    Change { name: "append, and move", rows: (21, 3), run: |array, tx| extend(array, tx, 3000) },
    Change { name: "grow in place", rows: (4000, 8), run: |array, tx| extend(array, tx, 9000) },
    Change { name: "cut", rows: (1000, 8), run: |array, tx| array.resize(tx, 900) },
    Change { name: "cut, and move", rows: (9000, 8), run: |array, tx| array.resize(tx, 3) },
    Change {
        name: "cut, and append less",
        rows: (1000, 8),
        run: |array, tx| {
            array.resize(tx, 900)?;
            extend(array, tx, 400)
        },
    },
    Change {
        name: "cut, and append more, twice",
        rows: (1000, 3),
        run: |array, tx| {
            array.resize(tx, 900)?;
            array.resize(tx, 920)?;
            extend(array, tx, 3000)
        },
    },
    Change {
        name: "many at once",
        rows: (300, 8),
        run: |array, tx| {
            put(array, tx, &[(0, 2400)])?;
            array.resize(tx, 200)?;
            extend(array, tx, 4000)?;
            put(array, tx, &[(1500, 3000)])
        },
    },
];

impl deaths::Change for Change {
    type Subject = Array;
    type Found = Vec<u8>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn world(&self, medium: Medium) -> (Machine, Attached, Array) {
        let machine =
            Machine::new(if self.rows == LARGE { 32 << 20 } else { 2 << 20 }, 4, 4096, medium);
        let segment = machine.attach(1);
        let array = segment
            .write(&mut few(), |tx| Array::create(tx, "array", 7, self.rows, b"rows"))
            .unwrap();
        let old = vec![b'o'; (self.rows.0 * self.rows.1) as usize];
        let all = 0..old.len() as u64;
        segment.write(&mut few(), |tx| array.write(tx, std::slice::from_ref(&all), &old)).unwrap();
        (machine, segment, array)
    }

    fn run(&self, array: &Array, tx: &mut Tx<'_>) -> Result<()> {
        (self.run)(array, tx)
    }

    fn found<A: Access>(array: &Array, access: &mut A) -> Result<Vec<u8>> {
        rows(array, access)
    }

    fn each(&self) -> u32 {
        if self.rows == LARGE { 0 } else { 12 }
    }
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = deaths::outcomes(change);
        let deaths = deaths::each_death(change, Medium::Volatile, |machine, array| {
            let seen = deaths::read::<Change>(&machine, &array);
            assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
            let other = machine.attach(2);
            append(&other, &array);
            let found = deaths::snapshot::<Change>(&other, &array);
            let (found, last) = found.split_at(seen.len());
            assert!(found == seen, "{}: recovery decides otherwise", change.name);
            assert!(last.iter().all(|&byte| byte == b'~'));
            assert_eq!(check(&other, &mut few()).unwrap(), [], "{}", change.name);
        });
        assert!(deaths >= 10, "{}: only {deaths} deaths", change.name);
    }
}

fn append(segment: &Attached, array: &Array) {
    let row = vec![b'~'; array.row_bytes() as usize];
    segment.write(&mut few(), |tx| array.extend(tx, &row)).unwrap();
}

#[test]
fn readers_in_the_middle_of_a_change_see_all_or_nothing() {
    CHANGES.iter().for_each(deaths::readers_in_the_middle_see_all_or_nothing);
}

#[test]
fn a_power_failure_leaves_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        deaths::a_power_failure_leaves_all_or_nothing(change, append);
    }
}

#[test]
fn a_reader_finds_a_record_that_continues_where_the_segment_has_grown() {
    let machine = Machine::growing(16 << 20, 1 << 20, 4, 4096, Medium::Volatile);
    let segment = machine.attach(1);
    let array = segment
        .write(&mut few(), |tx| Array::create(tx, "array", 7, (40_000, 8), b"rows"))
        .unwrap();
    let reader = machine.attach_readonly();
    let of = |reader: &Attached| reader.read(&mut few(), |peek| rows(&array, peek)).unwrap();
    assert!(of(&reader) == vec![0; 320_000]);
    // The first words are those of the transaction that takes the space for the record.
    segment.switches.arm(Point::Applied, 50, Action::Return);
    let died = segment.write(&mut few(), |tx| put(&array, tx, &[(0, 320_000)]));
    assert!(matches!(died, Err(Error::Died)));
    assert!(of(&reader) == vec![b'n'; 320_000]);
}

/// The power fails when the last change of process 1 is durable, but not that it is done: its
/// record is applied again, to nodes whose counters are behind it.
#[test]
fn a_stale_record_reaches_no_rows_that_were_given_up() {
    for moves in [true, false] {
        let (machine, segment, array) = deaths::Change::world(&CHANGES[2], Medium::CacheLine);
        segment.write(&mut few(), |tx| put(&array, tx, &[(71_992, 72_000)])).unwrap();
        let other = machine.attach(2);
        let taker = if moves { move_away(&other, &array) } else { cut(&other, &array) };
        let before = deaths::read::<Change>(&machine, &taker);
        assert!(before.ends_with(b"eeeeeeee"));
        let last = machine.crash(|_| false).attach(5);
        last.recover_power_failure().unwrap();
        assert!(deaths::snapshot::<Change>(&last, &taker) == before, "moves: {moves}");
        assert_eq!(check(&last, &mut few()).unwrap(), []);
    }
}

/// Cuts the last row off and appends another one.
fn cut(segment: &Attached, array: &Array) -> Array {
    segment.write(&mut few(), |tx| array.resize(tx, 8999)).unwrap();
    segment.write(&mut few(), |tx| extend(array, tx, 8)).unwrap();
    *array
}

/// Moves the rows; the array that gets their place.
fn move_away(segment: &Attached, array: &Array) -> Array {
    let at = |array: &Array| segment.read(&mut few(), |peek| array.locate(peek)).unwrap().0;
    let old = at(array);
    segment.write(&mut few(), |tx| array.resize(tx, 3)).unwrap();
    let shape = (9000, 8);
    let made = segment.write(&mut few(), |tx| Array::create(tx, "other", 8, shape, b"rows"));
    let other = made.unwrap();
    assert!(at(array) != old && at(&other) == old);
    segment.write(&mut few(), |tx| other.resize(tx, 8999)).unwrap();
    segment.write(&mut few(), |tx| extend(&other, tx, 8)).unwrap();
    other
}

/// Whole words change one at a time, so a reader of a few can see half of a change.
#[test]
fn a_reader_of_a_later_stripe_alone_sees_all_or_nothing() {
    let change = &CHANGES[1];
    let (machine, segment, array) = deaths::Change::world(change, Medium::Volatile);
    let steps = Arc::new(AtomicU32::new(0));
    let counted = steps.clone();
    segment.switches.watch(move |_| {
        let mut found = vec![0; 12];
        let there = machine.attach_readonly().read(&mut few(), |peek| {
            array.read(peek, std::slice::from_ref(&(9005..9017)), None, &mut found)
        });
        assert!(there.unwrap());
        assert!([&b"oooooooooooo"[..], b"nnnnnnnnnnnn"].contains(&&found[..]), "half: {found:?}");
        counted.fetch_add(1, Relaxed);
    });
    segment.write(&mut few(), |tx| (change.run)(&array, tx)).unwrap();
    assert!(steps.load(Relaxed) > 10);
}
