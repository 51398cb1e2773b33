//! Walking all of a tree: its check, and its removal.

use super::BTree;
use super::layout::{CAPACITY, Entry, LEVEL_MAX, header};
use super::search::Node;
use crate::record::{self, OFFSET_MASK};
use std::collections::HashSet;
use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{
    Access, Error, Host, Invariant, Memory, Offset, Reached, Result, Seen, Transaction,
};

/// A node that is still to be visited, and what its place says of it.
struct Ahead {
    at: Offset,
    level: u8,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    nodes: HashSet<Offset>,
    keys: u64,
}

impl BTree {
    fn root<A: Access>(&self, access: &mut A) -> Result<Ahead> {
        let (head, words) = self.header(access)?;
        let root = words[header::ROOT as usize / 8];
        let level = (root >> 48) as u8;
        if level > LEVEL_MAX {
            return Err(access.broken(&head, Invariant::TreeNode, self.node));
        }
        Ok(Ahead { at: root & OFFSET_MASK, level, lower: Vec::new(), upper: None })
    }

    /// Levels of nodes, from the root to the leaves.
    ///
    /// # Errors
    /// As `get`.
    pub fn levels<A: Access>(&self, access: &mut A) -> Result<u8> {
        Ok(self.root(access)?.level + 1)
    }

    /// Walks the whole tree while nobody writes: notes its blocks, and what breaks an invariant.
    ///
    /// # Errors
    /// `Corrupted` where it cannot go on.
    pub fn reach<A: Access>(&self, access: &mut A, reached: &mut Reached) -> Result<()> {
        reached.block(self.node);
        if self.form.is_inline() {
            self.description(access)?;
            let (_, words) = self.header(access)?;
            reached.block(words[header::DESCRIPTION as usize / 8]);
        }
        let mut found = Found::default();
        let mut ahead = vec![self.root(access)?];
        while let Some(place) = ahead.pop() {
            if !found.nodes.insert(place.at) {
                return Err(Error::corrupted(Invariant::TreeNode, place.at));
            }
            let node = self.node(access, None, place.at, place.level)?;
            self.reach_node(access, &place, &node, (&mut ahead, &mut found), reached)?;
        }
        let counted = self.len(access)?;
        if counted != found.keys {
            let text = format!("counts say {counted} keys, {} are there", found.keys);
            reached.broken(Invariant::MapCount, self.node, text);
        }
        Ok(())
    }

    fn reach_node<A: Access>(
        &self,
        access: &mut A,
        place: &Ahead,
        node: &Node<A::View>,
        (ahead, found): (&mut Vec<Ahead>, &mut Found),
        reached: &mut Reached,
    ) -> Result<()> {
        let at = place.at;
        reached.block(at);
        let mut tell = |text: &str| reached.broken(Invariant::TreeNode, at, text);
        let mut slots = [false; CAPACITY];
        let slots = &mut slots[..node.form.capacity()];
        for &slot in &node.order[..slots.len()] {
            if let Some(slot) = slots.get_mut(usize::from(slot)) {
                *slot = true;
            }
        }
        if slots.contains(&false) {
            tell("its order leaves a slot out");
        }
        let mut record = Vec::new();
        let (fence, head) = self.fence_of(access, &node.view, &mut record)?;
        if record[head.key_range()] != place.lower[..] || (fence == 0) != place.lower.is_empty() {
            tell("its lower fence is not the key that leads to it");
        }
        if fence != 0 {
            reached.block(fence);
        }
        let first = ahead.len();
        let mut last: Option<Vec<u8>> = None;
        for rank in 0..node.count() {
            let entry = node.entry(access, rank);
            let key = match place.level {
                0 if node.form.is_inline() => self.reach_inline(access, node, rank, reached),
                0 => match self.reach_record(access, node, entry, reached)? {
                    Some(key) => key,
                    None => continue,
                },
                _ => {
                    let child = entry.leads();
                    let (_, head) =
                        self.fence(access, (&node.view, place.level), child, &mut record)?;
                    record[head.key_range()].to_vec()
                }
            };
            self.reach_key(place, node, (rank, entry), (&key, last.as_deref()), reached);
            if place.level > 0 {
                let (level, lower) = (place.level - 1, key.clone());
                ahead.push(Ahead { at: entry.leads(), level, lower, upper: None });
            }
            last = Some(key);
        }
        if place.level == 0 {
            found.keys += node.count() as u64;
            return Ok(());
        }
        let uppers: Vec<_> = ahead[first..].iter().skip(1).map(|next| next.lower.clone()).collect();
        let uppers = uppers.into_iter().map(Some).chain([place.upper.clone()]);
        ahead[first..].iter_mut().zip(uppers).for_each(|(child, upper)| child.upper = upper);
        Ok(())
    }

    /// A key stands in order, inside its node's range, and its entry says so.
    fn reach_key<V>(
        &self,
        place: &Ahead,
        node: &Node<V>,
        (rank, entry): (usize, Entry),
        (key, last): (&[u8], Option<&[u8]>),
        reached: &mut Reached,
    ) {
        let is_first = rank == 0 && place.level > 0;
        let inside = key >= &place.lower[..]
            && place.upper.as_ref().is_none_or(|upper| key < &upper[..])
            && (!is_first || key == &place.lower[..]);
        if !inside || last.is_some_and(|last| last >= key) {
            let text = format!("the key of rank {rank} is not in order");
            reached.broken(Invariant::TreeOrder, place.at, text);
        }
        let prefix = node.meta.prefix();
        let fits = node.form.is_inline()
            || key.len() >= prefix && Entry::new(key, prefix, entry.leads()) == entry;
        if !is_first && !fits {
            let text = format!("the entry of rank {rank} is not that of its key");
            reached.broken(Invariant::TreeOrder, place.at, text);
        }
    }

    /// The key of an entry of a typed tree.
    fn reach_inline<A: Access>(
        &self,
        access: &A,
        node: &Node<A::View>,
        rank: usize,
        reached: &mut Reached,
    ) -> Vec<u8> {
        let words: Vec<u64> = node.entry_words(access, rank).take(node.form.key_words()).collect();
        let key = node.form.key_of(&words);
        if !node.form.entry(&key, b"").eq(words) {
            let text = format!("the key of rank {rank} has bytes behind its end");
            reached.broken(Invariant::TreeOrder, node.view.node(), text);
        }
        key
    }

    /// The key of a leaf's entry; `None` if its record is broken.
    fn reach_record<A: Access>(
        &self,
        access: &mut A,
        node: &Node<A::View>,
        entry: Entry,
        reached: &mut Reached,
    ) -> Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        reached.block(entry.leads());
        let head = match self.record_at(access, &node.view, entry, &mut record) {
            Err(Error::Corrupted { invariant, at }) => {
                reached.broken(invariant, at, "a record's lengths are impossible");
                return Ok(None);
            }
            head => head?,
        };
        if let Some(large) = record::large_node(&record, head) {
            let (_, data, _) = record::large(access, &node.view, large)?;
            reached.block(large);
            reached.block(data);
        }
        Ok(Some(record[head.key_range()].to_vec()))
    }

    /// Frees all of the tree and its name, in one transaction.
    ///
    /// # Errors
    /// `TooLarge` if the tree has more nodes than one transaction can list.
    pub fn remove<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        let root = self.root(tx)?;
        let mut ahead = vec![(root.at, root.level)];
        let mut seen = HashSet::new();
        while let Some((at, level)) = ahead.pop() {
            let mut node = self.node(tx, None, at, level)?;
            if !seen.insert(at) {
                return Err(tx.broken(&node.view, Invariant::TreeNode, at));
            }
            node.view = tx.decide(&node.view)?;
            if level == 0 {
                self.free_records(tx, &node)?;
            } else {
                ahead.extend((0..node.count()).map(|r| (node.entry(tx, r).leads(), level - 1)));
            }
            let fence = self.fence_of(tx, &node.view, &mut Vec::new())?.0;
            if fence != 0 {
                tx.free(fence)?;
            }
            self.free_node(tx, &node)?;
        }
        // A handle that is still around must notice, whatever stands here later.
        let (head, words) = self.header(tx)?;
        let head = tx.decide(&head)?;
        if self.form.is_inline() {
            tx.free(words[header::DESCRIPTION as usize / 8])?;
        }
        tx.write(&head, self.node + header::ID, !self.id);
        let block = self.node..self.node + Kind::TREE_HEADER.block_bytes();
        for line in block.step_by(LINE as usize) {
            let view = tx.read(None, line, Kind::TREE_HEADER)?;
            tx.free_node(&view);
        }
        tx.free(self.node)?;
        tx.leave(name)?;
        Ok(())
    }
}
