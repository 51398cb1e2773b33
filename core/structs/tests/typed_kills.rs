//! A process dies at every numbered step of every change of a typed map: others read all or nothing
//! of it, before and after they recover it, and so they do after a power failure.
#![cfg(feature = "lab")]

mod deaths;

use deaths::{Tx, few};
use std::collections::BTreeMap;
use vasmem_engine::simulated::{Attached, Machine};
use vasmem_engine::{Access, Result};
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::{Cursor, Hash};
use vasmem_structs::record::Expected;
use vasmem_structs::typed::{self, Form, TypedMap};

type Items = BTreeMap<Vec<u8>, Vec<u8>>;

const KEY_BYTES: u64 = 12;
const VALUE_BYTES: u64 = 20;

fn items<A: Access>(map: &TypedMap, access: &mut A) -> Result<Items> {
    let (mut items, mut cursor) = (Items::new(), Cursor::default());
    while !cursor.is_done() {
        let (keys, values, next) = map.scan(access, cursor)?;
        let keys = keys.chunks(KEY_BYTES as usize).map(<[u8]>::to_vec);
        items.extend(keys.zip(values.chunks(VALUE_BYTES as usize).map(<[u8]>::to_vec)));
        cursor = next;
    }
    Ok(items)
}

fn key(i: u32) -> Vec<u8> {
    format!("key {i:08}").into_bytes()
}

fn value(i: u32) -> Vec<u8> {
    format!("value of {i:011}").into_bytes()
}

fn put(map: &TypedMap, tx: &mut Tx<'_>, i: u32, what: u32) -> Result<()> {
    map.put(tx, &key(i), &value(what), None).map(|_| ())
}

/// A change of a map that holds so many keys.
struct Change {
    name: &'static str,
    keys: u32,
    run: fn(&TypedMap, &mut Tx<'_>) -> Result<()>,
}

const CHANGES: [Change; 6] = [
    Change { name: "insert", keys: 10, run: |map, tx| put(map, tx, 99, 99) },
    Change { name: "replace", keys: 10, run: |map, tx| put(map, tx, 5, 99) },
    Change {
        name: "put if",
        keys: 10,
        run: |map, tx| {
            let old = value(7);
            map.put(tx, &key(7), &value(8), Some(Expected::Value(&old))).map(|_| ())
        },
    },
    Change {
        name: "delete",
        keys: 10,
        run: |map, tx| map.delete(tx, &key(3), &mut [0; VALUE_BYTES as usize]).map(|_| ()),
    },
    Change {
        name: "splits",
        keys: 150,
        run: |map, tx| (1000..1300).try_for_each(|i| put(map, tx, i, i)),
    },
    Change {
        name: "many",
        keys: 60,
        run: |map, tx| (0..60).step_by(3).try_for_each(|i| put(map, tx, i, i + 1)),
    },
];

fn put_last(segment: &Attached, map: &TypedMap) {
    segment.write(&mut few(), |tx| put(map, tx, 9999, 0)).unwrap();
}

impl deaths::Change for Change {
    type Subject = TypedMap;
    type Found = Items;

    fn name(&self) -> &'static str {
        self.name
    }

    fn world(&self, medium: Medium) -> (Machine, Attached, TypedMap) {
        let machine = Machine::new(1 << 20, 4, 4096, medium);
        let segment = machine.attach(1);
        let form = Form::new(KEY_BYTES, VALUE_BYTES).unwrap();
        let map =
            segment.write(&mut few(), |tx| TypedMap::create(tx, "map", form, b"", 7)).unwrap();
        for i in 0..self.keys {
            segment.write(&mut few(), |tx| put(&map, tx, i, i)).unwrap();
        }
        (machine, segment, map)
    }

    fn run(&self, map: &TypedMap, tx: &mut Tx<'_>) -> Result<()> {
        (self.run)(map, tx)
    }

    fn found<A: Access>(map: &TypedMap, access: &mut A) -> Result<Items> {
        items(map, access)
    }
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = deaths::outcomes(change);
        let deaths = deaths::each_death(change, Medium::Volatile, |machine, map| {
            let seen = deaths::read::<Change>(&machine, &map);
            assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
            let other = machine.attach(2);
            put_last(&other, &map);
            let mut found = deaths::snapshot::<Change>(&other, &map);
            assert!(found.remove(&key(9999)).is_some());
            assert_eq!(found, seen, "{}: recovery decides otherwise", change.name);
            assert_eq!(check(&other, &mut few()).unwrap(), [], "{}", change.name);
        });
        assert!(deaths > 10, "{}: only {deaths} deaths", change.name);
    }
}

#[test]
fn readers_in_the_middle_of_a_change_see_all_or_nothing() {
    CHANGES.iter().for_each(deaths::readers_in_the_middle_see_all_or_nothing);
}

#[test]
fn a_power_failure_leaves_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        deaths::a_power_failure_leaves_all_or_nothing(change, put_last);
    }
}

/// Before each word that it reads, another process gives the key another value.
#[test]
fn a_reader_in_the_middle_of_a_node_sees_one_value() {
    let mut nth = 0;
    loop {
        let (machine, _segment, map) = deaths::Change::world(&CHANGES[1], Medium::Volatile);
        let (reader, writer) = (machine.attach_readonly(), machine.attach(2));
        let words: Vec<u64> = typed::words(&key(5)).collect();
        let hash = Hash::of(&key(5), reader.geometry.seed);
        let mut found = [0; VALUE_BYTES as usize];
        reader.memory.interrupt_at(nth, move || {
            writer.write(&mut few(), |tx| map.put(tx, &key(5), &[b'n'; 20], None)).unwrap();
        });
        let there = reader.read(&mut few(), |peek| map.get(peek, hash, &words, &mut found));
        assert!(there.unwrap());
        let is_whole = found[..] == value(5) || found == [b'n'; VALUE_BYTES as usize];
        assert!(is_whole, "half, before load {nth}: {found:?}");
        if !reader.memory.was_interrupted() {
            break;
        }
        nth += 1;
    }
    assert!(nth > 10, "only {nth} loads");
}
