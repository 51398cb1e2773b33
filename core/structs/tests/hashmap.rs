//! The hash map against the standard library's.

mod common;

use common::{Attached, Files, patient};
use proptest::prelude::*;
use std::collections::BTreeMap;
use vasmem_engine::directory;
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::{Cursor, HashMap};

fn create(segment: &Attached, name: &str) -> HashMap {
    segment.write(&mut patient(), |tx| HashMap::create(tx, name, 0, 42)).unwrap()
}

fn put(segment: &Attached, map: &HashMap, key: &[u8], value: &[u8]) -> bool {
    let mut record = Vec::new();
    segment.write(&mut patient(), |tx| map.put(tx, key, value, &mut record)).unwrap()
}

fn delete(segment: &Attached, map: &HashMap, key: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    let range = segment.write(&mut patient(), |tx| map.delete(tx, key, &mut record)).unwrap();
    range.map(|range| record[range].to_vec())
}

fn get(segment: &Attached, map: &HashMap, key: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    let range = segment.read(&mut patient(), |peek| map.get(peek, key, &mut record)).unwrap();
    range.map(|range| record[range].to_vec())
}

fn items(segment: &Attached, map: &HashMap) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut cursor = Cursor::default();
    while !cursor.is_done() {
        let (items, next) =
            segment.read(&mut patient(), |peek| map.scan(peek, cursor, true)).unwrap();
        for (key, value) in items {
            assert!(all.insert(key, value).is_none(), "a key came twice");
        }
        cursor = next;
    }
    all
}

fn assert_sound(segment: &Attached) {
    assert_eq!(check(segment, &mut patient()).unwrap(), []);
}

#[test]
fn a_map_grows_through_many_splits_and_shrinks_again() {
    for medium in [Medium::Volatile, Medium::CacheLine] {
        let files = Files::new(1 << 20, 1 << 30, medium);
        let segment = files.attach();
        let map = create(&segment, "m");
        let count = 30_000u64;
        for i in 0..count {
            assert!(put(&segment, &map, &i.to_le_bytes(), &vec![i as u8; i as usize % 150]));
        }
        assert_sound(&segment);
        let other = files.attach();
        for i in 0..count {
            let value = get(&other, &map, &i.to_le_bytes());
            assert_eq!(value, Some(vec![i as u8; i as usize % 150]), "key {i}");
        }
        assert_eq!(get(&other, &map, b"none"), None);
        assert_eq!(items(&other, &map).len() as u64, count);
        let len = segment.read(&mut patient(), |peek| map.len(peek)).unwrap();
        assert_eq!(len, count);
        for i in 0..count {
            assert!(delete(&other, &map, &i.to_le_bytes()).is_some());
        }
        assert_eq!(items(&segment, &map).len(), 0);
        assert_sound(&segment);
        segment
            .write(&mut patient(), |tx| {
                map.remove(tx, "m")?;
                directory::find(tx, tx.segment.geometry.directory_at, "m").map(|found| {
                    assert_eq!(found, None);
                })
            })
            .unwrap();
        assert_sound(&segment);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize, u8),
    Delete(u8),
    Get(u8),
    /// Several puts in one transaction that reads its own writes, then commits or is forgotten.
    Together(Vec<(u8, usize)>, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let size =
        prop_oneof![0usize..40, 90usize..130, 400usize..600, 3900usize..4200, 9000usize..50000];
    prop_oneof![
        4 => (any::<u8>(), size.clone(), any::<u8>()).prop_map(|(k, s, b)| Step::Put(k, s, b)),
        2 => any::<u8>().prop_map(Step::Delete),
        2 => any::<u8>().prop_map(Step::Get),
        1 => (prop::collection::vec((any::<u8>(), size), 1..8), any::<bool>())
            .prop_map(|(puts, commit)| Step::Together(puts, commit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec(step(), 1..120), flush: bool) {
        let medium = if flush { Medium::CacheLine } else { Medium::Volatile };
        let files = Files::new(1 << 20, 64 << 20, medium);
        let (segment, other) = (files.attach(), files.attach());
        let map = create(&segment, "m");
        let mut model = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let segment = if number % 2 == 0 { &segment } else { &other };
            match step {
                Step::Put(key, size, byte) => {
                    let fresh = put(segment, &map, &[key], &vec![byte; size]);
                    prop_assert_eq!(fresh, model.insert(vec![key], vec![byte; size]).is_none());
                }
                Step::Delete(key) => {
                    prop_assert_eq!(delete(segment, &map, &[key]), model.remove(&vec![key]));
                }
                Step::Get(key) => {
                    prop_assert_eq!(get(segment, &map, &[key]), model.get(&vec![key]).cloned());
                }
                Step::Together(puts, commit) => {
                    let mut trial = model.clone();
                    let mut record = Vec::new();
                    let done = segment.write(&mut patient(), |tx| {
                        trial = model.clone();
                        for (key, size) in &puts {
                            map.put(tx, &[*key], &vec![*key; *size], &mut record)?;
                            trial.insert(vec![*key], vec![*key; *size]);
                            let range = map.get(tx, &[*key], &mut record)?.unwrap();
                            assert_eq!(&record[range], &vec![*key; *size]);
                        }
                        for (key, value) in &trial {
                            let range = map.get(tx, key, &mut record)?.unwrap();
                            assert_eq!(&record[range], value);
                        }
                        if commit { Ok(()) } else { Err(vasmem_engine::Error::Removed) }
                    });
                    prop_assert_eq!(done.is_ok(), commit);
                    if commit {
                        model = trial;
                    }
                }
            }
        }
        prop_assert_eq!(items(&segment, &map), model);
        prop_assert_eq!(check(&segment, &mut patient()).unwrap(), []);
    }
}

#[test]
fn one_long_transaction_fills_and_splits() {
    let files = Files::new(1 << 20, 256 << 20, Medium::Volatile);
    let segment = files.attach();
    let map = create(&segment, "m");
    let mut record = Vec::new();
    segment
        .write(&mut patient(), |tx| {
            for i in 0..6000u64 {
                assert!(map.put(tx, &i.to_le_bytes(), &[7; 50], &mut record)?);
            }
            for i in 0..6000u64 {
                assert!(map.contains(tx, &i.to_le_bytes(), &mut record)?, "key {i}");
            }
            for i in 0..3000u64 {
                assert!(map.delete(tx, &i.to_le_bytes(), &mut record)?.is_some());
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(items(&segment, &map).len(), 3000);
    assert_sound(&segment);
}
