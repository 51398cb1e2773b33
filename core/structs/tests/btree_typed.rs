//! Typed B-trees against the standard library's, and after somebody has tampered with them.

mod common;

use common::{Attached, Files, patient};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;

use vasmem_engine::layout::{GRANULE, Kind};
use vasmem_engine::{Error, Glance, Invariant, Memory, Offset};
use vasmem_memory::Medium;
use vasmem_structs::BTree;
use vasmem_structs::btree::{Columns, Form, GROUP};
use vasmem_structs::check::check;
use vasmem_structs::record::Expected;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Items = Vec<(Vec<u8>, Vec<u8>)>;

fn create(segment: &Attached, form: Form) -> BTree {
    segment
        .write(&mut patient(), |tx| BTree::create_typed(tx, "typed", form, b"('<u8', '<f8')", 42))
        .unwrap()
}

fn key_of(form: Form, number: u64) -> Vec<u8> {
    let mut key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().to_vec();
    key.resize(form.key_bytes as usize, 7);
    // What comes first is the same for many keys.
    key.rotate_right(form.key_bytes as usize / 2);
    key
}

fn value_of(form: Form, byte: u8) -> Vec<u8> {
    vec![byte; form.value_bytes as usize]
}

fn columns(
    segment: &Attached,
    tree: &BTree,
    (from, to): (Bound<Vec<u8>>, Bound<Vec<u8>>),
    reverse: bool,
    limit: usize,
) -> Items {
    let mut columns = Columns::default();
    let (mut next, key_bytes) = (Some(if reverse { to.clone() } else { from.clone() }), tree.form);
    let key_bytes = key_bytes.key_bytes as usize;
    let end = if reverse { from } else { to };
    let end = end.as_ref().map(|key| &key[..]);
    while let Some(begin) = next {
        let begin = begin.as_ref().map(|key: &Vec<u8>| &key[..]);
        let left = limit - columns.keys.len() / key_bytes;
        next = segment
            .read(&mut patient(), |peek| {
                tree.scan_inline(peek, (begin, end), reverse, left, &mut columns)
            })
            .unwrap();
    }
    let Columns { keys, values, .. } = columns;
    let count = keys.len() / key_bytes;
    let value_bytes = values.len().checked_div(count).unwrap_or(0);
    let keys = keys.chunks(key_bytes).map(<[u8]>::to_vec);
    keys.enumerate()
        .map(|(i, key)| (key, values[i * value_bytes..][..value_bytes].to_vec()))
        .collect()
}

fn items(segment: &Attached, tree: &BTree) -> Items {
    columns(segment, tree, (Bound::Unbounded, Bound::Unbounded), false, usize::MAX)
}

fn assert_sound(segment: &Attached) {
    assert_eq!(check(segment, &mut patient()).unwrap(), []);
}

/// Values of keys, asked for in groups.
fn asked(segment: &Attached, tree: &BTree, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    for group in keys.chunks(GROUP) {
        let group: Vec<_> = group.iter().map(|key| &key[..]).collect();
        let ahead = tree.ask(&mut Glance::new(segment), &group);
        for (key, ahead) in group.into_iter().zip(&ahead) {
            let mut value = value_of(tree.form, 0);
            let there = match ahead {
                Some(ahead) => {
                    tree.get_asked(&mut Glance::new(segment), ahead, key, &mut value).unwrap()
                }
                None => segment
                    .read(&mut patient(), |peek| tree.get_inline(peek, key, &mut value))
                    .unwrap(),
            };
            found.push(there.then_some(value));
        }
    }
    found
}

#[test]
fn trees_of_all_sizes_grow_and_shrink_again() {
    for (key_bytes, value_bytes) in [(8, 8), (2, 0), (12, 20), (16, 200), (250, 200)] {
        let files = Files::new(1 << 20, 1 << 30, Medium::Volatile);
        let segment = files.attach();
        let form = Form::typed(key_bytes, value_bytes).unwrap();
        let tree = create(&segment, form);
        let mut model = Model::new();
        for i in 0..6000 {
            let (key, value) = (key_of(form, i), value_of(form, i as u8));
            segment
                .write(&mut patient(), |tx| tree.put(tx, &key, &value, &mut Vec::new()))
                .unwrap();
            model.insert(key, value);
        }
        assert_sound(&segment);
        let len = segment.read(&mut patient(), |peek| tree.len(peek)).unwrap();
        assert_eq!(len, model.len() as u64);
        assert!(items(&segment, &tree).into_iter().eq(model.clone()));
        let keys: Vec<_> = model.keys().cloned().collect();
        assert!(asked(&segment, &tree, &keys).into_iter().flatten().eq(model.values().cloned()));
        for key in &keys {
            let mut record = Vec::new();
            let old =
                segment.write(&mut patient(), |tx| tree.delete(tx, key, &mut record)).unwrap();
            assert_eq!(&record[old.unwrap()], &model[key]);
        }
        assert_eq!(items(&segment, &tree), []);
        assert_eq!(segment.read(&mut patient(), |peek| tree.levels(peek)).unwrap(), 1);
        assert_sound(&segment);
        segment.write(&mut patient(), |tx| tree.remove(tx, "typed")).unwrap();
        assert_sound(&segment);
        let gone = segment.read(&mut patient(), |peek| tree.get_inline(peek, &keys[0], &mut []));
        assert!(matches!(gone, Err(Error::Removed)));
    }
}

#[test]
fn a_tree_is_known_by_its_kind_and_keeps_its_form() {
    let files = Files::new(1 << 20, 64 << 20, Medium::Volatile);
    let segment = files.attach();
    let form = Form::typed(8, 8).unwrap();
    let tree = create(&segment, form);
    let first = segment.geometry.directory_at;
    let open = segment.read(&mut patient(), |peek| BTree::open(peek, first, "typed"));
    assert!(matches!(open, Err(Error::WrongKind)));
    let found = segment.read(&mut patient(), |peek| BTree::open_typed(peek, first, "typed"));
    assert_eq!(found.unwrap(), Some(tree));
    let described = segment.read(&mut patient(), |peek| tree.description(peek)).unwrap();
    assert_eq!(described, b"('<u8', '<f8')");
    let short = segment.write(&mut patient(), |tx| tree.put(tx, b"short", b"", &mut Vec::new()));
    assert!(matches!(short, Err(Error::WrongKind)));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    PutIf(u8, Option<u8>, u8),
    Delete(u8),
    From(u8, u8, (bool, bool), bool, usize),
    Bulk(Vec<u8>),
    Clear,
    /// Puts and deletes in one transaction that reads its own writes and may be forgotten.
    Together(Vec<(u8, bool)>, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let byte = any::<u8>;
    prop_oneof![
        6 => (byte(), byte()).prop_map(|(k, v)| Step::Put(k, v)),
        2 => (byte(), any::<Option<u8>>(), byte()).prop_map(|(k, o, v)| Step::PutIf(k, o, v)),
        3 => byte().prop_map(Step::Delete),
        3 => (byte(), byte(), any::<(bool, bool)>(), any::<bool>(), 1usize..200)
            .prop_map(|(f, t, i, r, l)| Step::From(f, t, i, r, l)),
        2 => prop::collection::vec(byte(), 1..120).prop_map(Step::Bulk),
        1 => Just(Step::Clear),
        2 => (prop::collection::vec((byte(), any::<bool>()), 1..100), any::<bool>())
            .prop_map(|(puts, commit)| Step::Together(puts, commit)),
    ]
}

fn edge(key: Vec<u8>, included: bool) -> Bound<Vec<u8>> {
    if included { Bound::Included(key) } else { Bound::Excluded(key) }
}

fn between(model: &Model, (from, to): (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Items {
    let low = |key: &Vec<u8>| match &from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    };
    let high = |key: &Vec<u8>| match &to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    };
    let inside = model.iter().filter(|(key, _)| low(key) && high(key));
    inside.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn together(
    segment: &Attached,
    tree: &BTree,
    model: &Model,
    puts: &[(u8, bool)],
    commit: bool,
) -> Option<Model> {
    let (form, mut trial, mut record) = (tree.form, model.clone(), Vec::new());
    let done = segment.write(&mut patient(), |tx| {
        trial = model.clone();
        for &(number, is_put) in puts {
            let (key, value) = (key_of(form, number.into()), value_of(form, number));
            if is_put {
                let fresh = tree.put(tx, &key, &value, &mut record)?;
                assert_eq!(fresh, trial.insert(key.clone(), value.clone()).is_none());
            } else {
                let old = tree.delete(tx, &key, &mut record)?.map(|range| record[range].to_vec());
                assert_eq!(old, trial.remove(&key));
            }
            let mut seen = value.clone();
            assert_eq!(tree.get_inline(tx, &key, &mut seen)?, is_put);
        }
        let (mut seen, mut next) = (Columns::default(), Some(Bound::Unbounded));
        while let Some(from) = next {
            let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
            next = tree.scan_inline(tx, (from, Bound::Unbounded), false, usize::MAX, &mut seen)?;
        }
        let keys: Vec<u8> = trial.keys().flatten().copied().collect();
        let values: Vec<u8> = trial.values().flatten().copied().collect();
        assert_eq!((seen.keys, seen.values), (keys, values));
        if commit { Ok(()) } else { Err(Error::Removed) }
    });
    assert_eq!(done.is_ok(), commit);
    commit.then_some(trial)
}

fn put_all(segment: &Attached, tree: &BTree, items: &Model) {
    let pairs: Vec<_> = items.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let mut done = 0;
    while done < pairs.len() {
        let (rest, mut record) = (&pairs[done..], Vec::new());
        done += segment.write(&mut patient(), |tx| tree.put_sorted(tx, rest, &mut record)).unwrap();
    }
}

fn clear(segment: &Attached, tree: &BTree) {
    let mut from = Some(Vec::new());
    while let Some(key) = from {
        from = segment.write(&mut patient(), |tx| tree.clear_from(tx, &key)).unwrap();
    }
}

/// Takes a step with the tree and with its model.
fn take(step: Step, number: u8, segment: &Attached, tree: &BTree, model: &mut Model) {
    let (form, mut record) = (tree.form, Vec::new());
    match step {
        Step::Put(key, byte) => {
            let (key, value) = (key_of(form, key.into()), value_of(form, byte));
            let fresh = segment
                .write(&mut patient(), |tx| tree.put(tx, &key, &value, &mut record))
                .unwrap();
            assert_eq!(fresh, model.insert(key, value).is_none());
        }
        Step::PutIf(key, old, byte) => {
            let (key, value) = (key_of(form, key.into()), value_of(form, byte));
            let old = old.map(|byte| value_of(form, byte));
            let expected = old.as_deref().map_or(Expected::Absent, Expected::Value);
            let done = segment
                .write(&mut patient(), |tx| tree.put_if(tx, &key, expected, &value, &mut record))
                .unwrap();
            assert_eq!(done, model.get(&key) == old.as_ref());
            if done {
                model.insert(key, value);
            }
        }
        Step::Delete(key) => {
            let key = key_of(form, key.into());
            let range =
                segment.write(&mut patient(), |tx| tree.delete(tx, &key, &mut record)).unwrap();
            assert_eq!(range.map(|r| record[r].to_vec()), model.remove(&key));
        }
        Step::From(from, to, included, reverse, limit) => {
            let from = edge(key_of(form, from.into()), included.0);
            let to = edge(key_of(form, to.into()), included.1);
            let range = (from, to);
            let mut expected = between(model, range.clone());
            if reverse {
                expected.reverse();
            }
            expected.truncate(limit);
            assert_eq!(columns(segment, tree, range, reverse, limit), expected);
        }
        Step::Bulk(keys) => {
            let item = |key: u8| (key_of(form, key.into()), value_of(form, number));
            let items: Model = keys.into_iter().map(item).collect();
            put_all(segment, tree, &items);
            model.extend(items);
        }
        Step::Clear => {
            clear(segment, tree);
            model.clear();
        }
        Step::Together(puts, commit) => {
            if let Some(trial) = together(segment, tree, model, &puts, commit) {
                *model = trial;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_a_sorted_map(
        steps in prop::collection::vec(step(), 1..100),
        (key_bytes, value_bytes) in prop_oneof![
            Just((8, 8)), Just((1, 0)), Just((11, 21)), Just((24, 100)), Just((200, 300))
        ],
        flush: bool,
    ) {
        let medium = if flush { Medium::CacheLine } else { Medium::Volatile };
        let files = Files::new(1 << 20, 256 << 20, medium);
        let (segment, other) = (files.attach(), files.attach());
        let form = Form::typed(key_bytes, value_bytes).unwrap();
        let tree = create(&segment, form);
        let mut model = Model::new();
        for (number, step) in steps.into_iter().enumerate() {
            let segment = if number % 2 == 0 { &segment } else { &other };
            take(step, number as u8, segment, &tree, &mut model);
        }
        let all: Vec<_> = (0..=255).map(|number| key_of(form, number)).collect();
        let expected: Vec<_> = all.iter().map(|key| model.get(key).cloned()).collect();
        prop_assert_eq!(asked(&segment, &tree, &all), expected);
        prop_assert!(items(&segment, &tree).into_iter().eq(model));
        prop_assert_eq!(check(&segment, &mut patient()).unwrap(), []);
    }
}

/// First granule of a kind.
fn granule(segment: &Attached, kind: Kind) -> Offset {
    let all = (segment.geometry.directory_at..segment.backed()).step_by(GRANULE as usize);
    all.into_iter().find(|&at| segment.kind_at(at) == kind).unwrap()
}

/// A leaf that is neither the first nor the last.
fn leaf_of(segment: &Attached, header: Offset) -> Offset {
    let load = |at| segment.memory.load(at, Relaxed);
    let (mut node, level) = (load(header + 24), load(header + 24) >> 48);
    for _ in 0..level {
        node &= (1 << 48) - 1;
        let slot = load(node + 24) >> 8 & 0xff;
        node = load(node + 88 + slot * 16 + 8);
    }
    node & ((1 << 48) - 1)
}

fn use_all(segment: &Attached, tree: &BTree) {
    let form = tree.form;
    let (mut record, mut value) = (Vec::new(), value_of(form, 0));
    for reverse in [false, true] {
        let (mut next, mut pieces) = (Some(Bound::Unbounded), 0);
        while let Some(from) = next {
            let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
            let mut columns = Columns::default();
            next = segment
                .read(&mut patient(), |peek| {
                    let edges = (from, Bound::Unbounded);
                    tree.scan_inline(peek, edges, reverse, usize::MAX, &mut columns)
                })
                .unwrap_or_default();
            pieces += 1;
            assert!(pieces < 2000, "a scan goes in circles");
        }
    }
    for i in (0..2000).step_by(17) {
        let key = key_of(form, i);
        let _ = segment.read(&mut patient(), |peek| tree.get_inline(peek, &key, &mut value));
        let _ = segment.write(&mut patient(), |tx| tree.put(tx, &key, &value, &mut record));
        let _ = segment.write(&mut patient(), |tx| tree.delete(tx, &key, &mut record));
    }
    let _ = segment.read(&mut patient(), |peek| tree.description(peek));
    let _ = segment.write(&mut patient(), |tx| tree.clear_from(tx, &key_of(form, 1000)));
    let _ = segment.write(&mut patient(), |tx| tree.remove(tx, "typed"));
}

/// The check tells of this invariant once a word of a leaf, or of the header, was changed.
fn assert_told(wanted: Invariant, kind: Kind, at: u64, word: impl Fn(u64) -> u64) {
    for sizes in [(12, 20), (16, 200)] {
        let form = Form::typed(sizes.0, sizes.1).unwrap();
        let files = Files::new(1 << 20, 64 << 20, Medium::Volatile);
        let segment = files.attach();
        let tree = create(&segment, form);
        for i in 0..2000 {
            let (key, value) = (key_of(form, i), value_of(form, 1));
            segment.write(&mut patient(), |tx| tree.put(tx, &key, &value, &mut record())).unwrap();
        }
        let header = granule(&segment, Kind::TREE_HEADER);
        let node = if kind == Kind::TREE_HEADER { header } else { leaf_of(&segment, header) };
        let old = segment.memory.load(node + at, Relaxed);
        segment.memory.store(node + at, word(old), Relaxed);
        let found = check(&segment, &mut patient()).unwrap();
        assert!(
            found.iter().any(|violation| violation.invariant == wanted),
            "{wanted:?}: {found:?}"
        );
        use_all(&segment, &tree);
    }
}

fn record() -> Vec<u8> {
    Vec::new()
}

#[test]
fn what_was_tampered_with_is_told() {
    let leaf = Kind::TREE_NODE;
    assert_told(Invariant::TreeNode, leaf, 8, |meta| meta | 0xff);
    assert_told(Invariant::TreeNode, leaf, 8, |meta| meta | 1 << 40);
    assert_told(Invariant::TreeNode, leaf, 8, |meta| meta | 1 << 8);
    assert_told(Invariant::TreeNode, leaf, 24, |_| 0);
    assert_told(Invariant::TreeNode, leaf, 24, |_| u64::MAX);
    assert_told(Invariant::TreeOrder, leaf, 24, |order| order.rotate_left(8));
    assert_told(Invariant::TreeNode, Kind::TREE_HEADER, 24, |root| root | 9 << 48);
    assert_told(Invariant::Offset, Kind::TREE_HEADER, 32, |_| 1 << 47);
    assert_told(Invariant::TreeNode, Kind::TREE_HEADER, 40, |_| 0);
    assert_told(Invariant::MapCount, Kind::TREE_HEADER, 72, |_| 17);
}
