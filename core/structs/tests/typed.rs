//! The typed map against the standard library's.

mod common;

use common::{Attached, Files, patient};
use proptest::prelude::*;
use std::collections::HashMap as StdMap;
use vasmem_engine::{Error, Glance, directory};
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::{Cursor, Hash};
use vasmem_structs::record::Expected;
use vasmem_structs::typed::{ENTRY_BYTES_MAX, Form, GROUP, KEY_BYTES_MAX, Put, TypedMap, words};

type Model = StdMap<Vec<u8>, Vec<u8>>;

fn create(segment: &Attached, form: Form) -> TypedMap {
    segment.write(&mut patient(), |tx| TypedMap::create(tx, "typed", form, b"types", 42)).unwrap()
}

fn put(segment: &Attached, map: &TypedMap, key: &[u8], value: &[u8]) -> Put {
    segment.write(&mut patient(), |tx| map.put(tx, key, value, None)).unwrap()
}

fn get(segment: &Attached, map: &TypedMap, key: &[u8]) -> Option<Vec<u8>> {
    let hash = Hash::of(key, segment.geometry.seed);
    let key: Vec<u64> = words(key).collect();
    let mut value = vec![0; map.form.value_bytes as usize];
    let there = segment.read(&mut patient(), |peek| map.get(peek, hash, &key, &mut value));
    there.unwrap().then_some(value)
}

fn delete(segment: &Attached, map: &TypedMap, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0; map.form.value_bytes as usize];
    let there = segment.write(&mut patient(), |tx| map.delete(tx, key, &mut value)).unwrap();
    there.then_some(value)
}

fn contents(segment: &Attached, map: &TypedMap) -> Model {
    let (mut cursor, mut found) = (Cursor::default(), Model::new());
    while !cursor.is_done() {
        let (keys, values, next) =
            segment.read(&mut patient(), |peek| map.scan(peek, cursor)).unwrap();
        let keys = keys.chunks(map.form.key_bytes as usize);
        let width = map.form.value_bytes as usize;
        for (number, key) in keys.enumerate() {
            let value = values[number * width..][..width].to_vec();
            assert_eq!(found.insert(key.to_vec(), value), None, "a key came twice");
        }
        cursor = next;
    }
    found
}

fn assert_sound(segment: &Attached) {
    assert_eq!(check(segment, &mut patient()).unwrap(), []);
}

fn key_of(form: &Form, number: u64) -> Vec<u8> {
    let mut key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().repeat(32);
    key.truncate(form.key_bytes as usize);
    key
}

fn value_of(form: &Form, number: u64) -> Vec<u8> {
    let mut value = (!number).to_le_bytes().repeat(64);
    value.truncate(form.value_bytes as usize);
    value
}

#[test]
fn it_grows_and_forgets_nothing() {
    for (key_bytes, value_bytes) in [(8, 8), (4, 0), (16, 8), (3, 100), (256, 248)] {
        let segment = Files::new(1 << 20, 256 << 20, Medium::Volatile).attach();
        let form = Form::new(key_bytes, value_bytes).unwrap();
        let map = create(&segment, form);
        let count = 20_000;
        let mut model = Model::new();
        for number in 0..count {
            let (key, value) = (key_of(&form, number), value_of(&form, number));
            let new = model.insert(key.clone(), value.clone()).is_none();
            let done = put(&segment, &map, &key, &value);
            assert_eq!(done, if new { Put::Inserted } else { Put::Replaced });
        }
        assert_eq!(contents(&segment, &map), model);
        assert_sound(&segment);
        let slots = segment.read(&mut patient(), |peek| map.slots(peek)).unwrap();
        assert!(model.len() as f64 / slots as f64 > 0.3, "{} of {slots} in use", model.len());
        for (key, value) in &model {
            assert_eq!(get(&segment, &map, key).as_ref(), Some(value));
        }
        for number in (0..count).step_by(3) {
            let key = key_of(&form, number);
            assert_eq!(delete(&segment, &map, &key), model.remove(&key));
        }
        assert_eq!(contents(&segment, &map), model);
        let len = segment.read(&mut patient(), |peek| map.len(peek)).unwrap();
        assert_eq!(len, model.len() as u64);
        assert_sound(&segment);
    }
}

#[test]
fn keys_in_the_stash_are_found_after_a_split() {
    let segment = Files::new(1 << 20, 64 << 20, Medium::Volatile).attach();
    let form = Form::new(8, 8).unwrap();
    let map = create(&segment, form);
    for number in 0..5000 {
        put(&segment, &map, &key_of(&form, number), &value_of(&form, number));
    }
    for number in 0..5000 {
        let found = get(&segment, &map, &key_of(&form, number));
        assert_eq!(found, Some(value_of(&form, number)), "key number {number}");
    }
}

#[test]
fn a_group_is_found_at_a_glance() {
    let segment = Files::new(1 << 20, 64 << 20, Medium::Volatile).attach();
    let form = Form::new(8, 8).unwrap();
    let map = create(&segment, form);
    for number in 0..5000 {
        put(&segment, &map, &key_of(&form, number), &value_of(&form, number));
    }
    let mut glance = Glance::new(&segment);
    for from in (0..6000).step_by(GROUP) {
        let keys: Vec<_> = (from..from + GROUP as u64).map(|n| key_of(&form, n)).collect();
        let hashes: Vec<_> = keys.iter().map(|key| Hash::of(key, segment.geometry.seed)).collect();
        let tables = map.ask(&mut glance, &hashes);
        for ((number, hash), table) in (from..).zip(&hashes).zip(&tables) {
            let key: Vec<u64> = words(&key_of(&form, number)).collect();
            let mut value = [0; 8];
            let table = table.as_ref().expect("nobody is in between");
            let there = map.get_asked(&mut glance, table, *hash, &key, &mut value).unwrap();
            assert_eq!(there, number < 5000);
            assert!(!there || value[..] == value_of(&form, number));
        }
    }
}

#[test]
fn it_is_removed_with_all_that_it_had() {
    let segment = Files::new(1 << 20, 64 << 20, Medium::Volatile).attach();
    let form = Form::new(8, 24).unwrap();
    let used = segment.used_bytes();
    for _ in 0..3 {
        let map = create(&segment, form);
        for number in 0..3000 {
            put(&segment, &map, &key_of(&form, number), &value_of(&form, number));
        }
        segment.write(&mut patient(), |tx| map.remove(tx, "typed")).unwrap();
        let key = key_of(&form, 1);
        let hash = Hash::of(&key, segment.geometry.seed);
        let key: Vec<u64> = words(&key).collect();
        let gone = segment.read(&mut patient(), |peek| map.get(peek, hash, &key, &mut [0; 24]));
        assert!(matches!(gone, Err(Error::Removed)));
        assert_sound(&segment);
    }
    assert!(segment.used_bytes() <= used + (2 << 20), "removed maps still take memory");
}

#[test]
fn another_attachment_opens_it_with_its_description() {
    let files = Files::new(1 << 20, 64 << 20, Medium::Volatile);
    let (one, two) = (files.attach(), files.attach());
    let map = create(&one, Form::new(8, 8).unwrap());
    put(&one, &map, b"8 bytes!", b"8 others");
    let at = two.geometry.directory_at;
    let open = |name| two.read(&mut patient(), |peek| TypedMap::open(peek, at, name));
    let found = open("typed").unwrap().unwrap();
    assert_eq!(found, map);
    let description = two.read(&mut patient(), |peek| found.description(peek)).unwrap();
    assert_eq!(description, b"types");
    assert_eq!(get(&two, &found, b"8 bytes!").unwrap(), b"8 others");
    assert!(open("other").unwrap().is_none());
    let names = two.read(&mut patient(), |peek| directory::list(peek, at)).unwrap();
    assert_eq!(names.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn it_does_what_a_map_does(
        key_bytes in 1..=KEY_BYTES_MAX,
        value_bytes in 0..=ENTRY_BYTES_MAX,
        steps in prop::collection::vec((0u64..400, 0u8..6, any::<u64>()), 1..600),
    ) {
        let Some(form) = Form::new(key_bytes, value_bytes) else { return Ok(()) };
        let segment = Files::new(1 << 20, 64 << 20, Medium::CacheLine).attach();
        let map = create(&segment, form);
        let mut model = Model::new();
        for (number, what, other) in steps {
            let (key, value) = (key_of(&form, number), value_of(&form, other));
            match what {
                0 => prop_assert_eq!(delete(&segment, &map, &key), model.remove(&key)),
                1 => prop_assert_eq!(get(&segment, &map, &key), model.get(&key).cloned()),
                2 => {
                    let expected = Some(Expected::Absent);
                    let done = segment
                        .write(&mut patient(), |tx| map.put(tx, &key, &value, expected))
                        .unwrap();
                    prop_assert_eq!(done == Put::Inserted, !model.contains_key(&key));
                    model.entry(key).or_insert(value);
                }
                3 => {
                    let old = value_of(&form, other & 1);
                    let expected = Some(Expected::Value(&old));
                    let done = segment
                        .write(&mut patient(), |tx| map.put(tx, &key, &value, expected))
                        .unwrap();
                    let fits = model.get(&key) == Some(&old);
                    prop_assert_eq!(done == Put::Replaced, fits);
                    if fits {
                        model.insert(key, value);
                    }
                }
                _ => {
                    put(&segment, &map, &key, &value);
                    model.insert(key, value);
                }
            }
        }
        prop_assert_eq!(contents(&segment, &map), model);
        assert_sound(&segment);
    }
}
