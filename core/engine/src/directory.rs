//! The root directory: names of structures.
//!
//! A chain of 4 KiB blocks of 64 lines. Each line has seven slots `tag 16 | offset 48`, but the
//! last slot of a block's last line leads to the next block. A slot's record is `kind 8 | flags 8 |
//! name length 16 | 0 32`, the structure's first node, the name. **D1** each name stands once.

use crate::access::Access;
use crate::error::{Error, Invariant, Result};
use crate::host::{Host, Patience};
use crate::layout::{GRANULE, Kind, LINE, NODE_WORDS};
use crate::record::sum_bytes;
use crate::salvage::Losses;
use crate::segment::Segment;
use crate::transaction::Transaction;
use std::collections::HashSet;
use vasmem_memory::{Memory, Offset};

/// Longest name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;
const BLOCK_BYTES: u64 = 4096;
const LINES: u64 = BLOCK_BYTES / LINE;
const OFFSET_MASK: u64 = (1 << 48) - 1;
/// Blocks that a walk follows before the chain counts as broken.
const BLOCKS_MAX: u32 = 1 << 16;

/// What the directory knows of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Kind of its first node.
    pub kind: Kind,
    /// Flags of the structure's own.
    pub flags: u8,
    /// Its first node.
    pub node: Offset,
}

/// Where a slot is.
struct Slot<V> {
    view: V,
    at: Offset,
    record: Offset,
}

/// Notices a chain that comes back to itself (Brent's algorithm): it never ends.
struct Circle {
    seen: Offset,
    steps: u32,
}

impl Circle {
    fn from(seen: Offset) -> Circle {
        Circle { seen, steps: 0 }
    }

    fn closes_at(&mut self, block: Offset) -> bool {
        let closes = block == self.seen;
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.seen = block;
        }
        closes
    }
}

fn tag(name: &str) -> u64 {
    sum_bytes(0, name.as_bytes()) << 48
}

/// Walks all slots until `visit` returns something; passes empty ones, too.
fn walk<A: Access, T>(
    first: Offset,
    access: &mut A,
    mut visit: impl FnMut(&mut A, &A::View, Offset, u64) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut block = first;
    let mut parent: Option<A::View> = None;
    let mut circle = Circle::from(first);
    for _ in 0..BLOCKS_MAX {
        for line in 0..LINES {
            let node = block + line * LINE;
            let view = access.read(parent.as_ref(), node, Kind::DIRECTORY)?;
            let last = line == LINES - 1;
            for slot in 0..NODE_WORDS as u64 - u64::from(last) {
                let at = node + 8 + slot * 8;
                let word = access.word(&view, at);
                if let Some(found) = visit(access, &view, at, word)? {
                    return Ok(Some(found));
                }
            }
            access.check(&view)?;
            if last {
                block = access.word(&view, node + NODE_WORDS as u64 * 8);
                access.check(&view)?;
                parent = Some(view);
            }
        }
        if block == 0 {
            return Ok(None);
        }
        if circle.closes_at(block) {
            break;
        }
    }
    Err(Error::corrupted(Invariant::Directory, first))
}

fn read_record<A: Access>(access: &mut A, view: &A::View, record: Offset) -> Result<Named> {
    let mut head = [0; 16];
    access.data(view, record, 16)?;
    access.bytes(view, record, &mut head);
    let len = usize::from(u16::from_le_bytes([head[2], head[3]]));
    if len > NAME_BYTES_MAX {
        return Err(access.broken(view, Invariant::Directory, record));
    }
    let mut name = vec![0; len];
    access.data(view, record, 16 + len as u64)?;
    access.bytes(view, record + 16, &mut name);
    access.check(view)?;
    let node = u64::from_le_bytes(head[8..].try_into().unwrap_or_default());
    match String::from_utf8(name) {
        Ok(name) => Ok(Named { name, kind: Kind(head[0]), flags: head[1], node }),
        Err(_) => Err(access.broken(view, Invariant::Directory, record)),
    }
}

/// Finds a structure by name.
///
/// # Errors
/// `Corrupted`, or `Conflict` to run again.
pub fn find<A: Access>(access: &mut A, first: Offset, name: &str) -> Result<Option<Named>> {
    find_slot(access, first, name).map(|found| found.map(|(_, named)| named))
}

fn find_slot<A: Access>(
    access: &mut A,
    first: Offset,
    name: &str,
) -> Result<Option<(Slot<A::View>, Named)>> {
    walk(first, access, |access, view, at, word| {
        if word & !OFFSET_MASK != tag(name) || word & OFFSET_MASK == 0 {
            return Ok(None);
        }
        let record = word & OFFSET_MASK;
        let named = read_record(access, view, record)?;
        let found = (named.name == name).then_some(named);
        Ok(found.map(|named| (Slot { view: *view, at, record }, named)))
    })
}

/// All structures.
///
/// # Errors
/// As `find`.
pub fn list<A: Access>(access: &mut A, first: Offset) -> Result<Vec<(Named, Offset)>> {
    let mut all = Vec::new();
    walk(first, access, |access, view, _, word| {
        if word & OFFSET_MASK != 0 {
            let record = word & OFFSET_MASK;
            all.push((read_record(access, view, record)?, record));
        }
        Ok(None::<()>)
    })?;
    Ok(all)
}

/// As [`list`], past what is damaged: what a name's tag bears out.
///
/// # Errors
/// Those of waiting.
pub fn salvage<M: Memory, H: Host>(
    segment: &Segment<M, H>,
    patience: &mut dyn Patience,
    losses: &mut Losses,
) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    let mut block = segment.geometry.directory_at;
    let mut blocks = HashSet::new();
    let mut names = HashSet::new();
    while block != 0 {
        if !blocks.insert(block) {
            losses.note(Invariant::Directory, block, "the root directory leads back to itself");
            break;
        }
        let what = "the root directory from this block on";
        if losses.unless_broken(segment.node(block, Kind::DIRECTORY), what)?.is_none() {
            break;
        }
        let mut next = 0;
        for line in 0..LINES {
            let node = block + line * LINE;
            let read = segment.read(patience, |access| read_line(access, node, line == LINES - 1));
            let what = "a line of the root directory, seven names";
            let Some((slots, leads)) = losses.unless_broken(read, what)? else { continue };
            next = leads;
            for slot in slots {
                let what = "a name and its structure";
                let Some(named) = losses.unless_broken(slot, what)? else { continue };
                match names.insert(named.name.clone()) {
                    true => found.push(named),
                    false => losses.note(Invariant::Directory, node, "a name that stands twice"),
                }
            }
        }
        block = next;
    }
    Ok(found)
}

/// What the slots of a line lead to, and the next block if it is the `last` of its own.
fn read_line<A: Access>(
    access: &mut A,
    node: Offset,
    last: bool,
) -> Result<(Vec<Result<Named>>, Offset)> {
    let view = access.pass(None, node, Kind::DIRECTORY)?;
    let words = access.line_words(&view);
    let (slots, next) = match last {
        true => (&words[1..NODE_WORDS], words[NODE_WORDS]),
        false => (&words[1..], 0),
    };
    let mut found = Vec::new();
    for &word in slots.iter().filter(|&word| word & OFFSET_MASK != 0) {
        let record = word & OFFSET_MASK;
        found.push(match read_record(access, &view, record) {
            Ok(named) if tag(&named.name) | record != word => {
                Err(Error::corrupted(Invariant::Directory, record))
            }
            Err(Error::Conflict) => return Err(Error::Conflict),
            read => read,
        });
    }
    access.check(&view)?;
    Ok((found, next))
}

/// Blocks of the directory itself, for the heap's check.
///
/// # Errors
/// As `find`.
pub fn blocks<A: Access>(access: &mut A, first: Offset) -> Result<Vec<Offset>> {
    let mut all = vec![first];
    let mut circle = Circle::from(first);
    while let Some(&block) = all.last() {
        let node = block + (LINES - 1) * LINE;
        let view = access.read(None, node, Kind::DIRECTORY)?;
        let next = access.word(&view, node + NODE_WORDS as u64 * 8);
        access.check(&view)?;
        if next == 0 {
            break;
        }
        if all.len() >= BLOCKS_MAX as usize || circle.closes_at(next) {
            return Err(access.broken(&view, Invariant::Directory, node));
        }
        all.push(next);
    }
    Ok(all)
}

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// Enters a structure; its name must not be there yet (the caller looked in this transaction).
    ///
    /// # Errors
    /// `TooLarge` for a long name; `Full`.
    pub fn enter(&mut self, named: &Named) -> Result<()> {
        let len = named.name.len();
        if len > NAME_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "a structure's name",
                bytes: len as u64,
                max_bytes: NAME_BYTES_MAX as u64,
            });
        }
        let record = self.alloc(16 + len as u64)?;
        let [low, high] = (len as u16).to_le_bytes();
        let head = [named.kind.0, named.flags, low, high, 0, 0, 0, 0];
        self.fill(record, &[&head, &named.node.to_le_bytes(), named.name.as_bytes()]);
        let word = tag(&named.name) | record;
        let first = self.segment.geometry.directory_at;
        let free = walk(first, self, |_, view, at, word| {
            Ok((word & OFFSET_MASK == 0).then_some((*view, at)))
        })?;
        if let Some((view, at)) = free {
            self.write(&view, at, word);
            return Ok(());
        }
        let last = *blocks(self, first)?.last().unwrap_or(&first) + (LINES - 1) * LINE;
        let view = self.read(None, last, Kind::DIRECTORY)?;
        let block = self.alloc_nodes(Kind::DIRECTORY)?;
        let mut words = vec![0; (BLOCK_BYTES / 8) as usize];
        words[1] = word;
        self.fill_nodes(block, &words);
        self.write(&view, last + NODE_WORDS as u64 * 8, block);
        Ok(())
    }

    /// Removes a structure's name; returns what it named.
    ///
    /// # Errors
    /// `Corrupted`.
    pub fn leave(&mut self, name: &str) -> Result<Option<Named>> {
        let first = self.segment.geometry.directory_at;
        let Some((slot, named)) = find_slot(self, first, name)? else {
            return Ok(None);
        };
        self.write(&slot.view, slot.at, 0);
        self.free(slot.record)?;
        Ok(Some(named))
    }
}

const _: () = assert!(BLOCK_BYTES <= GRANULE);
