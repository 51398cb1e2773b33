//! A process dies at every numbered step of every change of a tree's shape: others read all or
//! nothing of it, before and after they recover it, and so they do after a power failure.
#![cfg(feature = "lab")]

use std::ops::Bound;
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::simulated::{Attached, Bounded, Machine, Port, Process};
use vasmem_engine::{Access, Error, Result, Transaction};
use vasmem_memory::Medium;
use vasmem_structs::BTree;
use vasmem_structs::check::check;
use vasmem_structs::record::Expected;

type Tx<'a> = Transaction<'a, Port, Process>;
type Items = Vec<(Vec<u8>, Vec<u8>)>;

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

fn few() -> Bounded {
    Bounded(200)
}

fn items<A: Access>(tree: &BTree, access: &mut A) -> Result<Items> {
    let (mut items, mut next) = (Items::new(), Some(Bound::Unbounded));
    while let Some(from) = next {
        let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
        let batch = tree.scan(access, from, false, usize::MAX, true)?;
        let all = (0..batch.len()).filter_map(|i| batch.item(i));
        items.extend(all.map(|(key, value)| (key.to_vec(), value.to_vec())));
        next = batch.next;
    }
    Ok(items)
}

/// All items at one time: a transaction that changes nothing.
fn snapshot(segment: &Attached, tree: &BTree) -> Items {
    segment.write(&mut few(), |tx| items(tree, tx)).unwrap()
}

/// All items as a reader finds them while nobody moves.
fn read(machine: &Machine, tree: &BTree) -> Items {
    machine.attach_readonly().read(&mut few(), |peek| items(tree, peek)).unwrap()
}

fn key(i: u32) -> Vec<u8> {
    format!("key {i:06}").into_bytes()
}

fn value(i: u32) -> Vec<u8> {
    format!("value of key {i:06}").into_bytes()
}

/// A change of a tree that holds so many keys, each tenth one.
struct Change {
    name: &'static str,
    keys: u32,
    run: fn(&BTree, &mut Tx<'_>) -> Result<()>,
}

fn put(tree: &BTree, tx: &mut Tx<'_>, i: u32, bytes: usize) -> Result<()> {
    tree.put(tx, &key(i), &vec![b'n'; bytes], &mut Vec::new()).map(|_| ())
}

fn delete(tree: &BTree, tx: &mut Tx<'_>, keys: impl Iterator<Item = u32>) -> Result<()> {
    for i in keys {
        tree.delete(tx, &key(i), &mut Vec::new())?;
    }
    Ok(())
}

fn bulk(tree: &BTree, tx: &mut Tx<'_>) -> Result<()> {
    let keys: Vec<_> = (0..150).map(|i| key(i * 7)).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (&key[..], &b"bulk"[..])).collect();
    tree.put_sorted(tx, &pairs, &mut Vec::new()).map(|_| ())
}

const CHANGES: [Change; 10] = [
    Change { name: "insert", keys: 10, run: |tree, tx| put(tree, tx, 5, 30) },
    Change { name: "replace in place", keys: 10, run: |tree, tx| put(tree, tx, 50, 18) },
    Change { name: "replace by a large value", keys: 10, run: |tree, tx| put(tree, tx, 50, 9000) },
    Change {
        name: "put if",
        keys: 10,
        run: |tree, tx| {
            let (key, old) = (key(90), value(90));
            tree.put_if(tx, &key, Expected::Value(&old), b"new", &mut Vec::new()).map(|_| ())
        },
    },
    Change { name: "split of the root", keys: 58, run: |tree, tx| put(tree, tx, 301, 30) },
    Change { name: "split of a leaf", keys: 87, run: |tree, tx| put(tree, tx, 5, 30) },
    Change { name: "split up to the root", keys: 58 * 58, run: |tree, tx| put(tree, tx, 5, 30) },
    Change {
        name: "join up to the root",
        keys: 70,
        run: |tree, tx| delete(tree, tx, (0..50).map(|i| i * 10)),
    },
    Change { name: "bulk", keys: 100, run: bulk },
    Change { name: "clear", keys: 130, run: |tree, tx| tree.clear_from(tx, b"").map(|_| ()) },
];

/// A machine with a tree that the change is to be done to.
fn world(change: &Change, medium: Medium) -> (Machine, Attached, BTree) {
    let machine = Machine::new(1 << 20, 4, 4096, medium);
    let segment = machine.attach(1);
    let tree = segment.write(&mut few(), |tx| BTree::create(tx, "tree", 0, 7)).unwrap();
    for i in 0..change.keys {
        let i = i * 10;
        segment.write(&mut few(), |tx| tree.put(tx, &key(i), &value(i), &mut Vec::new())).unwrap();
    }
    (machine, segment, tree)
}

fn done(change: &Change, segment: &Attached, tree: &BTree) -> Result<()> {
    segment.write(&mut few(), |tx| (change.run)(tree, tx))
}

/// Each way in which process 1 can die during a change.
fn each_death(change: &Change, medium: Medium, mut then: impl FnMut(Machine, BTree)) -> u32 {
    let mut deaths = 0;
    for point in COMMIT {
        let mut nth = 0;
        loop {
            let (machine, segment, tree) = world(change, medium);
            segment.switches.arm(point, nth, Action::Return);
            match done(change, &segment, &tree) {
                Ok(()) => break,
                Err(Error::Died) => {}
                Err(other) => panic!("{}: {other}", change.name),
            }
            machine.kill(1);
            then(machine, tree);
            deaths += 1;
            nth += if nth < EACH { 1 } else { 1 + nth / 3 };
        }
    }
    deaths
}

/// What the tree holds before and after the change.
fn outcomes(change: &Change) -> [Items; 2] {
    let (_, segment, tree) = world(change, Medium::Volatile);
    let before = snapshot(&segment, &tree);
    done(change, &segment, &tree).unwrap();
    assert_eq!(check(&segment, &mut few()).unwrap(), []);
    let after = snapshot(&segment, &tree);
    assert_ne!(before, after, "{} changes nothing", change.name);
    [before, after]
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let deaths = each_death(change, Medium::Volatile, |machine, tree| {
            let seen = read(&machine, &tree);
            assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
            let other = machine.attach(2);
            put_one(&other, &tree, b"~last");
            let mut found = snapshot(&other, &tree);
            assert_eq!(found.pop().map(|(key, _)| key), Some(b"~last".to_vec()));
            assert_eq!(found, seen, "{}: recovery decides otherwise", change.name);
            assert_eq!(check(&other, &mut few()).unwrap(), [], "{}", change.name);
        });
        assert!(deaths > 10, "{}: only {deaths} deaths", change.name);
    }
}

fn put_one(segment: &Attached, tree: &BTree, key: &[u8]) {
    segment.write(&mut few(), |tx| tree.put(tx, key, b"", &mut Vec::new())).unwrap();
}

#[test]
fn readers_in_the_middle_of_a_change_see_all_or_nothing() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let (machine, segment, tree) = world(change, Medium::Volatile);
        let (port, others) = (machine.clone(), outcomes.clone());
        segment.switches.watch(move |_| {
            let reader = port.attach(3);
            assert!(others.contains(&read(&port, &tree)), "a reader sees half");
            assert!(others.contains(&snapshot(&reader, &tree)), "a transaction sees half");
        });
        done(change, &segment, &tree).unwrap();
    }
}

#[test]
fn a_power_failure_leaves_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let mut seed = 0u64;
        each_death(change, Medium::CacheLine, |machine, tree| {
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
                let found = snapshot(&last, &tree);
                assert!(outcomes.contains(&found), "{}: half of it is left", change.name);
                put_one(&last, &tree, b"~last");
                assert_eq!(check(&last, &mut few()).unwrap(), [], "{}", change.name);
            }
        });
    }
}
