//! What is done with the arrays of a mutated segment.

use crate::image::{Attached, Impatient};
use crate::random::Random;
use std::ops::Range;
use vasmem_engine::access::{Access, Reading};
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::{Error, Result};
use vasmem_structs::Array;

/// Names of the arrays, with rows and bytes of a row.
const ARRAYS: [(&str, u64, u64); 3] = [("bytes", 700, 3), ("rows", 2000, 24), ("empty", 0, 8)];
/// Rows that an operation makes at most.
const ROWS_MAX: u64 = 20_000;

/// Makes the arrays.
pub fn make(segment: &Attached) -> Result<()> {
    for (number, (name, rows, row_bytes)) in ARRAYS.into_iter().enumerate() {
        let array = segment.write(&mut Impatient::default(), |tx| {
            Array::create(tx, name, number as u64 + 30, (rows, row_bytes), b"('<u1', (3,))")
        })?;
        let all: Vec<_> = std::iter::once(0..rows * row_bytes).collect();
        let bytes = vec![b'a'; (rows * row_bytes) as usize];
        segment.write(&mut Impatient::default(), |tx| array.write(tx, &all, &bytes))?;
    }
    Ok(())
}

/// Overwrites rows of two arrays, appends to one, and dies when it has committed.
pub fn die(segment: &Attached) -> Result<()> {
    let (bytes, rows) = (open(segment, "bytes")?, open(segment, "rows")?);
    segment.write(&mut Impatient::default(), |tx| {
        bytes.write(tx, &[5..9, 100..1100], &[b'd'; 1004])?;
        rows.extend(tx, &[b'd'; 2400])?;
        // Not before: growing is a commit, too.
        segment.switches.arm(Point::Committed, 0, Action::Return);
        Ok(())
    })
}

fn open(segment: &Attached, name: &str) -> Result<Array> {
    let at = segment.geometry.directory_at;
    let found = segment.read(&mut Impatient::default(), |peek| Array::open(peek, at, name))?;
    found.ok_or(Error::Removed)
}

/// One operation.
pub fn one(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    let (name, ..) = random.pick(&ARRAYS);
    let array = open(segment, name)?;
    let mut patience = Impatient::default();
    match random.below(if reads_only { 4 } else { 12 }) {
        0..=3 => segment.consult(&mut patience, &mut Look(&array, &some(&array, random))),
        4 => {
            segment.write(&mut patience, |tx| array.remove(tx, name))?;
            let shape = (random.below(3000), 16);
            let id = random.below(1 << 40);
            segment
                .write(&mut patience, |tx| Array::create(tx, name, id, shape, b"('<u8', (2,))"))
                .map(|_| ())
        }
        5..=7 => change(segment, &array, random),
        _ => (0..3).try_for_each(|_| {
            let ranges = some(&array, random);
            let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            let bytes = vec![b'w'; total as usize];
            segment.write(&mut patience, |tx| array.write(tx, &ranges, &bytes)).map(|_| ())
        }),
    }
}

struct Look<'a>(&'a Array, &'a [Range<u64>]);

impl Reading<()> for Look<'_> {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<()> {
        let Look(array, ranges) = *self;
        let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        array.description(access)?;
        array.is_empty(access)?;
        array.locate(access)?;
        array.read(access, ranges, None, &mut vec![0; total as usize]).map(|_| ())
    }
}

/// Ranges in ascending order, of which some may be beyond the end.
fn some(array: &Array, random: &mut Random) -> Vec<Range<u64>> {
    let (mut ranges, mut at) = (Vec::new(), 0);
    for _ in 0..=random.below(4) {
        let (skip, len) = (random.pick(&[0, 1, 60, 5000]), random.pick(&[1, 7, 8, 4100, 20_000]));
        at += random.below(skip + 1);
        ranges.push(at..at + len.min(array.row_bytes().saturating_mul(ROWS_MAX)));
        at += len;
    }
    ranges
}

fn change(segment: &Attached, array: &Array, random: &mut Random) -> Result<()> {
    let rows = random.pick(&[1, 3, 400, ROWS_MAX]);
    let bytes = rows.saturating_mul(array.row_bytes()).min(1 << 20) as usize;
    let (cut, grow) = (random.below(rows), random.below(2));
    segment.write(&mut Impatient::default(), |tx| {
        array.extend(tx, &vec![b'e'; bytes])?;
        if grow == 0 {
            array.resize(tx, cut)?;
            array.write(tx, std::slice::from_ref(&(0..8)), &[b'x'; 8])?;
        }
        array.resize(tx, rows)
    })
}
