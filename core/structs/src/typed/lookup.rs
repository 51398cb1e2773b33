//! Finding: directory, table, node.

use super::TypedMap;
use super::layout::{OVERFLOWED, node};
use crate::hashmap::{Hash, Table};
use vasmem_engine::lab::{Mutation, mutated};
use vasmem_engine::layout::LINE;
use vasmem_engine::{Access, Glance, Glimpse, Host, Memory, Offset, Result, Seen};

/// Keys whose memory is asked for at a time.
pub const GROUP: usize = 16;

/// The tables of a group of keys, as far as they were found at a glance.
pub type Ahead = [Option<Table<Glimpse>>; GROUP];

/// A node as it was seen.
#[derive(Clone, Copy)]
pub(super) struct Node<V> {
    pub view: V,
    pub used: u64,
}

/// An entry in its node.
#[derive(Clone, Copy)]
pub(super) struct Found<V> {
    pub view: V,
    /// The node's word of entries in use.
    pub used: u64,
    /// Its number in the node.
    pub number: u64,
}

/// What a search came to.
pub(super) enum Search<V> {
    Hit(Found<V>),
    Miss { home: Node<V>, next: Node<V> },
}

impl TypedMap {
    /// A node that may turn out to decide.
    #[inline(always)]
    pub(super) fn pass_node<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        number: u64,
    ) -> Result<Node<A::View>> {
        let at = self.form.node(table.entry.table(), number);
        let view = access.pass(Some(&table.parent), at, self.form.kind)?;
        let used = access.word(&view, at + node::USED);
        Ok(Node { view, used })
    }

    /// A node that decides.
    pub(super) fn node<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        number: u64,
    ) -> Result<Node<A::View>> {
        let mut seen = self.pass_node(access, table, number)?;
        seen.view = access.decide(&seen.view)?;
        Ok(seen)
    }

    /// Number of the entry that has the key, in one node.
    #[inline(always)]
    fn entry_of<A: Access>(&self, access: &A, seen: &Node<A::View>, key: &[u64]) -> Option<u64> {
        let mut left = seen.used & self.form.all();
        if let &[word] = key {
            // All of them, without a branch that nobody could foresee.
            let places =
                (seen.view.node() + self.form.entry(0)..).step_by(self.form.entry_bytes() as usize);
            let same =
                places.take(self.form.entries as usize).enumerate().fold(0, |same, (i, at)| {
                    same | u64::from(access.word(&seen.view, at) == word) << i
                });
            left &= same;
            return (left != 0).then(|| u64::from(left.trailing_zeros()));
        }
        while left != 0 {
            let number = u64::from(left.trailing_zeros());
            left &= left - 1;
            let at = seen.view.node() + self.form.entry(number);
            let mut words = key.iter().zip((at..).step_by(8));
            if words.all(|(&word, at)| access.word(&seen.view, at) == word) {
                return Some(number);
            }
        }
        None
    }

    /// A hit in one node, which was so at one time.
    #[inline(always)]
    fn hit<A: Access>(
        &self,
        access: &mut A,
        seen: &Node<A::View>,
        key: &[u64],
    ) -> Result<Option<Found<A::View>>> {
        let Some(number) = self.entry_of(access, seen, key) else { return Ok(None) };
        access.check(&seen.view)?;
        let view = access.decide(&seen.view)?;
        Ok(Some(Found { view, used: seen.used, number }))
    }

    /// Looks for a key everywhere it may stand. All that decided was consistent.
    #[inline(always)]
    pub(super) fn search<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        hash: Hash,
        key: &[u64],
    ) -> Result<Search<A::View>> {
        let number = self.form.home(hash);
        let mut home = self.pass_node(access, table, number)?;
        if let Some(found) = self.hit(access, &home, key)? {
            return Ok(Search::Hit(found));
        }
        let mut next = self.pass_node(access, table, number + 1)?;
        if let Some(found) = self.hit(access, &next, key)? {
            return Ok(Search::Hit(found));
        }
        home.view = access.decide(&home.view)?;
        next.view = access.decide(&next.view)?;
        if home.used & OVERFLOWED != 0
            && let Some(found) = self.search_stash(access, table, hash, key)?
        {
            return Ok(Search::Hit(found));
        }
        // A miss is true only if all of them were so at one time.
        access.check(&next.view)?;
        access.check(&home.view)?;
        Ok(Search::Miss { home, next })
    }

    #[cold]
    fn search_stash<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        hash: Hash,
        key: &[u64],
    ) -> Result<Option<Found<A::View>>> {
        let mut seen = Vec::new();
        for step in 0..self.form.window() {
            let stash = self.node(access, table, self.form.stash(hash, step))?;
            if let Some(found) = self.hit(access, &stash, key)? {
                return Ok(Some(found));
            }
            seen.push(stash.view);
        }
        seen.iter().try_for_each(|view| access.check(view))?;
        Ok(None)
    }

    /// Copies the value of an entry into `value`, which is as long.
    #[inline(always)]
    pub(super) fn copy_value<A: Access>(
        &self,
        access: &A,
        found: &Found<A::View>,
        value: &mut [u8],
    ) -> Result<()> {
        access.bytes(&found.view, self.value_at(found.view.node(), found.number), value);
        if mutated(Mutation::NodeNotRechecked) {
            return Ok(());
        }
        access.check(&found.view)
    }

    /// Place of the value of an entry.
    #[inline(always)]
    pub(super) fn value_at(&self, node: Offset, number: u64) -> Offset {
        node + self.form.entry(number) + self.form.key_words() * 8
    }

    /// Looks a key up, and copies its value into `value`; whether it is there.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    #[inline]
    pub fn get<A: Access>(
        &self,
        access: &mut A,
        hash: Hash,
        key: &[u64],
        value: &mut [u8],
    ) -> Result<bool> {
        let table = self.map.table(access, hash.index())?;
        self.get_in(access, &table, hash, key, value)
    }

    #[inline(always)]
    fn get_in<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        hash: Hash,
        key: &[u64],
        value: &mut [u8],
    ) -> Result<bool> {
        match self.search(access, table, hash, key)? {
            Search::Hit(found) => self.copy_value(access, &found, value).map(|()| true),
            Search::Miss { .. } => Ok(false),
        }
    }

    /// Asks for the nodes of at most [`GROUP`] keys.
    #[inline(always)]
    pub fn ask<M: Memory, H: Host>(&self, glance: &mut Glance<'_, M, H>, hashes: &[Hash]) -> Ahead {
        let mut tables = [None; GROUP];
        let Ok(head) = self.map.header(glance) else { return tables };
        for (place, &hash) in tables.iter_mut().zip(hashes) {
            let Ok(table) = self.map.table_under(glance, &head, hash.index()) else { continue };
            let first = self.form.node(table.entry.table(), self.form.home(hash));
            // Most keys stand in their home.
            for line in 0..(self.form.node_bytes() / LINE).min(4) {
                glance.prefetch(first + line * LINE);
            }
            *place = Some(table);
        }
        tables
    }

    /// As `get`, of a key that was asked for; nothing is known if it fails.
    ///
    /// # Errors
    /// Any.
    #[inline(always)]
    pub fn get_asked<M: Memory, H: Host>(
        &self,
        glance: &mut Glance<'_, M, H>,
        table: &Table<Glimpse>,
        hash: Hash,
        key: &[u64],
        value: &mut [u8],
    ) -> Result<bool> {
        self.get_in(glance, table, hash, key, value)
    }
}
