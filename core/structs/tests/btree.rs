//! The B-tree against the standard library's.

mod common;

use common::{Attached, Files, patient};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use vasmem_engine::directory;
use vasmem_memory::Medium;
use vasmem_structs::BTree;
use vasmem_structs::btree::{Stop, Walk};
use vasmem_structs::check::check;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn create(segment: &Attached, name: &str) -> BTree {
    segment.write(&mut patient(), |tx| BTree::create(tx, name, 0, 42)).unwrap()
}

fn put(segment: &Attached, tree: &BTree, key: &[u8], value: &[u8]) -> bool {
    let mut record = Vec::new();
    segment.write(&mut patient(), |tx| tree.put(tx, key, value, &mut record)).unwrap()
}

fn delete(segment: &Attached, tree: &BTree, key: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    let range = segment.write(&mut patient(), |tx| tree.delete(tx, key, &mut record)).unwrap();
    range.map(|range| record[range].to_vec())
}

fn get(segment: &Attached, tree: &BTree, key: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    let range = segment.read(&mut patient(), |peek| tree.get(peek, key, &mut record)).unwrap();
    range.map(|range| record[range].to_vec())
}

/// All items from a bound on.
fn scan(
    segment: &Attached,
    tree: &BTree,
    from: Bound<Vec<u8>>,
    reverse: bool,
    limit: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut items = Vec::new();
    let mut next = Some(from);
    while let Some(from) = next {
        let from = from.as_ref().map(|key| &key[..]);
        let batch = segment
            .read(&mut patient(), |peek| tree.scan(peek, from, reverse, limit, true))
            .unwrap();
        let all = (0..batch.len()).filter_map(|i| batch.item(i));
        items.extend(all.map(|(key, value)| (key.to_vec(), value.to_vec())));
        next = batch.next;
    }
    items
}

fn items(segment: &Attached, tree: &BTree) -> Vec<(Vec<u8>, Vec<u8>)> {
    scan(segment, tree, Bound::Unbounded, false, usize::MAX)
}

fn walk(segment: &Attached, tree: &BTree, stop: Stop<'_>) -> Walk {
    let (mut passed, mut from) = (0, Vec::new());
    loop {
        let walked = segment.read(&mut patient(), |peek| tree.walk(peek, &from, passed, stop));
        match walked.unwrap() {
            Walk::Underway(count, next) => (passed, from) = (count, next),
            done => return done,
        }
    }
}

fn assert_sound(segment: &Attached) {
    assert_eq!(check(segment, &mut patient()).unwrap(), []);
}

fn put_all(segment: &Attached, tree: &BTree, pairs: &[(Vec<u8>, Vec<u8>)]) {
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let (mut done, mut record) = (0, Vec::new());
    while done < pairs.len() {
        let rest = &pairs[done..];
        let put = segment.write(&mut patient(), |tx| tree.put_sorted(tx, rest, &mut record));
        done += put.unwrap();
    }
}

fn clear(segment: &Attached, tree: &BTree) {
    let mut from = Some(Vec::new());
    while let Some(key) = from {
        from = segment.write(&mut patient(), |tx| tree.clear_from(tx, &key)).unwrap();
    }
}

fn key_of(i: u64) -> Vec<u8> {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec()
}

#[test]
fn a_tree_grows_by_splits_and_shrinks_again() {
    for medium in [Medium::Volatile, Medium::CacheLine] {
        let files = Files::new(1 << 20, 1 << 30, medium);
        let segment = files.attach();
        let tree = create(&segment, "t");
        let count = 30_000u64;
        let mut model = Model::new();
        for i in 0..count {
            let value = vec![i as u8; i as usize % 150];
            assert!(put(&segment, &tree, &key_of(i), &value));
            model.insert(key_of(i), value);
        }
        assert_sound(&segment);
        let other = files.attach();
        for (key, value) in &model {
            assert_eq!(get(&other, &tree, key).as_ref(), Some(value));
        }
        assert_eq!(get(&other, &tree, b"none"), None);
        let all: Vec<_> = model.clone().into_iter().collect();
        assert_eq!(items(&other, &tree), all);
        let backwards = scan(&other, &tree, Bound::Unbounded, true, 7);
        assert!(backwards.iter().eq(all.iter().rev()));
        assert_eq!(segment.read(&mut patient(), |peek| tree.len(peek)).unwrap(), count);
        for i in 0..count {
            assert!(delete(&other, &tree, &key_of(i)).is_some());
            if i % 10_000 == 0 {
                assert_sound(&segment);
            }
        }
        assert_eq!(items(&segment, &tree), []);
        assert_eq!(segment.read(&mut patient(), |peek| tree.levels(peek)).unwrap(), 1);
        assert_sound(&segment);
        segment.write(&mut patient(), |tx| tree.remove(tx, "t")).unwrap();
        let first = segment.geometry.directory_at;
        let found = segment.read(&mut patient(), |peek| directory::find(peek, first, "t"));
        assert_eq!(found.unwrap(), None);
        assert_sound(&segment);
    }
}

#[test]
fn ascending_and_descending_keys_fill_leaves() {
    for descending in [false, true] {
        let files = Files::new(1 << 20, 1 << 30, Medium::Volatile);
        let segment = files.attach();
        let tree = create(&segment, "t");
        let keys: Vec<_> = (0..9000u32).map(|i| format!("key {i:09}").into_bytes()).collect();
        for i in 0..keys.len() {
            put(&segment, &tree, &keys[if descending { keys.len() - 1 - i } else { i }], b"v");
        }
        assert_sound(&segment);
        assert!(items(&segment, &tree).iter().map(|(key, _)| key).eq(&keys));
    }
}

#[test]
fn sorted_input_is_built_in_bulk_and_merged() {
    let files = Files::new(1 << 20, 1 << 30, Medium::Volatile);
    let segment = files.attach();
    let tree = create(&segment, "t");
    let mut model = Model::new();
    for (step, byte) in [(3, b'a'), (5, b'b'), (1, b'c')] {
        let pairs: Vec<_> = (0..20_000u32)
            .step_by(step)
            .map(|i| (format!("k{i:07}").into_bytes(), vec![byte; step * 9]))
            .collect();
        put_all(&segment, &tree, &pairs);
        model.extend(pairs);
        assert_sound(&segment);
        assert!(items(&segment, &tree).into_iter().eq(model.clone()));
    }
    clear(&segment, &tree);
    assert_sound(&segment);
    assert_eq!(items(&segment, &tree), []);
    assert_eq!(segment.read(&mut patient(), |peek| tree.len(peek)).unwrap(), 0);
}

#[test]
fn places_are_counted_over_leaves() {
    let files = Files::new(1 << 20, 1 << 30, Medium::Volatile);
    let segment = files.attach();
    let tree = create(&segment, "t");
    let keys: Vec<_> = (0..7000u32).map(|i| format!("{i:05}").into_bytes()).collect();
    assert_eq!(walk(&segment, &tree, Stop::Count(0)), Walk::Arrived(0, Vec::new()));
    let pairs: Vec<_> = keys.iter().map(|key| (key.clone(), Vec::new())).collect();
    put_all(&segment, &tree, &pairs);
    for index in [0, 1, 57, 58, 3333, 6999] {
        for stop in [Stop::Count(index), Stop::Key(&keys[index as usize])] {
            let Walk::Arrived(passed, fence) = walk(&segment, &tree, stop) else { panic!("lost") };
            let rest = scan(&segment, &tree, Bound::Included(fence), false, 100);
            assert_eq!(rest[(index - passed) as usize].0, keys[index as usize]);
        }
    }
    assert_eq!(walk(&segment, &tree, Stop::Count(7000)), Walk::Ended(7000));
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, usize, u8),
    Delete(Vec<u8>),
    Get(Vec<u8>),
    From(Vec<u8>, bool, bool, usize),
    Bulk(Vec<Vec<u8>>),
    Clear,
    /// Several puts and deletes in one transaction that reads its own writes, then commits or is
    /// forgotten.
    Together(Vec<(Vec<u8>, usize)>, bool),
}

/// Keys with long common beginnings, keys that begin as others do, and zeros at their ends.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()], 0..3);
    let middle = prop_oneof![
        Just(Vec::new()),
        Just(b"prefix/".to_vec()),
        Just(b"prefix/of some length/".to_vec()),
        Just(vec![0; 8]),
        Just(vec![b'x'; 5000]),
    ];
    (middle, tail).prop_map(|(middle, tail)| [middle, tail].concat())
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![6 => 0usize..40, 1 => 3900usize..4200, 1 => 9000usize..50000];
    let many = prop::collection::vec(key(), 1..200);
    let pairs = prop::collection::vec((key(), size.clone()), 1..120);
    prop_oneof![
        4 => (key(), size, any::<u8>()).prop_map(|(k, s, b)| Step::Put(k, s, b)),
        3 => key().prop_map(Step::Delete),
        2 => key().prop_map(Step::Get),
        2 => (key(), any::<bool>(), any::<bool>(), 1usize..80)
            .prop_map(|(k, i, r, l)| Step::From(k, i, r, l)),
        2 => many.prop_map(Step::Bulk),
        1 => Just(Step::Clear),
        2 => (pairs, any::<bool>()).prop_map(|(puts, commit)| Step::Together(puts, commit)),
    ]
}

fn together(
    segment: &Attached,
    tree: &BTree,
    model: &Model,
    puts: &[(Vec<u8>, usize)],
    commit: bool,
) -> Option<Model> {
    let mut trial = model.clone();
    let mut record = Vec::new();
    let done = segment.write(&mut patient(), |tx| {
        trial = model.clone();
        for (number, (key, size)) in puts.iter().enumerate() {
            if number % 3 == 2 {
                let range = tree.delete(tx, key, &mut record)?;
                let old = range.map(|range| record[range].to_vec());
                assert_eq!(old, trial.remove(key));
                continue;
            }
            let value = vec![number as u8; *size];
            tree.put(tx, key, &value, &mut record)?;
            trial.insert(key.clone(), value);
            let range = tree.get(tx, key, &mut record)?.unwrap();
            assert_eq!(Some(&record[range].to_vec()), trial.get(key));
        }
        let mut seen = Vec::new();
        let mut next = Some(Bound::Unbounded);
        while let Some(from) = next {
            let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
            let batch = tree.scan(tx, from, false, usize::MAX, true)?;
            let all = (0..batch.len()).filter_map(|i| batch.item(i));
            seen.extend(all.map(|(key, value)| (key.to_vec(), value.to_vec())));
            next = batch.next;
        }
        assert!(seen.into_iter().eq(trial.clone()));
        if commit { Ok(()) } else { Err(vasmem_engine::Error::Removed) }
    });
    assert_eq!(done.is_ok(), commit);
    commit.then_some(trial)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_a_sorted_map(steps in prop::collection::vec(step(), 1..100), flush: bool) {
        let medium = if flush { Medium::CacheLine } else { Medium::Volatile };
        let files = Files::new(1 << 20, 256 << 20, medium);
        let (segment, other) = (files.attach(), files.attach());
        let tree = create(&segment, "t");
        let mut model = Model::new();
        for (number, step) in steps.into_iter().enumerate() {
            let segment = if number % 2 == 0 { &segment } else { &other };
            match step {
                Step::Put(key, size, byte) => {
                    let fresh = put(segment, &tree, &key, &vec![byte; size]);
                    prop_assert_eq!(fresh, model.insert(key, vec![byte; size]).is_none());
                }
                Step::Delete(key) => {
                    prop_assert_eq!(delete(segment, &tree, &key), model.remove(&key));
                }
                Step::Get(key) => {
                    prop_assert_eq!(get(segment, &tree, &key), model.get(&key).cloned());
                }
                Step::From(key, included, reverse, limit) => {
                    let bound = match included {
                        true => Bound::Included(key),
                        false => Bound::Excluded(key),
                    };
                    let found = scan(segment, &tree, bound.clone(), reverse, limit);
                    let own = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
                    let expected: Vec<_> = match reverse {
                        false => model.range((bound, Bound::Unbounded)).map(own).collect(),
                        true => model.range((Bound::Unbounded, bound)).rev().map(own).collect(),
                    };
                    prop_assert_eq!(found, expected);
                }
                Step::Bulk(mut keys) => {
                    keys.sort();
                    keys.dedup();
                    let pairs: Vec<_> =
                        keys.into_iter().map(|key| (key, vec![number as u8; 20])).collect();
                    put_all(segment, &tree, &pairs);
                    model.extend(pairs);
                }
                Step::Clear => {
                    clear(segment, &tree);
                    model.clear();
                }
                Step::Together(puts, commit) => {
                    if let Some(trial) = together(segment, &tree, &model, &puts, commit) {
                        model = trial;
                    }
                }
            }
        }
        let len = segment.read(&mut patient(), |peek| tree.len(peek)).unwrap();
        prop_assert_eq!(len, model.len() as u64);
        prop_assert!(items(&segment, &tree).into_iter().eq(model));
        prop_assert_eq!(check(&segment, &mut patient()).unwrap(), []);
    }
}

#[test]
fn one_long_transaction_fills_splits_and_joins() {
    let files = Files::new(1 << 20, 256 << 20, Medium::Volatile);
    let segment = files.attach();
    let tree = create(&segment, "t");
    let mut record = Vec::new();
    segment
        .write(&mut patient(), |tx| {
            for i in 0..6000u64 {
                assert!(tree.put(tx, &key_of(i), &[7; 50], &mut record)?);
            }
            for i in 0..6000u64 {
                assert!(tree.contains(tx, &key_of(i), &mut record)?, "key {i}");
            }
            for i in 0..5900u64 {
                assert!(tree.delete(tx, &key_of(i), &mut record)?.is_some());
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(items(&segment, &tree).len(), 100);
    assert_sound(&segment);
}
