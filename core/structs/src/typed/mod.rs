//! TypedMap: keys and values of fixed sizes, both in the nodes of the table, so that a lookup
//! touches one place in memory. Header, directory and splits are those of a hash map.

mod change;
mod layout;
mod lookup;
mod salvage;
mod scan;
mod verify;

use crate::HashMap;
use crate::description;
use crate::hashmap::{Cursor, Entry};
use layout::header;
use vasmem_engine::directory::{self, Named};
use vasmem_engine::layout::{GRANULE, Kind};
use vasmem_engine::{Access, Error, Host, Invariant, Memory, Offset, Result, Transaction};

pub use change::Put;
pub use layout::{ENTRY_BYTES_MAX, Form, KEY_BYTES_MAX, words};
pub use lookup::{Ahead, GROUP};

/// A typed hash map of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedMap {
    map: HashMap,
    /// The sizes of its keys and values.
    pub form: Form,
}

/// All keys and values of some tables, one after the other, and the position behind them.
pub type Piece = (Vec<u8>, Vec<u8>, Cursor);

impl TypedMap {
    /// Finds the map called `name`.
    ///
    /// # Errors
    /// `WrongKind` if the name belongs to another structure.
    pub fn open<A: Access>(
        access: &mut A,
        directory_at: Offset,
        name: &str,
    ) -> Result<Option<TypedMap>> {
        match directory::find(access, directory_at, name)? {
            Some(named) => TypedMap::of(access, &named).map(Some),
            None => Ok(None),
        }
    }

    /// The map that a directory entry names.
    ///
    /// # Errors
    /// As `open`.
    pub fn of<A: Access>(access: &mut A, named: &Named) -> Result<TypedMap> {
        if named.kind != Kind::TYPED {
            return Err(Error::WrongKind);
        }
        let map = HashMap::at(access, named.node)?;
        let (view, words) = map.header(access)?;
        let form = words[header::FORM as usize / 8];
        access.check(&view)?;
        match Form::new(form & 0xffff_ffff, form >> 32) {
            Some(form) => Ok(TypedMap { map, form }),
            None => Err(access.broken(&view, Invariant::HashDirectory, named.node + header::FORM)),
        }
    }

    /// Makes an empty map called `name`, which is not there yet. `id` is random; `description` is
    /// the caller's.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name or description.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        form: Form,
        description: &[u8],
        id: u64,
    ) -> Result<TypedMap> {
        let block = description::make(tx, description)?;
        let table = tx.alloc_nodes(form.kind)?;
        let empty = vec![0; (GRANULE / 8) as usize];
        tx.fill_nodes_of(table, &empty, form.node_bytes());
        let map = HashMap::create_over(tx, Entry::new(table, 0, false), id, |words| {
            words[header::DESCRIPTION as usize / 8] = block;
            words[header::FORM as usize / 8] = form.key_bytes | form.value_bytes << 32;
        })?;
        let named = Named { name: name.to_owned(), kind: Kind::TYPED, flags: 0, node: map.node() };
        tx.enter(&named)?;
        Ok(TypedMap { map, form })
    }

    /// The description that it was made with.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn description<A: Access>(&self, access: &mut A) -> Result<Vec<u8>> {
        let (view, words) = self.map.header(access)?;
        let block = words[header::DESCRIPTION as usize / 8];
        description::read(access, &view, block, Invariant::HashDirectory)
    }

    /// Number of keys: exact whenever nobody writes.
    ///
    /// # Errors
    /// As `description`.
    pub fn len<A: Access>(&self, access: &mut A) -> Result<u64> {
        self.map.len(access)
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// As `description`.
    pub fn is_empty<A: Access>(&self, access: &mut A) -> Result<bool> {
        self.map.is_empty(access)
    }
}
