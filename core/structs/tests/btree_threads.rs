//! Writers who split and join the same leaves, and readers who go through them meanwhile.

mod common;

use common::{Attached, Files, patient};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use vasmem_memory::Medium;
use vasmem_structs::BTree;
use vasmem_structs::check::check;

const STAY: u32 = 1500;
const ROUNDS: u32 = 6;

fn key(i: u32, writer: u32) -> Vec<u8> {
    format!("key {i:06} of {writer}").into_bytes()
}

/// Fills and empties stretches between the keys that stay, in bulk and one by one; what is left.
fn write(segment: &Attached, tree: &BTree, writer: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut left = BTreeMap::new();
    let mut record = Vec::new();
    for round in 0..ROUNDS {
        let step = (round + writer) % 3 + 1;
        for i in (0..STAY * 4).step_by(step as usize) {
            let (key, value) = (key(i, writer), format!("{round}").into_bytes());
            segment.write(&mut patient(), |tx| tree.put(tx, &key, &value, &mut record)).unwrap();
            left.insert(key, value);
        }
        for i in (0..STAY * 4).filter(|i| i % 7 != round) {
            let key = key(i, writer);
            let gone = segment
                .write(&mut patient(), |tx| tree.delete(tx, &key, &mut record))
                .unwrap()
                .map(|range| record[range].to_vec());
            assert_eq!(gone, left.remove(&key));
        }
        let keys: Vec<_> = (0..900).map(|i| key(i * 5 + round, writer)).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (&key[..], &b"bulk"[..])).collect();
        let mut done = 0;
        while done < pairs.len() {
            let rest = &pairs[done..];
            done +=
                segment.write(&mut patient(), |tx| tree.put_sorted(tx, rest, &mut record)).unwrap();
        }
        left.extend(keys.into_iter().map(|key| (key, b"bulk".to_vec())));
    }
    left
}

/// Keys of the writer 0, who never comes, in the order in which a scan meets them.
fn scan(segment: &Attached, tree: &BTree, reverse: bool, limit: usize) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut next = Some(Bound::Unbounded);
    while let Some(from) = next {
        let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
        let batch = segment
            .read(&mut patient(), |peek| tree.scan(peek, from, reverse, limit, false))
            .unwrap();
        let keys = (0..batch.len()).filter_map(|i| batch.item(i)).map(|(key, _)| key.to_vec());
        all.extend(keys);
        next = batch.next;
    }
    assert!(all.windows(2).all(|pair| (pair[0] < pair[1]) != reverse), "out of order");
    all.into_iter().filter(|key| key.ends_with(b" of 0")).collect()
}

#[test]
fn what_stays_is_seen_once_whatever_writers_do() {
    let files = Files::new(1 << 20, 1 << 30, Medium::Volatile);
    let segment = files.attach();
    let tree = segment.write(&mut patient(), |tx| BTree::create(tx, "t", 0, 9)).unwrap();
    let mut stay: Vec<_> = (0..STAY).map(|i| key(i * 4, 0)).collect();
    for key in &stay {
        segment.write(&mut patient(), |tx| tree.put(tx, key, b"", &mut Vec::new())).unwrap();
    }
    let writing = AtomicU32::new(3);
    let (files, writing) = (&files, &writing);
    let mut left = BTreeMap::new();
    thread::scope(|scope| {
        let writers: Vec<_> = (1..4)
            .map(|writer| {
                scope.spawn(move || {
                    let left = write(&files.attach(), &tree, writer);
                    writing.fetch_sub(1, Relaxed);
                    left
                })
            })
            .collect();
        let reader = files.attach();
        let mut scans = 0;
        while writing.load(Relaxed) > 0 || scans < 2 {
            let found = scan(&reader, &tree, scans % 2 == 1, [usize::MAX, 7][scans / 2 % 2]);
            assert_eq!(found, stay, "scan {scans}");
            for key in stay.iter().step_by(50) {
                let there =
                    reader.read(&mut patient(), |peek| tree.contains(peek, key, &mut Vec::new()));
                assert!(there.unwrap());
            }
            stay.reverse();
            scans += 1;
        }
        for writer in writers {
            left.extend(writer.join().unwrap());
        }
    });
    left.extend(stay.into_iter().map(|key| (key, Vec::new())));
    let mut all = BTreeMap::new();
    let mut next = Some(Bound::Unbounded);
    while let Some(from) = next {
        let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
        let batch = segment
            .read(&mut patient(), |peek| tree.scan(peek, from, false, usize::MAX, true))
            .unwrap();
        let items = (0..batch.len()).filter_map(|i| batch.item(i));
        all.extend(items.map(|(key, value)| (key.to_vec(), value.to_vec())));
        next = batch.next;
    }
    assert!(all == left, "{} keys, {} expected", all.len(), left.len());
    assert_eq!(check(&segment, &mut patient()).unwrap(), []);
}
