//! Arrays against a vector of bytes.

mod common;

use common::{Attached, Files, patient};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use vasmem_engine::layout::Kind;
use vasmem_engine::{Access, Error, Invariant, Memory, Result, directory};
use vasmem_memory::Medium;
use vasmem_structs::Array;
use vasmem_structs::array::LOGGED_BYTES_MAX;
use vasmem_structs::check::check;

fn create(segment: &Attached, name: &str, length: u64, row_bytes: u64) -> Array {
    let shape = (length, row_bytes);
    segment.write(&mut patient(), |tx| Array::create(tx, name, 42, shape, b"rows")).unwrap()
}

fn all<A: Access>(array: &Array, access: &mut A) -> Result<Vec<u8>> {
    let bytes = array.len(access)? * array.row_bytes();
    let mut found = vec![1; bytes as usize];
    let whole = 0..bytes;
    match array.read(access, std::slice::from_ref(&whole), None, &mut found)? {
        true => Ok(found),
        false => Err(Error::Conflict),
    }
}

fn rows(segment: &Attached, array: &Array) -> Vec<u8> {
    segment.read(&mut patient(), |peek| all(array, peek)).unwrap()
}

fn write(segment: &Attached, array: &Array, ranges: &[Range<u64>], bytes: &[u8]) -> bool {
    segment.write(&mut patient(), |tx| array.write(tx, ranges, bytes)).unwrap()
}

fn extend(segment: &Attached, array: &Array, bytes: &[u8]) -> u64 {
    segment.write(&mut patient(), |tx| array.extend(tx, bytes)).unwrap()
}

fn ensure_well(segment: &Attached) {
    assert_eq!(check(segment, &mut patient()).unwrap(), []);
}

/// Bytes that differ from their neighbours.
fn noise(seed: u64, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Parts of the length from which on ranges of so many bytes are overwritten.
    Write(Vec<(u16, u16)>),
    Extend(u16),
    Resize(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((any::<u16>(), 0..300u16), 1..8).prop_map(Step::Write),
        3 => (0..40u16).prop_map(Step::Extend),
        1 => (0..200u16).prop_map(Step::Resize),
        1 => (0..4u16).prop_map(Step::Resize),
    ]
}

/// Ascending ranges that are apart.
fn ranges(parts: &[(u16, u16)], len: u64) -> Vec<Range<u64>> {
    let mut starts: Vec<_> = parts
        .iter()
        .map(|&(part, bytes)| ((len * u64::from(part)) >> 16, u64::from(bytes)))
        .collect();
    starts.sort_unstable();
    starts.dedup_by_key(|start| start.0);
    let ends: Vec<_> = starts.iter().skip(1).map(|start| start.0).chain([len]).collect();
    starts.into_iter().zip(ends).map(|((at, bytes), end)| at..(at + bytes).min(end)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn an_array_is_a_vector(
        row in prop::sample::select(vec![1u64, 3, 8, 24, 700, 5000]),
        made in any::<bool>(),
        first in 0..20u64,
        transactions in prop::collection::vec(
            (prop::collection::vec(step(), 1..6), prop::bool::weighted(0.8)), 1..12),
    ) {
        let files = Files::new(1 << 20, 64 << 20, Medium::Volatile);
        let segment = files.attach();
        let mut array = (!made).then(|| create(&segment, "array", first, row));
        let mut model = vec![0u8; (first * row) as usize];
        let mut seed = 0;
        for (steps, commits) in transactions {
            let (mut new, mut last) = (model.clone(), array);
            let done = segment.write(&mut patient(), |tx| {
                let here = match array {
                    Some(array) => array,
                    None => Array::create(tx, "array", 42, (first, row), b"rows")?,
                };
                (new, last) = (model.clone(), Some(here));
                for step in &steps {
                    seed += 1;
                    match step {
                        Step::Write(parts) => {
                            let ranges = ranges(parts, new.len() as u64);
                            let total = ranges.iter().map(|range| range.end - range.start).sum();
                            let bytes = noise(seed, total);
                            assert!(here.write(tx, &ranges, &bytes)?);
                            let mut rest = &bytes[..];
                            for range in ranges {
                                let range = range.start as usize..range.end as usize;
                                let (now, behind) = rest.split_at(range.len());
                                new[range].copy_from_slice(now);
                                rest = behind;
                            }
                        }
                        Step::Extend(rows) => {
                            let bytes = noise(seed, u64::from(*rows) * row);
                            assert_eq!(here.extend(tx, &bytes)?, new.len() as u64 / row);
                            new.extend_from_slice(&bytes);
                        }
                        Step::Resize(rows) => {
                            here.resize(tx, u64::from(*rows))?;
                            new.resize((u64::from(*rows) * row) as usize, 0);
                        }
                    }
                    assert_eq!(all(&here, tx)?, new, "in the transaction");
                }
                if commits { Ok(()) } else { Err(Error::Interrupted) }
            });
            if done.is_ok() {
                (model, array) = (new, last);
            }
            if let Some(array) = &array {
                assert_eq!(&rows(&segment, array), &model);
            }
            ensure_well(&segment);
        }
    }
}

#[test]
fn rows_begin_aligned_and_as_zeros() {
    let files = Files::new(1 << 20, 64 << 20, Medium::Volatile);
    let segment = files.attach();
    for (i, length) in [0, 1, 5, 7, 8, 100, 1000, 2000, 100_000].into_iter().enumerate() {
        let array = create(&segment, &format!("array {i}"), length, 3);
        let (at, found) = segment.read(&mut patient(), |peek| array.locate(peek)).unwrap();
        assert_eq!((at % 64, found), (0, length));
        assert_eq!(rows(&segment, &array), vec![0; length as usize * 3]);
        let same = segment
            .read(&mut patient(), |peek| {
                Array::open(peek, segment.geometry.directory_at, &format!("array {i}"))
            })
            .unwrap();
        assert_eq!(same, Some(array));
    }
    ensure_well(&segment);
}

#[test]
fn an_update_of_any_size_is_one_transaction() {
    let files = Files::new(1 << 20, 256 << 20, Medium::Volatile);
    let segment = files.attach();
    let row = 1000;
    let array = create(&segment, "array", 12_000, row);
    let mut model = rows(&segment, &array);
    let most = LOGGED_BYTES_MAX;
    for (from, to) in [(5, most), (17, most + 100), (0, 12_000 * row), (3_000_001, 9_000_003)] {
        let bytes = noise(from, to - from);
        let ranges = std::slice::from_ref(&(from..to)).to_vec();
        assert!(write(&segment, &array, &ranges, &bytes));
        model[from as usize..to as usize].copy_from_slice(&bytes);
        assert!(rows(&segment, &array) == model);
    }
    let every: Vec<_> = (0..12_000).map(|i| i * row..i * row + 900).collect();
    let bytes = noise(3, 12_000 * 900);
    assert!(write(&segment, &array, &every, &bytes));
    for (range, part) in every.iter().zip(bytes.chunks_exact(900)) {
        model[range.start as usize..range.end as usize].copy_from_slice(part);
    }
    assert!(rows(&segment, &array) == model);
    ensure_well(&segment);
}

#[test]
fn growth_stays_in_place_while_it_can() {
    let files = Files::new(1 << 20, 256 << 20, Medium::Volatile);
    let segment = files.attach();
    let array = create(&segment, "array", 4096, 8);
    let at = |array: &Array| segment.read(&mut patient(), |peek| array.locate(peek)).unwrap().0;
    let first = at(&array);
    for i in 0..10 {
        extend(&segment, &array, &noise(i, 4096));
    }
    assert_eq!(at(&array), first);
    // Something in the way.
    let other = create(&segment, "other", 1 << 15, 1);
    extend(&segment, &array, &noise(11, 400_000));
    assert_ne!(at(&array), first);
    assert_eq!(rows(&segment, &other), vec![0; 1 << 15]);
    ensure_well(&segment);
}

#[test]
fn appending_copies_each_row_few_times() {
    let files = Files::new(1 << 20, 256 << 20, Medium::Volatile);
    let segment = files.attach();
    let array = create(&segment, "array", 0, 8);
    let mut moves = 0;
    let mut last = 0;
    for i in 0..20_000u64 {
        extend(&segment, &array, &i.to_le_bytes());
        let now = segment.read(&mut patient(), |peek| array.locate(peek)).unwrap().0;
        moves += u32::from(now != last);
        last = now;
    }
    assert!(moves < 30, "{moves} moves");
    let found = rows(&segment, &array);
    let (words, _) = found.as_chunks::<8>();
    assert!(words.iter().map(|word| u64::from_le_bytes(*word)).eq(0..20_000));
}

#[test]
fn what_is_not_there_is_neither_read_nor_written() {
    let files = Files::new(1 << 20, 4 << 20, Medium::Volatile);
    let segment = files.attach();
    let array = create(&segment, "array", 10, 8);
    let mut into = [7; 8];
    let beyond = 80..88;
    let ranges = std::slice::from_ref(&beyond);
    let read = segment.read(&mut patient(), |peek| array.read(peek, ranges, None, &mut into));
    assert!(!read.unwrap() && into == [7; 8]);
    assert!(!write(&segment, &array, ranges, &[0; 8]));
    let ranges = std::slice::from_ref(&(0..8)).to_vec();
    let read = |length| {
        let mut into = [7; 8];
        segment.read(&mut patient(), |peek| array.read(peek, &ranges, Some(length), &mut into))
    };
    assert!(read(10).unwrap() && !read(11).unwrap());
    let too_large = segment.write(&mut patient(), |tx| array.resize(tx, u64::MAX));
    assert!(matches!(too_large, Err(Error::TooLarge { .. })));
    let full = segment.write(&mut patient(), |tx| array.resize(tx, 1 << 20));
    assert!(matches!(full, Err(Error::Full { .. })));
    assert_eq!(rows(&segment, &array), [0; 80]);
    ensure_well(&segment);
}

#[test]
fn a_removed_array_leaves_nothing_and_its_handles_notice() {
    let files = Files::new(1 << 20, 64 << 20, Medium::Volatile);
    let segment = files.attach();
    let array = create(&segment, "array", 100_000, 8);
    segment.write(&mut patient(), |tx| array.remove(tx, "array")).unwrap();
    ensure_well(&segment);
    let gone = segment.read(&mut patient(), |peek| array.len(peek));
    assert!(matches!(gone, Err(Error::Removed)));
    let gone = segment.write(&mut patient(), |tx| array.extend(tx, &[0; 8]));
    assert!(matches!(gone, Err(Error::Removed)));
    let names =
        segment.read(&mut patient(), |peek| directory::list(peek, segment.geometry.directory_at));
    assert_eq!(names.unwrap(), []);
}

#[test]
fn every_word_of_the_header_may_be_wrong() {
    let words = [0, 1, 7, 64, u64::MAX, u64::MAX / 2, 1 << 40, 17 << 20, (17 << 20) + 64];
    for place in 1..8 {
        for word in words {
            let files = Files::new(1 << 20, 4 << 20, Medium::Volatile);
            let segment = files.attach();
            let array = create(&segment, "array", 1000, 8);
            let granules = (segment.geometry.directory_at..segment.backed()).step_by(16 << 10);
            let mut granules = granules.into_iter();
            let node = granules.find(|&at| segment.kind_at(at) == Kind::ARRAY).unwrap();
            segment.memory.store(node + place * 8, word, Relaxed);
            let fine = |error: &Error| {
                matches!(
                    error,
                    Error::Corrupted { .. }
                        | Error::Removed
                        | Error::Full { .. }
                        | Error::TooLarge { .. }
                )
            };
            let violations = check(&segment, &mut patient()).unwrap();
            if [3, 4].contains(&place) && word >= 1 << 40 {
                assert!([Invariant::Array, Invariant::Offset].contains(&violations[0].invariant));
            }
            let found = segment.read(&mut patient(), |peek| array.len(peek));
            assert!(found.as_ref().err().is_none_or(fine), "{found:?}");
            let found = segment.read(&mut patient(), |peek| array.description(peek));
            assert!(found.as_ref().err().is_none_or(fine), "{found:?}");
            let changed = |done: Result<()>| assert!(done.as_ref().err().is_none_or(fine));
            changed(segment.write(&mut patient(), |tx| {
                array.write(tx, &[0..8, 4000..8000], &[1; 4008]).map(|_| ())
            }));
            changed(segment.write(&mut patient(), |tx| array.extend(tx, &[1; 8]).map(|_| ())));
            changed(segment.write(&mut patient(), |tx| array.resize(tx, 5000)));
            changed(segment.write(&mut patient(), |tx| array.resize(tx, 1)));
            changed(segment.write(&mut patient(), |tx| array.remove(tx, "array")));
        }
    }
}
