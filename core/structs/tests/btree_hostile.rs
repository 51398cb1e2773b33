//! Trees that somebody has tampered with: the check tells what is broken, operations raise errors
//! or find something else, and all of them come to an end.

mod common;

use common::{Attached, Files, patient};
use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;
use vasmem_engine::layout::{GRANULE, Kind, TREE_NODE_BYTES};
use vasmem_engine::{Error, Invariant, Memory, Offset};
use vasmem_memory::Medium;
use vasmem_structs::BTree;
use vasmem_structs::btree::{Stop, Walk};
use vasmem_structs::check::check;

const META: u64 = 8;
const FENCE: u64 = 16;
const ORDER: u64 = 24;
const ENTRIES: u64 = 88;
const ROOT: u64 = 24;

fn key(i: u32) -> Vec<u8> {
    format!("key {i:06}").into_bytes()
}

/// A tree of three levels.
fn grown() -> (Files, Attached, BTree) {
    let files = Files::new(1 << 20, 8 << 20, Medium::Volatile);
    let segment = files.attach();
    let tree = segment.write(&mut patient(), |tx| BTree::create(tx, "tree", 0, 7)).unwrap();
    for i in 0..5000 {
        segment
            .write(&mut patient(), |tx| tree.put(tx, &key(i), b"value", &mut Vec::new()))
            .unwrap();
    }
    (files, segment, tree)
}

/// First granule of a kind.
fn granule(segment: &Attached, kind: Kind) -> Offset {
    let all = (segment.geometry.directory_at..segment.backed()).step_by(GRANULE as usize);
    all.into_iter().find(|&at| segment.kind_at(at) == kind).unwrap()
}

fn load(segment: &Attached, at: Offset) -> u64 {
    segment.memory.load(at, Relaxed)
}

fn level(segment: &Attached, node: Offset) -> u64 {
    load(segment, node + META) >> 8 & 0xff
}

fn header(segment: &Attached) -> Offset {
    granule(segment, Kind::TREE_HEADER)
}

fn root(segment: &Attached) -> Offset {
    load(segment, header(segment) + ROOT) & ((1 << 48) - 1)
}

/// The child of a rank.
fn child(segment: &Attached, node: Offset, rank: u64) -> Offset {
    let slot = load(segment, node + ORDER + rank / 8 * 8) >> (rank % 8 * 8) & 0xff;
    load(segment, node + ENTRIES + slot * 16 + 8) & ((1 << 48) - 1)
}

/// Place of the entry of a rank.
fn entry(segment: &Attached, node: Offset, rank: u64) -> Offset {
    let slot = load(segment, node + ORDER + rank / 8 * 8) >> (rank % 8 * 8) & 0xff;
    node + ENTRIES + slot * 16
}

/// Everything that can be done, whatever comes of it.
fn use_all(segment: &Attached, tree: &BTree) {
    let mut record = Vec::new();
    for i in (0..5000).step_by(97) {
        let _ = segment.read(&mut patient(), |peek| tree.get(peek, &key(i), &mut record));
    }
    for reverse in [false, true] {
        let mut next = Some(Bound::Unbounded);
        let mut batches = 0;
        while let Some(from) = next {
            let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
            let batch = segment
                .read(&mut patient(), |peek| tree.scan(peek, from, reverse, usize::MAX, true));
            batches += 1;
            assert!(batches < 2000, "a scan goes in circles");
            next = batch.ok().and_then(|batch| batch.next);
        }
    }
    let (mut passed, mut from) = (0, Vec::new());
    while let Ok(Walk::Underway(count, next)) =
        segment.read(&mut patient(), |peek| tree.walk(peek, &from, passed, Stop::Count(u64::MAX)))
    {
        (passed, from) = (count, next);
    }
    for i in (0..5000).step_by(61) {
        let _ = segment.write(&mut patient(), |tx| tree.delete(tx, &key(i), &mut record));
        let key = [&key(i)[..], b"+"].concat();
        let _ = segment.write(&mut patient(), |tx| tree.put(tx, &key, b"v", &mut record));
    }
    let _ = segment.write(&mut patient(), |tx| tree.clear_from(tx, &key(2000)));
    let _ = segment.write(&mut patient(), |tx| tree.remove(tx, "tree"));
}

/// The check tells of this invariant once `break_it` was done, and nothing worse happens.
fn assert_told(wanted: Invariant, break_it: impl Fn(&Attached)) {
    let (_files, segment, tree) = grown();
    assert_eq!(check(&segment, &mut patient()).unwrap(), []);
    assert_eq!(level(&segment, root(&segment)), 2);
    break_it(&segment);
    let found = check(&segment, &mut patient()).unwrap();
    assert!(found.iter().any(|violation| violation.invariant == wanted), "{wanted:?}: {found:?}");
    use_all(&segment, &tree);
}

#[test]
fn a_node_says_what_its_place_says() {
    let set = |segment: &Attached, at, word| segment.memory.store(at, word, Relaxed);
    let leaf = |segment: &Attached| child(segment, child(segment, root(segment), 1), 3);
    assert_told(Invariant::TreeNode, |s| set(s, leaf(s) + META, load(s, leaf(s) + META) | 3 << 8));
    assert_told(Invariant::TreeNode, |s| set(s, leaf(s) + META, 0xff));
    assert_told(Invariant::TreeOrder, |s| set(s, leaf(s) + FENCE, 0));
    assert_told(Invariant::TreeNode, |s| set(s, leaf(s) + ORDER, 0));
    assert_told(Invariant::TreeNode, |s| set(s, leaf(s) + ORDER + 8, u64::MAX));
    assert_told(Invariant::TreeNode, |s| set(s, root(s) + FENCE, load(s, leaf(s) + FENCE)));
    assert_told(Invariant::TreeNode, |s| set(s, header(s) + ROOT, root(s) | 9 << 48));
    assert_told(Invariant::TreeNode, |s| set(s, header(s) + ROOT, root(s) | 255 << 48));
}

#[test]
fn nodes_that_lead_in_circles_or_nowhere_are_told() {
    let lead = |segment: &Attached, to: Offset| {
        let at = entry(segment, child(segment, root(segment), 1), 3) + 8;
        segment.memory.store(at, load(segment, at) >> 48 << 48 | to, Relaxed);
    };
    let inner = |segment: &Attached| child(segment, root(segment), 1);
    assert_told(Invariant::TreeNode, |s| lead(s, child(s, inner(s), 4)));
    assert_told(Invariant::TreeNode, |s| lead(s, inner(s)));
    assert_told(Invariant::TreeNode, |s| lead(s, root(s)));
    assert_told(Invariant::Offset, |s| lead(s, child(s, inner(s), 3) + 64));
    assert_told(Invariant::Offset, |s| lead(s, (1 << 47) + TREE_NODE_BYTES));
    assert_told(Invariant::Kind, |s| lead(s, header(s)));
}

#[test]
fn keys_out_of_order_are_told() {
    let leaf = |segment: &Attached| child(segment, child(segment, root(segment), 1), 3);
    let swap = |segment: &Attached, one: Offset, other: Offset| {
        let words = (load(segment, one), load(segment, other));
        segment.memory.store(one, words.1, Relaxed);
        segment.memory.store(other, words.0, Relaxed);
    };
    assert_told(Invariant::TreeOrder, |s| {
        let order = load(s, leaf(s) + ORDER);
        s.memory.store(leaf(s) + ORDER, order.rotate_left(8), Relaxed);
    });
    assert_told(Invariant::TreeOrder, |s| {
        let at = entry(s, leaf(s), 5);
        s.memory.store(at, load(s, at) ^ 1, Relaxed);
    });
    assert_told(Invariant::TreeOrder, |s| {
        let (one, other) = (entry(s, leaf(s), 5), entry(s, leaf(s), 6));
        swap(s, one + 8, other + 8);
    });
    // The last byte of a key, which its head does not have.
    assert_told(Invariant::TreeOrder, |s| {
        let record = child(s, leaf(s), 5);
        let last = record + 16;
        s.memory.store(last, load(s, last) ^ 1 << 8, Relaxed);
    });
    assert_told(Invariant::MapRecord, |s| s.memory.store(child(s, leaf(s), 5), u64::MAX, Relaxed));
    assert_told(Invariant::MapCount, |s| s.memory.store(header(s) + 64 + 8, 17, Relaxed));
}

#[test]
fn a_key_of_impossible_length_is_refused() {
    let (_files, segment, tree) = grown();
    let key = vec![0; (1 << 20) + 1];
    let put = segment.write(&mut patient(), |tx| tree.put(tx, &key, b"", &mut Vec::new()));
    assert!(matches!(put, Err(Error::TooLarge { max_bytes: 0x10_0000, .. })));
    assert_eq!(check(&segment, &mut patient()).unwrap(), []);
}
