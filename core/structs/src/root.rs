//! The first node of a small structure: `version | id | words of its own`. The id is random, so
//! that a handle notices when its structure was removed, whatever stands there later.

use vasmem_engine::directory::{self, Named};
use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{Access, Error, Host, Memory, Offset, Result, Touched, Transaction};

const ID: u64 = 8;

/// Where a small structure begins, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its first node.
    pub node: Offset,
    kind: Kind,
    id: u64,
}

impl Root {
    /// Finds the structure called `name`; returns it with its flags.
    ///
    /// # Errors
    /// `WrongKind` if the name belongs to a structure of another kind.
    pub fn open<A: Access>(
        access: &mut A,
        directory_at: Offset,
        name: &str,
        kind: Kind,
    ) -> Result<Option<(Root, u8)>> {
        let Some(named) = directory::find(access, directory_at, name)? else { return Ok(None) };
        Root::of(access, &named, kind).map(|root| Some((root, named.flags)))
    }

    /// The structure that a directory entry names.
    ///
    /// # Errors
    /// As `open`.
    pub fn of<A: Access>(access: &mut A, named: &Named, kind: Kind) -> Result<Root> {
        if named.kind != kind {
            return Err(Error::WrongKind);
        }
        let view = access.navigate(None, named.node, kind)?;
        let id = access.word(&view, named.node + ID);
        access.check(&view)?;
        Ok(Root { node: named.node, kind, id })
    }

    /// Makes one called `name`, which is not there yet, of one block of nodes, whose first has
    /// `words` behind its id.
    ///
    /// # Errors
    /// `Full`, `TooLarge` for a long name.
    pub fn create<M: Memory, H: Host>(
        tx: &mut Transaction<'_, M, H>,
        named: (&str, Kind, u8),
        id: u64,
        words: &[u64],
    ) -> Result<Root> {
        let (name, kind, flags) = named;
        let node = tx.alloc_nodes(kind)?;
        let mut block = vec![0; (kind.block_bytes() / 8) as usize];
        block[1] = id;
        block[2..2 + words.len()].copy_from_slice(words);
        tx.fill_nodes(node, &block);
        tx.enter(&Named { name: name.to_owned(), kind, flags, node })?;
        Ok(Root { node, kind, id })
    }

    /// Its first node, which decides.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn read<A: Access>(&self, access: &mut A) -> Result<A::View> {
        let view = access.read(None, self.node, self.kind)?;
        self.ensure(access, &view)?;
        Ok(view)
    }

    /// Its first node, which leads to others that decide.
    ///
    /// # Errors
    /// As `read`.
    pub fn navigate<A: Access>(&self, access: &mut A) -> Result<A::View> {
        let view = access.navigate(None, self.node, self.kind)?;
        self.ensure(access, &view)?;
        Ok(view)
    }

    fn ensure<A: Access>(&self, access: &mut A, view: &A::View) -> Result<()> {
        if access.word(view, self.node + ID) == self.id {
            return Ok(());
        }
        access.check(view)?;
        Err(Error::Removed)
    }

    /// Frees its block and its name.
    ///
    /// # Errors
    /// As `read`.
    pub fn remove<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        let view = self.read(tx)?;
        tx.write(&view, self.node + ID, !self.id);
        free_lines(tx, self.node, self.kind)?;
        tx.leave(name)?;
        Ok(())
    }
}

/// Frees a block of nodes of one line each.
pub fn free_lines<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    block: Offset,
    kind: Kind,
) -> Result<()> {
    for within in (0..kind.block_bytes()).step_by(LINE as usize) {
        let view: Touched = tx.read(None, block.wrapping_add(within), kind)?;
        tx.free_node(&view);
    }
    tx.free(block)
}
