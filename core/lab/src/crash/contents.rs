//! All that a segment holds, as its users see it.

use super::image::Attached;
use crate::alone::Impatient;
use std::ops::Bound;
use vasmem_engine::access::Peek;
use vasmem_engine::layout::header;
use vasmem_engine::{Error, Host, Kind, Memory, Owner, Result, directory};
use vasmem_memory::Ordering;
use vasmem_structs::btree::Columns;
use vasmem_structs::hashmap::Cursor;
use vasmem_structs::{Array, BTree, Counter, HashMap, Lock, Queue, TypedMap};
use xxhash_rust::xxh3::Xxh3Default;

/// One number for all contents, and the file that they are in: equal ones have the same, others
/// hardly ever.
///
/// # Errors
/// `Corrupted`, or `Timeout` where no consistent view is to be had.
pub fn digest(segment: &Attached<'_>) -> Result<u64> {
    let mut sum = segment.memory.load(header::HOME, Ordering::Relaxed);
    visit(segment, |name, key, value| {
        let mut hash = Xxh3Default::new();
        for part in [name.as_bytes(), key, value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        sum = sum.wrapping_add(hash.digest());
    })?;
    Ok(sum)
}

/// All contents in words, short.
///
/// # Errors
/// As `digest`.
pub fn words(segment: &Attached<'_>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    visit(segment, |name, key, value| {
        let key = String::from_utf8_lossy(key);
        let first = value.first().map_or(0, |&byte| byte);
        all.push(format!("{name}[{key}] {} bytes, {first}...", value.len()));
    })?;
    all.sort();
    Ok(all)
}

/// Calls `each` for every structure, with the number of its items, and for every item.
fn visit(segment: &Attached<'_>, mut each: impl FnMut(&str, &[u8], &[u8])) -> Result<()> {
    segment.read(&mut Impatient::default(), |peek| {
        for (named, _) in directory::list(peek, segment.geometry.directory_at)? {
            let name = &named.name;
            match named.kind {
                Kind::HASH_HEADER => {
                    let map = HashMap::of(peek, &named)?;
                    each(name, b"length", &map.len(peek)?.to_le_bytes());
                    hash_items(&map, peek, |key, value| each(name, key, value))?;
                }
                Kind::TREE_HEADER => {
                    let tree = BTree::of(peek, &named)?;
                    each(name, b"length", &tree.len(peek)?.to_le_bytes());
                    tree_items(&tree, peek, |key, value| each(name, key, value))?;
                }
                Kind::ARRAY => {
                    let array = Array::of(peek, &named)?;
                    each(name, b"rows", &rows(&array, peek)?);
                }
                Kind::TYPED => {
                    let map = TypedMap::of(peek, &named)?;
                    each(name, b"length", &map.len(peek)?.to_le_bytes());
                    typed_items(&map, peek, |key, value| each(name, key, value))?;
                }
                Kind::TYPED_TREE => {
                    let tree = BTree::of(peek, &named)?;
                    each(name, b"length", &tree.len(peek)?.to_le_bytes());
                    let columns = columns(&tree, peek)?;
                    each(name, &columns.keys, &columns.values);
                }
                Kind::QUEUE_HEADER => {
                    let queue = Queue::of(peek, &named)?;
                    let (ready, leases) = queue.counts(peek)?;
                    each(name, b"ready", &ready.to_le_bytes());
                    for owner in leases {
                        each(name, b"lease", &words_of(owner));
                    }
                    for (number, item) in (0u64..).zip(queue.items(peek)?) {
                        each(name, &number.to_le_bytes(), &item);
                    }
                }
                Kind::LOCK => {
                    let owner = Lock::of(peek, &named)?.owner(peek)?;
                    each(name, b"owner", &words_of(owner));
                }
                Kind::COUNTER => {
                    let number = Counter::of(peek, &named)?.get(peek)?;
                    each(name, b"number", &number.to_le_bytes());
                }
                _ => return Err(Error::WrongKind),
            }
        }
        Ok(())
    })
}

fn hash_items<M: Memory, H: Host>(
    map: &HashMap,
    peek: &mut Peek<'_, M, H>,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
    let mut cursor = Cursor::default();
    while !cursor.is_done() {
        let (items, next) = map.scan(peek, cursor, true)?;
        items.iter().for_each(|(key, value)| each(key, value));
        cursor = next;
    }
    Ok(())
}

fn tree_items<M: Memory, H: Host>(
    tree: &BTree,
    peek: &mut Peek<'_, M, H>,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
    let mut next = Some(Bound::Unbounded);
    while let Some(from) = next {
        let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
        let batch = tree.scan(peek, from, false, usize::MAX, true)?;
        (0..batch.len()).filter_map(|i| batch.item(i)).for_each(|(key, value)| each(key, value));
        next = batch.next;
    }
    Ok(())
}

fn typed_items<M: Memory, H: Host>(
    map: &TypedMap,
    peek: &mut Peek<'_, M, H>,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
    let (key_bytes, value_bytes) = (map.form.key_bytes as usize, map.form.value_bytes as usize);
    let mut cursor = Cursor::default();
    while !cursor.is_done() {
        let (keys, values, next) = map.scan(peek, cursor)?;
        let values = values.chunks(value_bytes);
        keys.chunks(key_bytes).zip(values).for_each(|(key, value)| each(key, value));
        cursor = next;
    }
    Ok(())
}

fn columns<M: Memory, H: Host>(tree: &BTree, peek: &mut Peek<'_, M, H>) -> Result<Columns> {
    let (mut columns, mut next) = (Columns::default(), Some(Bound::Unbounded));
    while let Some(from) = next {
        let from = from.as_ref().map(|key: &Vec<u8>| &key[..]);
        let edges = (from, Bound::Unbounded);
        next = tree.scan_inline(peek, edges, false, usize::MAX, &mut columns)?;
    }
    Ok(columns)
}

/// Two words; zeros for nobody.
fn words_of(owner: Option<Owner>) -> Vec<u8> {
    owner.map_or([0; 2], Owner::words).iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn rows<M: Memory, H: Host>(array: &Array, peek: &mut Peek<'_, M, H>) -> Result<Vec<u8>> {
    let bytes = array.len(peek)? * array.row_bytes();
    let mut found = vec![0; bytes as usize];
    match array.read(peek, std::slice::from_ref(&(0..bytes)), None, &mut found)? {
        true => Ok(found),
        false => Err(Error::Conflict),
    }
}
