//! Counting keys up to a place, over the leaves: nothing counts on the way of a write.

use super::BTree;
use super::search::Toward;
use vasmem_engine::{Access, Invariant, Result, Seen};

/// Where a walk over leaves ends.
#[derive(Clone, Copy, Debug)]
pub enum Stop<'a> {
    /// At the leaf in which this many keys were passed.
    Count(u64),
    /// At the leaf that covers the key.
    Key(&'a [u8]),
}

/// How far a walk came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walk {
    /// At its end: keys that were passed, and the first key that the leaf may have.
    Arrived(u64, Vec<u8>),
    /// Keys that were passed, and where to go on.
    Underway(u64, Vec<u8>),
    /// Behind the last leaf, with so many keys.
    Ended(u64),
}

impl BTree {
    /// Slots for keys in all leaves; those that split meanwhile count with their old or new ones.
    ///
    /// # Errors
    /// As [`BTree::get`].
    pub fn slots<A: Access>(&self, access: &mut A) -> Result<u64> {
        let (mut leaves, mut from) = (0, Vec::new());
        loop {
            let mut path = Vec::new();
            let (node, level) = self.descend_to(access, Toward::Key(&from), 1, Some(&mut path))?;
            leaves += if level == 0 { 1 } else { node.count() as u64 };
            let next = self.upper(access, &path)?;
            access.check(&node.view)?;
            match next {
                None => return Ok(leaves * self.form.capacity() as u64),
                Some(next) if next > from => from = next,
                Some(_) => {
                    return Err(access.broken(&node.view, Invariant::TreeNode, node.view.node()));
                }
            }
        }
    }

    /// Walks over the leaves of one inner node, from the leaf that covers `from`, `passed` keys
    /// having been passed before.
    ///
    /// # Errors
    /// As [`BTree::get`], `Conflict` to run again from the same place.
    pub fn walk<A: Access>(
        &self,
        access: &mut A,
        from: &[u8],
        mut passed: u64,
        stop: Stop<'_>,
    ) -> Result<Walk> {
        let mut path = Vec::new();
        let (mut node, level) = self.descend_to(access, Toward::Key(from), 1, Some(&mut path))?;
        node.view = access.decide(&node.view)?;
        if level == 0 {
            return Ok(Walk::Arrived(passed, Vec::new()));
        }
        let next = self.upper(access, &path)?;
        let first = self.child_rank(access, &node, Toward::Key(from))?;
        let last = match stop {
            Stop::Key(key) if next.as_ref().is_none_or(|next| key < &next[..]) => {
                Some(self.child_rank(access, &node, Toward::Key(key))?)
            }
            _ => None,
        };
        for rank in first..node.count() {
            let at = node.entry(access, rank).leads();
            let leaf = self.node(access, Some(&node.view), at, 0)?;
            let count = leaf.count() as u64;
            let leaf = access.decide(&leaf.view)?;
            access.check(&leaf)?;
            let arrived = match stop {
                Stop::Count(wanted) => passed + count > wanted,
                Stop::Key(_) => Some(rank) == last,
            };
            if arrived {
                let mut record = Vec::new();
                let (_, head) = self.fence_of(access, &leaf, &mut record)?;
                return Ok(Walk::Arrived(passed, record[head.key_range()].to_vec()));
            }
            passed += count;
        }
        access.check(&node.view)?;
        match next {
            None => Ok(Walk::Ended(passed)),
            Some(next) if &next[..] > from => Ok(Walk::Underway(passed, next)),
            Some(_) => Err(access.broken(&node.view, Invariant::TreeNode, node.view.node())),
        }
    }
}
