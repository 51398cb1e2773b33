//! What is done with the typed B-trees of a mutated segment.

use crate::image::{Attached, Impatient, Underway};
use crate::random::Random;
use std::ops::Bound;
use vasmem_engine::access::{Access, Reading};
use vasmem_engine::{Error, Glance, Result};
use vasmem_structs::BTree;
use vasmem_structs::btree::{Columns, Form, GROUP, Pair};
use vasmem_structs::record::Expected;

/// Names of the trees, with bytes of their keys and values, and how many keys there are.
const TREES: [(&str, u64, u64, u64); 3] =
    [("times", 8, 8, 1800), ("wide tree", 20, 200, 60), ("small tree", 2, 1, 5)];
/// Pieces that an iteration visits at most.
const PIECES_MAX: u32 = 64;

/// Makes the trees.
pub fn make(segment: &Attached) -> Result<()> {
    for (number, (name, .., keys)) in TREES.into_iter().enumerate() {
        let tree = create(segment, name, number as u64 + 60)?;
        for key in 0..keys {
            segment.write(&mut Impatient::default(), |tx| {
                tree.put(tx, &key_of(&tree, key), &value_of(&tree, key), &mut Vec::new())
            })?;
        }
    }
    Ok(())
}

fn create(segment: &Attached, name: &str, id: u64) -> Result<BTree> {
    let shape = TREES.into_iter().find(|(one, ..)| *one == name);
    let form = shape.and_then(|(_, key_bytes, value_bytes, _)| Form::typed(key_bytes, value_bytes));
    let form = form.ok_or(Error::Removed)?;
    segment.write(&mut Impatient::default(), |tx| {
        BTree::create_typed(tx, name, form, b"('<u8', '<f8')", id)
    })
}

/// Puts some keys, and deletes some; not yet committed. No leaf is split.
pub fn prepare(segment: &Attached) -> Result<impl Fn(&mut Underway<'_>) -> Result<()> + use<>> {
    let tree = open(segment, "times")?;
    Ok(move |tx: &mut Underway<'_>| {
        for key in 0..9 {
            tree.put(tx, &key_of(&tree, key), &value_of(&tree, 7), &mut Vec::new())?;
            tree.delete(tx, &key_of(&tree, key * 50 + 20), &mut Vec::new())?;
        }
        Ok(())
    })
}

fn open(segment: &Attached, name: &str) -> Result<BTree> {
    let at = segment.geometry.directory_at;
    let found =
        segment.read(&mut Impatient::default(), |peek| BTree::open_typed(peek, at, name))?;
    found.ok_or(Error::Removed)
}

/// Numbers that ascend have keys that do.
fn key_of(tree: &BTree, key: u64) -> Vec<u8> {
    let bytes = key.to_be_bytes();
    let width = tree.form.key_bytes as usize;
    bytes[8 - width.min(8)..].iter().copied().cycle().take(width).collect()
}

fn value_of(tree: &BTree, number: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(tree.form.value_bytes as usize).collect()
}

fn some_key(tree: &BTree, random: &mut Random) -> Vec<u8> {
    let end = random.pick(&[2, 12, 60, 2000]);
    key_of(tree, random.below(end))
}

/// One operation.
pub fn one(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    let (name, ..) = random.pick(&TREES);
    let tree = open(segment, name)?;
    match random.below(if reads_only { 6 } else { 16 }) {
        0 | 1 => scan(segment, &tree, random),
        2 => batch(segment, &tree, random),
        3..=5 => reads(segment, &tree, random),
        6 => {
            segment.write(&mut Impatient::default(), |tx| tree.remove(tx, name))?;
            create(segment, name, random.next())?;
            // A handle of what was removed must notice.
            reads(segment, &tree, random)
        }
        7 | 8 => bulk(segment, &tree, random),
        9 | 10 => transaction(segment, &tree, random),
        _ => (0..3).try_for_each(|_| change(segment, &tree, random)),
    }
}

struct Get<'a>(&'a BTree, &'a [u8]);

impl Reading<()> for Get<'_> {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<()> {
        let Get(tree, key) = *self;
        tree.get_inline(access, key, &mut value_of(tree, 0))?;
        tree.contains(access, key, &mut Vec::new())?;
        tree.description(access)?;
        tree.levels(access)?;
        tree.slots(access)?;
        tree.is_empty(access).map(|_| ())
    }
}

fn reads(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    for _ in 0..4 {
        let key = some_key(tree, random);
        segment.consult(&mut Impatient::default(), &mut Get(tree, &key))?;
    }
    Ok(())
}

/// Reads a batch of keys.
fn batch(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let keys: Vec<_> = (0..GROUP).map(|_| some_key(tree, random)).collect();
    let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
    let mut glance = Glance::new(segment);
    let leaves = tree.ask(&mut glance, &keys);
    for (key, leaf) in keys.into_iter().zip(leaves) {
        if let Some(leaf) = leaf {
            // Nothing is known if it fails: the key is then looked up as any.
            let _ = tree.get_asked(&mut glance, &leaf, key, &mut value_of(tree, 0));
        }
    }
    Ok(())
}

fn scan(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let reverse = random.one_in(2);
    let limit = random.pick(&[1, 7, 400, usize::MAX]);
    let (one, other) = (some_key(tree, random), some_key(tree, random));
    let mut from = random.pick(&[Bound::Unbounded, Bound::Included(&one)]).cloned();
    let to = random.pick(&[Bound::Unbounded, Bound::Excluded(&other)]).cloned();
    let mut columns =
        Columns { numbers: random.one_in(2).then_some(1 << 63), ..Columns::default() };
    for _ in 0..PIECES_MAX {
        let edges = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
        columns.keys.clear();
        columns.values.clear();
        let next = segment.read(&mut Impatient::default(), |peek| {
            tree.scan_inline(peek, edges, reverse, limit, &mut columns)
        })?;
        let Some(next) = next else { break };
        from = next;
    }
    Ok(())
}

fn change(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let (key, what) = (some_key(tree, random), random.below(5));
    let new = value_of(tree, random.below(40));
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
    let mut patience = Impatient::default();
    if random.one_in(2) {
        let key = some_key(tree, random);
        return segment.write(&mut patience, |tx| tree.clear_from(tx, &key)).map(|_| ());
    }
    let (from, value) = (random.below(2000), value_of(tree, 1));
    let numbers = from..from + random.pick(&[2, 70, 200]);
    let mut keys: Vec<_> = numbers.map(|number| key_of(tree, number)).collect();
    keys.sort();
    keys.dedup();
    let pairs: Vec<Pair<'_>> = keys.iter().map(|key| (&key[..], &value[..])).collect();
    segment.write(&mut patience, |tx| tree.put_sorted(tx, &pairs, &mut Vec::new())).map(|_| ())
}

/// Many changes at once, enough for splits and joins.
fn transaction(segment: &Attached, tree: &BTree, random: &mut Random) -> Result<()> {
    let (from, count) = (random.below(2000), random.pick(&[3, 20, 200]));
    let grows = random.one_in(2);
    let mut record = Vec::new();
    segment.write(&mut Impatient::default(), |tx| {
        for number in from..from + count {
            let key = key_of(tree, number);
            match grows {
                true => tree.put(tx, &key, &value_of(tree, number), &mut record).map(|_| ())?,
                false => tree.delete(tx, &key, &mut record).map(|_| ())?,
            }
        }
        tree.scan(tx, Bound::Unbounded, true, 9, true)?;
        tree.len(tx).map(|_| ())
    })
}
