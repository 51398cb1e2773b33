//! Segments that somebody has tampered with, as the fuzzer found them or might have: operations
//! raise errors, and come to an end.

mod common;

use common::{Attached, Files, patient};
use std::sync::atomic::Ordering::Relaxed;
use vasmem_engine::layout::{GRANULE, Kind, LINE, descriptor, header};
use vasmem_engine::version::Version;
use vasmem_engine::{Error, Glance, Invariant, Memory, Offset, directory};
use vasmem_memory::Medium;
use vasmem_structs::Queue;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::{Hash, HashMap};

fn filled(keys: u64) -> (Files, Attached, HashMap) {
    let files = Files::new(1 << 20, 4 << 20, Medium::Volatile);
    let segment = files.attach();
    let map = segment.write(&mut patient(), |tx| HashMap::create(tx, "map", 0, 7)).unwrap();
    for key in 0..keys {
        let key = key.to_le_bytes();
        segment.write(&mut patient(), |tx| map.put(tx, &key, b"value", &mut Vec::new())).unwrap();
    }
    (files, segment, map)
}

/// First granule of a kind.
fn granule(segment: &Attached, kind: Kind) -> Offset {
    let all = (segment.geometry.directory_at..segment.backed()).step_by(GRANULE as usize);
    all.into_iter().find(|&at| segment.kind_at(at) == kind).unwrap()
}

#[test]
fn a_page_offset_with_high_bits_is_no_sum_that_overflows() {
    let (_files, segment, map) = filled(3000);
    let page = granule(&segment, Kind::HASH_DIRECTORY);
    let header = granule(&segment, Kind::HASH_HEADER);
    let words = (header..header + LINE).step_by(8);
    let slot = words.into_iter().find(|&at| segment.memory.load(at, Relaxed) == page).unwrap();
    segment.memory.store(slot, u64::MAX, Relaxed);
    let hash = Hash::of(b"key", segment.geometry.seed);
    assert!(map.foresee(&mut Glance::new(&segment), &[hash])[0].is_none());
    let mut record = Vec::new();
    let found = segment.read(&mut patient(), |peek| map.get(peek, b"key", &mut record));
    assert!(matches!(found, Err(Error::Corrupted { .. })));
}

#[test]
fn a_descriptor_locked_by_nobody_is_looked_at_once() {
    let (_files, segment, _) = filled(10);
    let place = segment.geometry.place(granule(&segment, Kind::HASH_HEADER));
    let word = segment.memory.load(place.descriptor, Relaxed);
    let lock = Version(word).locked_by(0, segment.incarnation()).0;
    segment.memory.store(place.descriptor, lock, Relaxed);
    // Each of these took minutes when every try of theirs waited for the lock in tries of its own.
    assert_eq!(segment.kind_at(place.granule), Kind::FREE);
    assert!(segment.described(place).is_none());
    assert!(segment.memory.load(place.descriptor + descriptor::META, Relaxed) != 0);
}

#[test]
fn a_directory_that_comes_back_to_itself_is_broken() {
    let (_files, segment, _) = filled(1);
    let first = segment.geometry.directory_at;
    segment.memory.store(first + 4096 - 8, first, Relaxed);
    let named = segment.read(&mut patient(), |peek| directory::list(peek, first));
    assert!(matches!(named, Err(Error::Corrupted { invariant: Invariant::Directory, .. })));
    let violations = check(&segment, &mut patient()).unwrap();
    assert_eq!(violations[0].invariant, Invariant::Directory);
}

#[test]
fn a_token_that_somebody_else_overwrote_is_not_cleared() {
    let (_files, segment, _) = filled(1);
    let done = segment.exclusively(&mut patient(), || {
        segment.memory.store(header::TOKEN, 77, Relaxed);
        Ok(())
    });
    done.unwrap();
    assert_eq!(segment.memory.load(header::TOKEN, Relaxed), 77);
}

#[test]
fn a_large_value_has_at_most_the_bytes_that_a_value_may_have() {
    let (_files, segment, map) = filled(1);
    segment
        .write(&mut patient(), |tx| map.put(tx, b"large", &[1; 20_000], &mut Vec::new()))
        .unwrap();
    let node = granule(&segment, Kind::VALUE);
    segment.memory.store(node + 8, 1 << 32, Relaxed);
    let mut record = Vec::new();
    let found = segment.read(&mut patient(), |peek| map.get(peek, b"large", &mut record));
    assert!(matches!(found, Err(Error::Corrupted { invariant: Invariant::MapRecord, .. })));
    assert!(record.len() < 1 << 20);
}

#[test]
fn recovery_after_a_power_failure_counts_past_the_last_incarnation() {
    let (files, segment, _) = filled(1);
    segment.memory.store(header::INCARNATION, u64::MAX, Relaxed);
    drop(segment);
    let segment = files.attach();
    segment.recover_power_failure().unwrap();
    assert_eq!(segment.incarnation(), 0);
}

#[test]
fn a_table_that_stands_twice_in_the_directory_is_broken() {
    let (_files, segment, map) = filled(3000);
    let page = granule(&segment, Kind::HASH_DIRECTORY);
    let entries: Vec<_> = (page + 8..page + LINE)
        .step_by(8)
        .map(|at| (at, segment.memory.load(at, Relaxed)))
        .filter(|(_, entry)| *entry != 0)
        .collect();
    let [(_, first), .., (at, last)] = entries[..] else { panic!("there are several tables") };
    let offset = (1 << 48) - 1;
    segment.memory.store(at, last & !offset | first & offset, Relaxed);
    let removed = segment.write(&mut patient(), |tx| map.remove(tx, "map"));
    assert!(matches!(removed, Err(Error::Corrupted { invariant: Invariant::HashDirectory, .. })));
    let violations = check(&segment, &mut patient()).unwrap();
    assert!(violations.iter().any(|found| found.invariant == Invariant::HashDirectory));
}

#[test]
fn a_check_tells_a_bounded_number_of_violations() {
    let (_files, segment, _) = filled(1);
    for granule in (segment.geometry.heap_at + 64 * LINE..segment.backed()).step_by(64) {
        let at = segment.geometry.place(granule).descriptor;
        segment.memory.store(at + descriptor::META, 1 << 24 | 1, Relaxed);
        (2..8).for_each(|word| segment.memory.store(at + word * 8, u64::MAX, Relaxed));
    }
    assert_eq!(check(&segment, &mut patient()).unwrap().len(), 10_000);
}

#[test]
fn a_queue_with_a_table_at_the_end_of_all_addresses_is_not_removed() {
    let (_files, segment, _) = filled(10);
    let root = segment.write(&mut patient(), |tx| Queue::create(tx, ("queue", 0), 8, 5)).unwrap();
    let queue = segment.read(&mut patient(), |peek| Queue::at(peek, root)).unwrap();
    // The second table of slots, which so short a queue never has.
    segment.memory.store(root.node + 5 * LINE + 16, u64::MAX - (LINE - 1), Relaxed);
    let removed = segment.write(&mut patient(), |tx| queue.remove(tx, "queue"));
    assert!(matches!(removed, Err(Error::Corrupted { .. })));
}
