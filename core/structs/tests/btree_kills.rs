//! A process dies at every numbered step of every change of a tree's shape: others read all or
//! nothing of it, before and after they recover it, and so they do after a power failure.
#![cfg(feature = "lab")]

mod deaths;

use deaths::{Tx, few};
use std::ops::Bound;
use vasmem_engine::simulated::{Attached, Machine};
use vasmem_engine::{Access, Result};
use vasmem_memory::Medium;
use vasmem_structs::BTree;
use vasmem_structs::check::check;
use vasmem_structs::record::Expected;

type Items = Vec<(Vec<u8>, Vec<u8>)>;

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

impl deaths::Change for Change {
    type Subject = BTree;
    type Found = Items;

    fn name(&self) -> &'static str {
        self.name
    }

    fn world(&self, medium: Medium) -> (Machine, Attached, BTree) {
        let machine = Machine::new(1 << 20, 4, 4096, medium);
        let segment = machine.attach(1);
        let tree = segment.write(&mut few(), |tx| BTree::create(tx, "tree", 0, 7)).unwrap();
        for i in 0..self.keys {
            let i = i * 10;
            segment
                .write(&mut few(), |tx| tree.put(tx, &key(i), &value(i), &mut Vec::new()))
                .unwrap();
        }
        (machine, segment, tree)
    }

    fn run(&self, tree: &BTree, tx: &mut Tx<'_>) -> Result<()> {
        (self.run)(tree, tx)
    }

    fn found<A: Access>(tree: &BTree, access: &mut A) -> Result<Items> {
        items(tree, access)
    }
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = deaths::outcomes(change);
        let deaths = deaths::each_death(change, Medium::Volatile, |machine, tree| {
            let seen = deaths::read::<Change>(&machine, &tree);
            assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
            let other = machine.attach(2);
            put_one(&other, &tree, b"~last");
            let mut found = deaths::snapshot::<Change>(&other, &tree);
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
    CHANGES.iter().for_each(deaths::readers_in_the_middle_see_all_or_nothing);
}

#[test]
fn a_power_failure_leaves_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        deaths::a_power_failure_leaves_all_or_nothing(change, |segment, tree| {
            put_one(segment, tree, b"~last")
        });
    }
}
