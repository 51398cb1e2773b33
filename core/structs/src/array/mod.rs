//! Array: rows of one size in one piece, and a header that says where.
//!
//! What a row is, only the binding knows: the array keeps a description of it, as bytes. Rows are
//! changed under the locks of *stripes*, nodes that guard a part of the rows each, so that writers
//! of different rows do not meet; the header is changed only when the array grows, shrinks or
//! moves. Plain stores, through a view of the rows, take no part in that.

mod change;
mod layout;
mod patch;
mod verify;

pub use layout::{DESCRIPTION_BYTES_MAX, LOGGED_BYTES_MAX};

use layout::{ALIGNMENT, HEADER_WORDS, STRIPES, block_bytes, header, stripe_node, stripes};
use std::ops::Range;
use vasmem_engine::directory::{self, Named};
use vasmem_engine::lab::{Mutation, mutated};
use vasmem_engine::layout::{Kind, SIZE_MAX};
use vasmem_engine::{Access, Error, Host, Invariant, Memory, Offset, Result, Transaction};

/// An array of a segment: where it is, which one it is, and how large its rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    node: Offset,
    id: u64,
    row_bytes: u64,
}

/// What the header says.
struct State<V> {
    head: V,
    data: Offset,
    capacity: u64,
    length: u64,
}

impl Array {
    /// Finds the array called `name`.
    ///
    /// # Errors
    /// `WrongKind` if the name belongs to another structure.
    pub fn open<A: Access>(
        access: &mut A,
        directory_at: Offset,
        name: &str,
    ) -> Result<Option<Array>> {
        let Some(named) = directory::find(access, directory_at, name)? else { return Ok(None) };
        Array::of(access, &named).map(Some)
    }

    /// The array that a directory entry names.
    ///
    /// # Errors
    /// As `open`.
    pub fn of<A: Access>(access: &mut A, named: &Named) -> Result<Array> {
        if named.kind != Kind::ARRAY {
            return Err(Error::WrongKind);
        }
        let head = access.navigate(None, named.node, Kind::ARRAY)?;
        let id = access.word(&head, named.node + header::ID);
        let row_bytes = access.word(&head, named.node + header::ROW_BYTES);
        access.check(&head)?;
        if row_bytes == 0 {
            return Err(access.broken(&head, Invariant::Array, named.node));
        }
        Ok(Array { node: named.node, id, row_bytes })
    }

    /// Makes an array of zeros called `name`, which is not there yet. `id` is random,
    /// `description` the caller's, of rows that have at least one byte.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name or description, or for too many rows.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        id: u64,
        (length, row_bytes): (u64, u64),
        description: &[u8],
    ) -> Result<Array> {
        let bytes = description.len() as u64;
        if bytes > DESCRIPTION_BYTES_MAX {
            let max_bytes = DESCRIPTION_BYTES_MAX;
            return Err(Error::TooLarge { what: "the dtype of an array", bytes, max_bytes });
        }
        let used = size(length, row_bytes)?;
        let record = tx.alloc(8 + bytes)?;
        tx.fill(record, &[&bytes.to_le_bytes(), description]);
        let node = tx.alloc_nodes(Kind::ARRAY)?;
        // Last, so that what comes behind it is free to grow into.
        let room = block_bytes(used.max(1));
        let data = tx.alloc(room)?;
        tx.fill_zeros(data, used.max(1).next_multiple_of(8));
        let mut words = [0; HEADER_WORDS];
        words[header::ID as usize / 8] = id;
        words[header::DATA as usize / 8] = data;
        words[header::CAPACITY as usize / 8] = room / row_bytes;
        words[header::LENGTH as usize / 8] = length;
        words[header::ROW_BYTES as usize / 8] = row_bytes;
        words[header::DESCRIPTION as usize / 8] = record;
        tx.fill_nodes(node, &words);
        tx.enter(&Named { name: name.to_owned(), kind: Kind::ARRAY, flags: 0, node })?;
        Ok(Array { node, id, row_bytes })
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// What the header says, checked.
    fn state<A: Access>(&self, access: &mut A) -> Result<State<A::View>> {
        let head = access.navigate(None, self.node, Kind::ARRAY)?;
        let words = access.line_words(&head);
        if words[header::ID as usize / 8] != self.id {
            access.check(&head)?;
            return Err(Error::Removed);
        }
        let word = |at: u64| words[at as usize / 8];
        let (data, capacity, length) =
            (word(header::DATA), word(header::CAPACITY), word(header::LENGTH));
        let bytes = capacity.checked_mul(self.row_bytes).filter(|&bytes| bytes <= SIZE_MAX);
        let (Some(bytes), true) = (
            bytes,
            word(header::ROW_BYTES) == self.row_bytes
                && length <= capacity
                && data.is_multiple_of(ALIGNMENT),
        ) else {
            return Err(access.broken(&head, Invariant::Array, self.node));
        };
        access.data(&head, data, bytes.next_multiple_of(8))?;
        Ok(State { head, data, capacity, length })
    }

    /// The header, and the nodes of the stripes in `mask`; they decide.
    fn guards<A: Access>(
        &self,
        access: &mut A,
        state: &State<A::View>,
        mask: u16,
    ) -> Result<Vec<A::View>> {
        let mut views = vec![state.head];
        for stripe in (0..STRIPES).filter(|stripe| mask >> stripe & 1 != 0) {
            let node = stripe_node(self.node, stripe);
            views.push(access.read(Some(&state.head), node, Kind::ARRAY)?);
        }
        Ok(views)
    }

    /// What the rows are, in the words of who made the array.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn description<A: Access>(&self, access: &mut A) -> Result<Vec<u8>> {
        let State { head, .. } = self.state(access)?;
        let record = access.word(&head, self.node + header::DESCRIPTION);
        access.data(&head, record, 8)?;
        let mut len = [0; 8];
        access.bytes(&head, record, &mut len);
        let len = u64::from_le_bytes(len);
        if len > DESCRIPTION_BYTES_MAX {
            return Err(access.broken(&head, Invariant::Array, record));
        }
        access.data(&head, record, 8 + len)?;
        let mut bytes = vec![0; len as usize];
        access.bytes(&head, record + 8, &mut bytes);
        access.check(&head)?;
        Ok(bytes)
    }

    /// Number of rows.
    ///
    /// # Errors
    /// As `description`.
    pub fn len<A: Access>(&self, access: &mut A) -> Result<u64> {
        let state = self.state(access)?;
        let head = access.decide(&state.head)?;
        access.check(&head)?;
        Ok(state.length)
    }

    /// Whether there is no row.
    ///
    /// # Errors
    /// As `description`.
    pub fn is_empty<A: Access>(&self, access: &mut A) -> Result<bool> {
        Ok(self.len(access)? == 0)
    }

    /// Where the rows are, and how many.
    ///
    /// # Errors
    /// As `description`.
    pub fn locate<A: Access>(&self, access: &mut A) -> Result<(Offset, u64)> {
        let state = self.state(access)?;
        let head = access.decide(&state.head)?;
        access.check(&head)?;
        Ok((state.data, state.length))
    }

    /// Rows that there is room for.
    ///
    /// # Errors
    /// As `description`.
    pub fn capacity<A: Access>(&self, access: &mut A) -> Result<u64> {
        let state = self.state(access)?;
        access.check(&state.head)?;
        Ok(state.capacity)
    }

    /// Copies ranges of bytes of rows out, one behind the other, all as they were at one time.
    /// Copies nothing and is false if they are not all there, or if there are not `length` rows,
    /// where one is given.
    ///
    /// # Errors
    /// As `description`.
    ///
    /// # Panics
    /// If `into` is not as long as all ranges together.
    pub fn read<A: Access>(
        &self,
        access: &mut A,
        ranges: &[Range<u64>],
        length: Option<u64>,
        into: &mut [u8],
    ) -> Result<bool> {
        let state = self.state(access)?;
        if !self.fits(&state, ranges) || length.is_some_and(|length| length != state.length) {
            let head = access.decide(&state.head)?;
            access.check(&head)?;
            return Ok(false);
        }
        let mask = if mutated(Mutation::StripesNotRead) { 0 } else { mask_of(ranges) };
        let views = self.guards(access, &state, mask)?;
        let mut rest = into;
        for range in ranges {
            let (here, behind) = rest.split_at_mut((range.end - range.start) as usize);
            access.bytes_under(&views, state.data + range.start, here);
            rest = behind;
        }
        for view in &views {
            access.check(view)?;
        }
        Ok(true)
    }

    fn fits<V>(&self, state: &State<V>, ranges: &[Range<u64>]) -> bool {
        let used = state.length * self.row_bytes;
        ranges.iter().all(|range| range.start <= range.end && range.end <= used)
    }
}

/// Stripes that guard any of the ranges.
fn mask_of(ranges: &[Range<u64>]) -> u16 {
    ranges.iter().fold(0, |mask, range| mask | stripes(range.clone()))
}

/// Bytes of so many rows.
fn size(length: u64, row_bytes: u64) -> Result<u64> {
    let bytes = length.checked_mul(row_bytes);
    bytes.filter(|&bytes| bytes <= SIZE_MAX).ok_or(Error::TooLarge {
        what: "an array",
        bytes: bytes.unwrap_or(u64::MAX),
        max_bytes: SIZE_MAX,
    })
}
