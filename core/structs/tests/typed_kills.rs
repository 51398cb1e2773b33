//! A process dies at every numbered step of every change of a typed map: others read all or nothing
//! of it, before and after they recover it, and so they do after a power failure.
#![cfg(feature = "lab")]

use std::collections::BTreeMap;
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::simulated::{Attached, Bounded, Machine, Port, Process};
use vasmem_engine::{Access, Error, Result, Transaction};
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::Cursor;
use vasmem_structs::record::Expected;
use vasmem_structs::typed::{Form, TypedMap};

type Tx<'a> = Transaction<'a, Port, Process>;
type Items = BTreeMap<Vec<u8>, Vec<u8>>;

const COMMIT: [Point; 10] = [
    Point::Prepared,
    Point::Locked,
    Point::Validated,
    Point::Filled,
    Point::Fenced,
    Point::Committed,
    Point::Applied,
    Point::Persisted,
    Point::Unlocked,
    Point::Idle,
];
/// Times that a point is reached in one change that are tried one by one; above, some of them.
const EACH: u32 = 12;
const KEY_BYTES: u64 = 12;
const VALUE_BYTES: u64 = 20;

fn few() -> Bounded {
    Bounded(200)
}

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

/// All items at one time: a transaction that changes nothing.
fn snapshot(segment: &Attached, map: &TypedMap) -> Items {
    segment.write(&mut few(), |tx| items(map, tx)).unwrap()
}

/// All items as a reader finds them while nobody moves.
fn read(machine: &Machine, map: &TypedMap) -> Items {
    machine.attach_readonly().read(&mut few(), |peek| items(map, peek)).unwrap()
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

/// A machine with a map that the change is to be done to.
fn world(change: &Change, medium: Medium) -> (Machine, Attached, TypedMap) {
    let machine = Machine::new(1 << 20, 4, 4096, medium);
    let segment = machine.attach(1);
    let form = Form::new(KEY_BYTES, VALUE_BYTES).unwrap();
    let map = segment.write(&mut few(), |tx| TypedMap::create(tx, "map", form, b"", 7)).unwrap();
    for i in 0..change.keys {
        segment.write(&mut few(), |tx| put(&map, tx, i, i)).unwrap();
    }
    (machine, segment, map)
}

fn done(change: &Change, segment: &Attached, map: &TypedMap) -> Result<()> {
    segment.write(&mut few(), |tx| (change.run)(map, tx))
}

/// Each way in which process 1 can die during a change.
fn each_death(change: &Change, medium: Medium, mut then: impl FnMut(Machine, TypedMap)) -> u32 {
    let mut deaths = 0;
    for point in COMMIT {
        let mut nth = 0;
        loop {
            let (machine, segment, map) = world(change, medium);
            segment.switches.arm(point, nth, Action::Return);
            match done(change, &segment, &map) {
                Ok(()) => break,
                Err(Error::Died) => {}
                Err(other) => panic!("{}: {other}", change.name),
            }
            machine.kill(1);
            then(machine, map);
            deaths += 1;
            nth += if nth < EACH { 1 } else { 1 + nth / 3 };
        }
    }
    deaths
}

/// What the map holds before and after the change.
fn outcomes(change: &Change) -> [Items; 2] {
    let (_, segment, map) = world(change, Medium::Volatile);
    let before = snapshot(&segment, &map);
    done(change, &segment, &map).unwrap();
    assert_eq!(check(&segment, &mut few()).unwrap(), []);
    let after = snapshot(&segment, &map);
    assert_ne!(before, after, "{} changes nothing", change.name);
    [before, after]
}

fn put_last(segment: &Attached, map: &TypedMap) {
    segment.write(&mut few(), |tx| put(map, tx, 9999, 0)).unwrap();
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let deaths = each_death(change, Medium::Volatile, |machine, map| {
            let seen = read(&machine, &map);
            assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
            let other = machine.attach(2);
            put_last(&other, &map);
            let mut found = snapshot(&other, &map);
            assert!(found.remove(&key(9999)).is_some());
            assert_eq!(found, seen, "{}: recovery decides otherwise", change.name);
            assert_eq!(check(&other, &mut few()).unwrap(), [], "{}", change.name);
        });
        assert!(deaths > 10, "{}: only {deaths} deaths", change.name);
    }
}

#[test]
fn readers_in_the_middle_of_a_change_see_all_or_nothing() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let (machine, segment, map) = world(change, Medium::Volatile);
        let (port, others) = (machine.clone(), outcomes.clone());
        segment.switches.watch(move |_| {
            let reader = port.attach(3);
            assert!(others.contains(&read(&port, &map)), "a reader sees half");
            assert!(others.contains(&snapshot(&reader, &map)), "a transaction sees half");
        });
        done(change, &segment, &map).unwrap();
    }
}

#[test]
fn a_power_failure_leaves_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let mut seed = 0u64;
        each_death(change, Medium::CacheLine, |machine, map| {
            for kind in 0..4 {
                let crashed = machine.crash(|_| match kind {
                    0 => false,
                    1 => true,
                    _ => {
                        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e);
                        seed >> 63 == 0
                    }
                });
                let last = crashed.attach(5);
                last.recover_power_failure().unwrap();
                let found = snapshot(&last, &map);
                assert!(outcomes.contains(&found), "{}: half of it is left", change.name);
                put_last(&last, &map);
                assert_eq!(check(&last, &mut few()).unwrap(), [], "{}", change.name);
            }
        });
    }
}
