//! What is done with the B-trees of a mutated segment.

use crate::image::{Attached, Impatient, TREES, key_bytes, value};
use crate::random::Random;
use std::ops::Bound;
use vasmem_engine::access::{Access, Reading};
use vasmem_engine::{Error, Result};
use vasmem_structs::BTree;
use vasmem_structs::btree::{Stop, Walk};
use vasmem_structs::record::Expected;

/// Leaves that a scan, and inner nodes that a walk visits at most.
const LEAVES_MAX: u32 = 64;

fn open(segment: &Attached, name: &str) -> Result<BTree> {
    let at = segment.geometry.directory_at;
    let found = segment.read(&mut Impatient::default(), |peek| BTree::open(peek, at, name))?;
    found.map(|(tree, _)| tree).ok_or(Error::Removed)
}

/// One operation.
pub fn one(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    let name = random.pick(&TREES);
    let tree = open(segment, name)?;
    match random.below(if reads_only { 6 } else { 18 }) {
        0 => walk(segment, &tree, random),
        1 | 2 => scan(segment, &tree, random),
        3..=5 => reads(segment, &tree, random),
        6 => remove(segment, name, &tree, random),
        7 | 8 => bulk(segment, &tree, random),
        9 | 10 => transaction(segment, &tree, random),
        _ => (0..3).try_for_each(|_| change(segment, &tree, random)),
    }
}

struct Get<'a>(&'a BTree, &'a [u8]);

impl Reading<()> for Get<'_> {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<()> {
        let mut record = Vec::new();
        self.0.get(access, self.1, &mut record)?;
        self.0.contains(access, self.1, &mut record)?;
        self.0.locate(access, self.1, &mut record)?;
        self.0.levels(access)?;
        self.0.slots(access)?;
        self.0.is_empty(access).map(|_| ())
    }
}

fn some_key(random: &mut Random) -> Vec<u8> {
    let end = random.pick(&[2, 12, 60, 1600]);
    key_bytes(random.below(end))
}

fn reads(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    for _ in 0..4 {
        let key = some_key(random);
        segment.consult(&mut Impatient::default(), &mut Get(tree, &key))?;
    }
    Ok(())
}

fn scan(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let (reverse, values) = (random.one_in(2), random.one_in(2));
    let limit = random.pick(&[1, 7, usize::MAX]);
    let key = some_key(random);
    let mut next = Some(
        random.pick(&[Bound::Unbounded, Bound::Included(&key), Bound::Excluded(&key)]).cloned(),
    );
    for _ in 0..LEAVES_MAX {
        let Some(from) = next else { break };
        let from = from.as_ref().map(|key| &key[..]);
        let batch = segment.read(&mut Impatient::default(), |peek| {
            tree.scan(peek, from, reverse, limit, values)
        })?;
        next = batch.next;
    }
    Ok(())
}

fn walk(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let key = some_key(random);
    let count = random.below(2000);
    let stop = random.pick(&[Stop::Count(count), Stop::Key(&key)]);
    let (mut passed, mut from) = (0, Vec::new());
    for _ in 0..LEAVES_MAX {
        let walked =
            segment.read(&mut Impatient::default(), |peek| tree.walk(peek, &from, passed, stop))?;
        let Walk::Underway(count, next) = walked else { break };
        (passed, from) = (count, next);
    }
    Ok(())
}

fn change(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let (key, what, number) = (some_key(random), random.below(5), random.below(40));
    let new = value(random.below(4), number);
    let mut record = Vec::new();
    segment.write(&mut Impatient::default(), |tx| match what {
        0 | 1 => tree.delete(tx, &key, &mut record).map(|_| ()),
        2 => tree.put_if(tx, &key, Expected::Absent, &new, &mut record).map(|_| ()),
        3 => tree.put_if(tx, &key, Expected::Value(&new), &new, &mut record).map(|_| ()),
        _ => tree.put(tx, &key, &new, &mut record).map(|_| ()),
    })
}

/// Sorted items, or the end of those of one inner node.
fn bulk(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let key = some_key(random);
    let mut patience = Impatient::default();
    if random.one_in(2) {
        return segment.write(&mut patience, |tx| tree.clear_from(tx, &key)).map(|_| ());
    }
    let tails: Vec<_> = (0..random.pick(&[2u8, 70, 200])).map(|tail| vec![tail; 9]).collect();
    let keys: Vec<_> = tails.iter().map(|tail| [&key[..], tail].concat()).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (&key[..], &b"bulk"[..])).collect();
    segment.write(&mut patience, |tx| tree.put_sorted(tx, &pairs, &mut Vec::new())).map(|_| ())
}

/// Many changes at once, enough for splits and joins.
fn transaction(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let (from, count) = (random.below(1600), random.pick(&[3, 20, 130]));
    let grows = random.one_in(2);
    let mut record = Vec::new();
    segment.write(&mut Impatient::default(), |tx| {
        for number in from..from + count {
            let key = key_bytes(number);
            if grows {
                tree.put(tx, &[&key[..], b"+"].concat(), b"more", &mut record)?;
            } else {
                tree.delete(tx, &key, &mut record)?;
            }
        }
        tree.scan(tx, Bound::Unbounded, true, 9, true)?;
        tree.len(tx).map(|_| ())
    })
}

fn remove(segment: &Attached, name: &str, tree: &BTree, random: &mut Random) -> Result<()> {
    segment.write(&mut Impatient::default(), |tx| tree.remove(tx, name))?;
    let id = random.next();
    segment.write(&mut Impatient::default(), |tx| BTree::create(tx, name, 0, id))?;
    // A handle of what was removed must notice.
    reads(segment, tree, random)
}
