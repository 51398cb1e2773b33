//! A process dies at every numbered step of every change of a typed tree: others read all or
//! nothing of it, before and after they recover it, and so they do after a power failure.
#![cfg(feature = "lab")]

mod deaths;

use deaths::{Tx, few};
use std::ops::Bound;
use vasmem_engine::simulated::{Attached, Machine};
use vasmem_engine::{Access, Result};
use vasmem_memory::Medium;
use vasmem_structs::BTree;
use vasmem_structs::btree::{Columns, Form};
use vasmem_structs::check::check;
use vasmem_structs::record::Expected;

const KEY_BYTES: u64 = 12;
const VALUE_BYTES: u64 = 20;
/// Entries of a leaf.
const CAPACITY: u32 = 23;

type Columned = (Vec<u8>, Vec<u8>);

fn items<A: Access>(tree: &BTree, access: &mut A) -> Result<Columned> {
    let (mut columns, mut next) = (Columns::default(), Some(Bound::Unbounded));
    while let Some(from) = next {
        let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
        let edges = (from, Bound::Unbounded);
        next = tree.scan_inline(access, edges, false, usize::MAX, &mut columns)?;
    }
    Ok((columns.keys, columns.values))
}

fn key(i: u32) -> Vec<u8> {
    format!("key {i:08}").into_bytes()
}

fn value(i: u32) -> Vec<u8> {
    format!("value of {i:011}").into_bytes()
}

fn put(tree: &BTree, tx: &mut Tx<'_>, i: u32, what: u32) -> Result<()> {
    tree.put(tx, &key(i), &value(what), &mut Vec::new()).map(|_| ())
}

/// A change of a tree that holds so many keys, each tenth one.
struct Change {
    name: &'static str,
    keys: u32,
    run: fn(&BTree, &mut Tx<'_>) -> Result<()>,
}

fn delete(tree: &BTree, tx: &mut Tx<'_>, keys: impl Iterator<Item = u32>) -> Result<()> {
    for i in keys {
        tree.delete(tx, &key(i), &mut Vec::new())?;
    }
    Ok(())
}

fn bulk(tree: &BTree, tx: &mut Tx<'_>) -> Result<()> {
    let items: Vec<_> = (0..150).map(|i| (key(i * 7), value(i))).collect();
    let pairs: Vec<_> = items.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    tree.put_sorted(tx, &pairs, &mut Vec::new()).map(|_| ())
}

const CHANGES: [Change; 9] = [
    Change { name: "insert", keys: 10, run: |tree, tx| put(tree, tx, 5, 1) },
    Change { name: "replace", keys: 10, run: |tree, tx| put(tree, tx, 50, 1) },
    Change {
        name: "put if",
        keys: 10,
        run: |tree, tx| {
            let (key, old) = (key(90), value(90));
            tree.put_if(tx, &key, Expected::Value(&old), &value(1), &mut Vec::new()).map(|_| ())
        },
    },
    Change { name: "delete", keys: 10, run: |tree, tx| delete(tree, tx, [30].into_iter()) },
    Change { name: "split of the root", keys: CAPACITY, run: |tree, tx| put(tree, tx, 101, 1) },
    Change { name: "split of a leaf", keys: 36, run: |tree, tx| put(tree, tx, 5, 1) },
    Change {
        name: "join up to the root",
        keys: 30,
        run: |tree, tx| delete(tree, tx, (0..22).map(|i| i * 10)),
    },
    Change { name: "bulk", keys: 100, run: bulk },
    Change { name: "clear", keys: 90, run: |tree, tx| tree.clear_from(tx, b"").map(|_| ()) },
];

impl deaths::Change for Change {
    type Subject = BTree;
    type Found = Columned;

    fn name(&self) -> &'static str {
        self.name
    }

    fn world(&self, medium: Medium) -> (Machine, Attached, BTree) {
        let machine = Machine::new(1 << 20, 4, 4096, medium);
        let segment = machine.attach(1);
        let form = Form::typed(KEY_BYTES, VALUE_BYTES).unwrap();
        assert_eq!(form.capacity(), CAPACITY as usize);
        let tree = segment
            .write(&mut few(), |tx| BTree::create_typed(tx, "tree", form, b"types", 7))
            .unwrap();
        for i in 0..self.keys {
            segment.write(&mut few(), |tx| put(&tree, tx, i * 10, i * 10)).unwrap();
        }
        (machine, segment, tree)
    }

    fn run(&self, tree: &BTree, tx: &mut Tx<'_>) -> Result<()> {
        (self.run)(tree, tx)
    }

    fn found<A: Access>(tree: &BTree, access: &mut A) -> Result<Columned> {
        items(tree, access)
    }
}

/// Behind all others.
fn put_last(segment: &Attached, tree: &BTree) {
    segment.write(&mut few(), |tx| put(tree, tx, 99_999_999, 0)).unwrap();
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = deaths::outcomes(change);
        let deaths = deaths::each_death(change, Medium::Volatile, |machine, tree| {
            let seen = deaths::read::<Change>(&machine, &tree);
            assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
            let other = machine.attach(2);
            put_last(&other, &tree);
            let (mut keys, mut values) = deaths::snapshot::<Change>(&other, &tree);
            let rest = keys.split_off(keys.len() - KEY_BYTES as usize);
            assert_eq!(rest, key(99_999_999));
            values.truncate(values.len() - VALUE_BYTES as usize);
            assert_eq!((keys, values), seen, "{}: recovery decides otherwise", change.name);
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
