//! HashMap: bytes to bytes, lazy extendible hashing over one-line buckets.
//!
//! A tiny directory leads to tables of one granule; a bucket is a node of one cache line; a hit
//! touches the bucket's line and the record. Tables split one at a time, in one transaction each,
//! so there is no rehash pause. (Fagin et al., *Extendible hashing*, TODS 1979.)

mod batch;
mod change;
mod conditional;
mod layout;
mod lookup;
mod salvage;
mod scan;
mod split;
mod verify;

use crate::shards;
use layout::{SMALL, header};
use std::ops::Range;
use vasmem_engine::directory::{self, Named};
use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{Access, Error, Host, Memory, Offset, Result, Transaction};

pub use batch::{Foreseen, GROUP, Group};
pub(crate) use layout::{DEPTH_MAX, Entry};
pub use layout::{Hash, KEY_BYTES_MAX};
pub use lookup::Table;
pub use salvage::{Claims, Piece, Salvage};
pub use scan::Cursor;
pub(crate) use split::too_deep;

/// A hash map of a segment: where it is and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashMap {
    node: Offset,
    id: u64,
}

impl HashMap {
    /// Finds the map called `name`; returns it with its flags.
    ///
    /// # Errors
    /// `WrongKind` if the name belongs to another structure.
    pub fn open<A: Access>(
        access: &mut A,
        directory_at: Offset,
        name: &str,
    ) -> Result<Option<(HashMap, u8)>> {
        let Some(named) = directory::find(access, directory_at, name)? else { return Ok(None) };
        HashMap::of(access, &named).map(|map| Some((map, named.flags)))
    }

    /// The map that a directory entry names.
    ///
    /// # Errors
    /// As `open`.
    pub fn of<A: Access>(access: &mut A, named: &Named) -> Result<HashMap> {
        if named.kind != Kind::HASH_HEADER {
            return Err(Error::WrongKind);
        }
        HashMap::at(access, named.node)
    }

    /// Makes an empty map called `name`, which is not there yet. `id` is random, `flags` are the
    /// caller's.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        flags: u8,
        id: u64,
    ) -> Result<HashMap> {
        let table = tx.alloc_nodes(SMALL.kind)?;
        tx.fill_nodes(table, &vec![0; (SMALL.lines * LINE / 8) as usize]);
        let map = HashMap::create_over(tx, Entry::new(table, 0, true), id, |words| {
            words[header::FLAGS as usize / 8] = u64::from(flags);
        })?;
        let node = map.node;
        tx.enter(&Named { name: name.to_owned(), kind: Kind::HASH_HEADER, flags, node })?;
        Ok(map)
    }

    /// The header block.
    pub(crate) fn node(&self) -> Offset {
        self.node
    }

    /// Of the header at `node`, whatever stands in its tables.
    pub(crate) fn at<A: Access>(access: &mut A, node: Offset) -> Result<HashMap> {
        let view = access.navigate(None, node, Kind::HASH_HEADER)?;
        let id = access.word(&view, node + header::ID);
        access.check(&view)?;
        Ok(HashMap { node, id })
    }

    /// Makes a header with `only` as its only entry; `more` adds words to its first line.
    pub(crate) fn create_over<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        only: Entry,
        id: u64,
        more: impl FnOnce(&mut [u64]),
    ) -> Result<HashMap> {
        let node = tx.alloc_nodes(Kind::HASH_HEADER)?;
        let mut words = vec![0; (layout::HEADER_BYTES / 8) as usize];
        words[header::ID as usize / 8] = id;
        words[header::ONLY as usize / 8] = only.0;
        more(&mut words);
        tx.fill_nodes(node, &words);
        Ok(HashMap { node, id })
    }

    /// Looks a key up. The value is the returned range of `record`, a buffer that only grows.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    #[inline]
    pub fn get<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>> {
        self.get_hashed(access, Hash::of(key, access.seed()), key, record)
    }

    /// As `get`, of a key whose hash is known.
    ///
    /// # Errors
    /// As `get`.
    #[inline]
    pub fn get_hashed<A: Access>(
        &self,
        access: &mut A,
        hash: Hash,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Range<usize>>> {
        match self.search(access, hash, key, record, None)? {
            Some(found) => self.value(access, &found, record).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// As `get`.
    #[inline]
    pub fn contains<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        let hash = Hash::of(key, access.seed());
        Ok(self.search(access, hash, key, record, None)?.is_some())
    }

    /// Number of keys: exact whenever nobody writes.
    ///
    /// # Errors
    /// As `get`.
    pub fn len<A: Access>(&self, access: &mut A) -> Result<u64> {
        let (head, _) = self.header(access)?;
        shards::sum(access, &head, (self.node, Kind::HASH_HEADER), Kind(1).block_bytes())
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// As `get`.
    pub fn is_empty<A: Access>(&self, access: &mut A) -> Result<bool> {
        Ok(self.len(access)? == 0)
    }

    pub(crate) fn count<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        by: i64,
    ) -> Result<()> {
        shards::add(tx, (self.node, Kind::HASH_HEADER), by)
    }
}
