//! Records: a key with its value, in a block of its own that one slot of a node leads to. All
//! structures with keys of bytes keep them so.

use std::ops::Range;
use vasmem_engine::layout::Kind;
use vasmem_engine::{Access, Error, Host, Invariant, Memory, Offset, Result, Touched, Transaction};

/// First word of a record: `key length 16 | large 1 | key length, high bits 15 | value length 32`;
/// key and value follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head(pub u64);

/// Flag of a record: instead of the value stands the offset of a value node.
const LARGE: u64 = 1 << 16;
/// Bytes of a record's head.
pub const HEAD_BYTES: u64 = 8;
/// Larger records have their value out of line, behind a node of its own.
pub const RECORD_BYTES_MAX: u64 = 4096;
/// Longest value.
pub const VALUE_BYTES_MAX: u64 = u32::MAX as u64;
/// A value up to this many bytes is overwritten in place if it fits the old record's block.
const IN_PLACE_BYTES_MAX: u64 = 512;
/// Low 48 bits: an offset.
pub const OFFSET_MASK: u64 = (1 << 48) - 1;

/// Whether two keys are the same; short ones of whole words are compared here and now.
#[inline(always)]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    const WORDS_MAX: usize = 4;
    let ((ones, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    if ones.len() != others.len() || ones.len() > WORDS_MAX || rest.len() + other_rest.len() != 0 {
        return one == other;
    }
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    ones.iter().zip(others).fold(0, |bits, (a, b)| bits | word(a) ^ word(b)) == 0
}

impl Head {
    /// Head for these lengths.
    pub fn new(key_bytes: u64, value_bytes: u64) -> Head {
        let large = HEAD_BYTES + key_bytes + value_bytes > RECORD_BYTES_MAX;
        let key = key_bytes & 0xffff | (key_bytes >> 16) << 17;
        Head(key | if large { LARGE } else { 0 } | value_bytes << 32)
    }
    /// Head of a key without a value, however long it is.
    pub fn bare(key_bytes: u64) -> Head {
        Head(Head::new(key_bytes, 0).0 & !LARGE)
    }
    /// Bytes of the key.
    #[inline]
    pub fn key_bytes(self) -> u64 {
        self.0 & 0xffff | (self.0 & 0xfffe_0000) >> 1
    }
    /// Bytes of the value; of a large one those at the time when the key was entered.
    #[inline]
    pub fn value_bytes(self) -> u64 {
        self.0 >> 32
    }
    /// Whether the value is out of line.
    #[inline]
    pub fn is_large(self) -> bool {
        self.0 & LARGE != 0
    }
    /// Bytes of the record.
    #[inline]
    pub fn record_bytes(self) -> u64 {
        let value = if self.is_large() { 8 } else { self.value_bytes() };
        HEAD_BYTES + self.key_bytes() + value
    }
    /// Where the key stands in its record.
    #[inline]
    pub fn key_range(self) -> Range<usize> {
        HEAD_BYTES as usize..(HEAD_BYTES + self.key_bytes()) as usize
    }
}

/// Words of a value node.
mod value {
    /// Bytes of the value.
    pub const BYTES: u64 = 8;
    /// Block that holds them.
    pub const DATA: u64 = 16;
}

/// What must be so for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a> {
    /// The key is not there.
    Absent,
    /// The key has this value.
    Value(&'a [u8]),
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The block that holds it.
    pub block: Offset,
    /// Its first byte.
    pub from: Offset,
    /// Its length.
    pub bytes: u64,
}

/// Copies a record of at most `bytes_max` bytes out; not yet checked against its node's version.
#[inline(always)]
pub fn read<A: Access>(
    access: &mut A,
    view: &A::View,
    at: Offset,
    bytes_max: u64,
    record: &mut Vec<u8>,
) -> Result<Head> {
    read_part(access, view, at, bytes_max, Head::record_bytes, record)
}

/// As `read`, of the key alone: what stands behind it may be far away.
#[inline(always)]
pub fn read_key<A: Access>(
    access: &mut A,
    view: &A::View,
    at: Offset,
    bytes_max: u64,
    record: &mut Vec<u8>,
) -> Result<Head> {
    read_part(access, view, at, bytes_max, |head| HEAD_BYTES + head.key_bytes(), record)
}

#[inline(always)]
fn read_part<A: Access>(
    access: &mut A,
    view: &A::View,
    at: Offset,
    bytes_max: u64,
    part: impl FnOnce(Head) -> u64,
    record: &mut Vec<u8>,
) -> Result<Head> {
    access.data(view, at, HEAD_BYTES)?;
    let head = Head(access.word(view, at));
    if head.record_bytes() > bytes_max {
        return Err(access.broken(view, Invariant::MapRecord, at));
    }
    let bytes = part(head);
    access.data(view, at, bytes)?;
    if record.len() < bytes as usize {
        record.resize(bytes as usize, 0);
    }
    access.bytes(view, at, &mut record[..bytes as usize]);
    Ok(head)
}

/// The value of a record that `record` holds: a range of `record`.
#[inline]
pub fn value<A: Access>(
    access: &mut A,
    view: &A::View,
    head: Head,
    record: &mut Vec<u8>,
) -> Result<Range<usize>> {
    if let Some(node) = large_node(record, head) {
        return large_value(access, view, node, record);
    }
    let from = (HEAD_BYTES + head.key_bytes()) as usize;
    Ok(from..from + head.value_bytes() as usize)
}

#[cold]
fn large_value<A: Access>(
    access: &mut A,
    view: &A::View,
    node: Offset,
    record: &mut Vec<u8>,
) -> Result<Range<usize>> {
    let (view, at, bytes) = large(access, view, node)?;
    if record.len() < bytes as usize {
        record.resize(bytes as usize, 0);
    }
    access.bytes(&view, at, &mut record[..bytes as usize]);
    access.check(&view)?;
    Ok(0..bytes as usize)
}

/// Whether the record that `record` holds, and goes on to hold, has the value `expected`.
pub fn has_value<A: Access>(
    access: &mut A,
    view: &A::View,
    head: Head,
    expected: &[u8],
    record: &mut Vec<u8>,
) -> Result<bool> {
    if !head.is_large() {
        let range = value(access, view, head, record)?;
        return Ok(&record[range] == expected);
    }
    // A large value takes the place of its record in the buffer.
    let mut copy = record.clone();
    let range = value(access, view, head, &mut copy)?;
    Ok(&copy[range] == expected)
}

/// Where the value of the record at `at` stands, which `record` holds.
pub fn locate<A: Access>(
    access: &mut A,
    view: &A::View,
    at: Offset,
    head: Head,
    record: &[u8],
) -> Result<Located> {
    let Some(node) = large_node(record, head) else {
        let from = at + HEAD_BYTES + head.key_bytes();
        return Ok(Located { block: at, from, bytes: head.value_bytes() });
    };
    let (_, block, bytes) = large(access, view, node)?;
    Ok(Located { block, from: block, bytes })
}

/// A large value's node: its view, and the block and length of the value.
pub fn large<A: Access>(
    access: &mut A,
    parent: &A::View,
    node: Offset,
) -> Result<(A::View, Offset, u64)> {
    let view = access.read(Some(parent), node, Kind::VALUE)?;
    let bytes = access.word(&view, node + value::BYTES);
    let at = access.word(&view, node + value::DATA) & OFFSET_MASK;
    if bytes > VALUE_BYTES_MAX {
        return Err(access.broken(&view, Invariant::MapRecord, node));
    }
    access.data(&view, at, bytes)?;
    access.check(&view)?;
    Ok((view, at, bytes))
}

/// The value node that a record leads to, if it is a large one; `record` holds it.
pub fn large_node(record: &[u8], head: Head) -> Option<Offset> {
    if !head.is_large() {
        return None;
    }
    let from = (HEAD_BYTES + head.key_bytes()) as usize;
    let bytes = record.get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
    Some(u64::from_le_bytes(bytes.unwrap_or_default()))
}

/// Writes a fresh record; a large value goes into a block of its own behind a value node.
pub fn make<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    key: &[u8],
    bytes: &[u8],
) -> Result<Offset> {
    let head = Head::new(key.len() as u64, bytes.len() as u64);
    let at = tx.alloc(head.record_bytes())?;
    if !head.is_large() {
        tx.fill(at, &[&head.0.to_le_bytes(), key, bytes]);
        return Ok(at);
    }
    let data = tx.alloc(bytes.len() as u64)?;
    tx.fill(data, &[bytes]);
    let node = tx.alloc_nodes(Kind::VALUE)?;
    tx.fill_nodes(node, &[0, bytes.len() as u64, data, 0, 0, 0, 0, 0]);
    tx.fill(at, &[&head.0.to_le_bytes(), key, &node.to_le_bytes()]);
    Ok(at)
}

/// Gives the key of the record at `at`, which `record` holds, another value. A fresh record that
/// takes its place is returned: the slot of the node of `view` is to lead there.
pub fn replace<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    view: &Touched,
    (at, old): (Offset, Head),
    (key, bytes): (&[u8], &[u8]),
    record: &[u8],
) -> Result<Option<Offset>> {
    let new = Head::new(key.len() as u64, bytes.len() as u64);
    match (large_node(record, old), new.is_large()) {
        (None, false)
            if bytes.len() as u64 <= IN_PLACE_BYTES_MAX
                && Kind::for_bytes(old.record_bytes()) == Kind::for_bytes(new.record_bytes())
                && !tx.is_fresh(at)
                && !tx.is_fresh(view.node)
                && !tx.respects_pins()? =>
        {
            // Not below a node of this transaction: readers still come by the old one, over which
            // these words would not be laid.
            // Words of the block behind the record belong to nobody.
            let (_, lead) = key.as_chunks::<8>();
            let from = at + HEAD_BYTES + (key.len() - lead.len()) as u64;
            tx.overwrite(view, from, lead, bytes);
            if new != old {
                tx.write(view, at, new.0);
            }
            Ok(None)
        }
        (Some(node), true) => replace_large(tx, view, node, bytes).map(|()| None),
        (node, _) => {
            let fresh = make(tx, key, bytes)?;
            free(tx, view, at, node)?;
            Ok(Some(fresh))
        }
    }
}

/// The slot stays as it is: only the value's own node changes.
fn replace_large<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    view: &Touched,
    node: Offset,
    bytes: &[u8],
) -> Result<()> {
    let (view, old, _) = large(tx, view, node)?;
    let data = tx.alloc(bytes.len() as u64)?;
    tx.fill(data, &[bytes]);
    tx.write(&view, node + value::BYTES, bytes.len() as u64);
    tx.write(&view, node + value::DATA, data);
    tx.free(old)
}

/// Frees the record at `at` and its value, to which its [`large_node`] leads, if it has one.
pub fn free<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    view: &Touched,
    at: Offset,
    node: Option<Offset>,
) -> Result<()> {
    if let Some(node) = node {
        let (view, data, _) = large(tx, view, node)?;
        tx.free(data)?;
        tx.free_node(&view);
        tx.free(node)?;
    }
    tx.free(at)
}

/// Refuses what is longer than the format allows.
pub fn check_length(what: &'static str, len: usize, max_bytes: u64) -> Result<()> {
    if len as u64 > max_bytes {
        return Err(Error::TooLarge { what, bytes: len as u64, max_bytes });
    }
    Ok(())
}
