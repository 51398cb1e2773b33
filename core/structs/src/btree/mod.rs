//! BTree: bytes to bytes in key order, a B+tree whose nodes are blocks with a version word.
//!
//! A descent is optimistic: it takes no lock, and looks at each parent again after it has the
//! child's version. A leaf leads to records, as a bucket of a hash map does, so what a change
//! writes is a record and a few words of one leaf. (Optimistic lock coupling: Leis et al., IEEE
//! Data Eng. Bull. 2019; heads and prefixes: Graefe and Larson, ICDE 2001.)

mod bulk;
mod change;
mod index;
mod inline;
mod layout;
mod salvage;
mod scan;
mod search;
mod shape;
mod verify;

use layout::{HEADER_BYTES, header};
use std::ops::Range;
use vasmem_engine::directory::{self, Named};
use vasmem_engine::layout::Kind;
use vasmem_engine::{Access, Error, Host, Invariant, Memory, Offset, Result, Transaction};

use crate::description;
use crate::record::{self, Located};
use crate::shards;
pub use bulk::Pair;
pub use index::{Stop, Walk};
pub use inline::{Ahead, Columns, GROUP};
pub use layout::{Form, KEY_BYTES_MAX, head_of};
pub use salvage::Salvage;
pub use scan::Batch;

/// A B-tree of a segment: where it is and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BTree {
    node: Offset,
    id: u64,
    /// What the entries of its leaves are.
    pub form: Form,
}

impl BTree {
    /// Finds the tree called `name`; returns it with its flags.
    ///
    /// # Errors
    /// `WrongKind` if the name belongs to another structure.
    pub fn open<A: Access>(
        access: &mut A,
        directory_at: Offset,
        name: &str,
    ) -> Result<Option<(BTree, u8)>> {
        let Some(named) = directory::find(access, directory_at, name)? else { return Ok(None) };
        if named.kind == Kind::TYPED_TREE {
            return Err(Error::WrongKind);
        }
        BTree::of(access, &named).map(|tree| Some((tree, named.flags)))
    }

    /// Finds the typed tree called `name`.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_typed<A: Access>(
        access: &mut A,
        directory_at: Offset,
        name: &str,
    ) -> Result<Option<BTree>> {
        match directory::find(access, directory_at, name)? {
            Some(named) if named.kind != Kind::TYPED_TREE => Err(Error::WrongKind),
            Some(named) => BTree::of(access, &named).map(Some),
            None => Ok(None),
        }
    }

    /// The tree, typed or not, that a directory entry names.
    ///
    /// # Errors
    /// As `open`.
    pub fn of<A: Access>(access: &mut A, named: &Named) -> Result<BTree> {
        let is_typed = named.kind == Kind::TYPED_TREE;
        if named.kind != Kind::TREE_HEADER && !is_typed {
            return Err(Error::WrongKind);
        }
        let view = access.navigate(None, named.node, Kind::TREE_HEADER)?;
        let id = access.word(&view, named.node + header::ID);
        let sizes = access.word(&view, named.node + header::FORM);
        access.check(&view)?;
        let form = match is_typed {
            true => Form::typed(sizes & 0xffff_ffff, sizes >> 32),
            false => Some(Form::LEADING),
        };
        match form {
            Some(form) => Ok(BTree { node: named.node, id, form }),
            None => Err(access.broken(&view, Invariant::TreeNode, named.node + header::FORM)),
        }
    }

    /// Makes an empty tree called `name`, which is not there yet. `id` is random, `flags` are the
    /// caller's.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        flags: u8,
        id: u64,
    ) -> Result<BTree> {
        BTree::make(tx, (name, Kind::TREE_HEADER, flags), id, Form::LEADING, 0)
    }

    /// As `create`, of a tree with keys and values of this form; `description` is the caller's.
    ///
    /// # Errors
    /// As `create`; `TooLarge` for a long description.
    pub fn create_typed<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        name: &str,
        form: Form,
        description: &[u8],
        id: u64,
    ) -> Result<BTree> {
        let description = description::make(tx, description)?;
        BTree::make(tx, (name, Kind::TYPED_TREE, 0), id, form, description)
    }

    fn make<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        (name, kind, flags): (&str, Kind, u8),
        id: u64,
        form: Form,
        description: Offset,
    ) -> Result<BTree> {
        let node = tx.alloc_nodes(Kind::TREE_HEADER)?;
        let root = shape::make_empty(tx, form)?;
        let mut words = vec![0; (HEADER_BYTES / 8) as usize];
        words[header::ID as usize / 8] = id;
        words[header::FLAGS as usize / 8] = u64::from(flags);
        words[header::ROOT as usize / 8] = root;
        words[header::DESCRIPTION as usize / 8] = description;
        words[header::FORM as usize / 8] =
            u64::from(form.key_bytes) | u64::from(form.value_bytes) << 32;
        tx.fill_nodes(node, &words);
        tx.enter(&Named { name: name.to_owned(), kind, flags, node })?;
        Ok(BTree { node, id, form })
    }

    /// The description that a typed tree was made with.
    ///
    /// # Errors
    /// As `get`.
    pub fn description<A: Access>(&self, access: &mut A) -> Result<Vec<u8>> {
        let (view, words) = self.header(access)?;
        let block = words[header::DESCRIPTION as usize / 8];
        description::read(access, &view, block, Invariant::TreeNode)
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
        let place = self.search(access, key, record)?;
        match place.found {
            Some((_, head)) => record::value(access, &place.node.view, head, record).map(Some),
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
        Ok(self.search(access, key, record)?.found.is_some())
    }

    /// Where the value of a key stands.
    ///
    /// # Errors
    /// As `get`; `WrongKind` of a typed tree, whose values move.
    pub fn locate<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Option<Located>> {
        let place = self.search(access, key, record)?;
        let Some((entry, head)) = place.found else { return Ok(None) };
        if self.form.is_inline() {
            return Err(Error::WrongKind);
        }
        record::locate(access, &place.node.view, entry.leads(), head, record).map(Some)
    }

    /// Number of keys: exact whenever nobody writes.
    ///
    /// # Errors
    /// As `get`.
    pub fn len<A: Access>(&self, access: &mut A) -> Result<u64> {
        let (head, _) = self.header(access)?;
        shards::sum(access, &head, (self.node, Kind::TREE_HEADER), self.form.least_bytes())
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// As `get`.
    pub fn is_empty<A: Access>(&self, access: &mut A) -> Result<bool> {
        Ok(self.len(access)? == 0)
    }

    fn count<M: Memory, H: Host>(&self, tx: &mut Transaction<'_, M, H>, by: i64) -> Result<()> {
        shards::add(tx, (self.node, Kind::TREE_HEADER), by)
    }
}
