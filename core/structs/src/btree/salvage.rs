//! Reading what is left of a damaged tree, one node at a time.
//!
//! Every entry of every inner node is followed, whatever the fences say. A record is known by its
//! key, which must begin as its entry says and have its check; that it stands in order is not
//! asked. Its value has no such mark.
//!
//! A key of a typed tree has no check either. It is believed if zeros fill its last word and if it
//! stands in order: of keys of one leaf that contradict each other, the fewest are left out.

use super::BTree;
use super::layout::{Entry, Form, KEY_BYTES_MAX, LEVEL_MAX, RECORD_BYTES_MAX, header};
use super::search::Node;
use crate::record::OFFSET_MASK;
use crate::salvage::{Saved, save};
use std::collections::HashSet;
use vasmem_engine::directory::Named;
use vasmem_engine::{
    Access, Error, Host, Invariant, Losses, Memory, Offset, Patience, Result, Segment,
};

/// The salvage of one tree.
pub struct Salvage<'a, M, H> {
    segment: &'a Segment<M, H>,
    tree: BTree,
    /// Nodes that are still to be read, with their levels.
    ahead: Vec<(Offset, u8)>,
    /// Keys that were saved.
    keys: HashSet<Vec<u8>>,
    /// Sizes and description of a typed tree.
    pub typed: Option<(Form, Vec<u8>)>,
    /// Keys as its counts say; `None` if they cannot be read.
    pub counted: Option<u64>,
    /// What could not be read.
    pub losses: Losses,
}

/// Records, or what is wrong with them, and where they stand.
type Records = Vec<(Offset, Result<Saved>)>;

/// What stands in a node.
enum Content {
    Children(Vec<Offset>),
    Records(Records),
}

impl BTree {
    /// The entries of a leaf of a typed tree.
    fn save_inline<A: Access>(&self, access: &mut A, leaf: &Node<A::View>) -> Result<Records> {
        let (mut found, mut record) = (Vec::new(), Vec::new());
        for rank in 0..leaf.count() {
            let (at, head) =
                (leaf.place(rank), self.inline_record(access, leaf, rank, &mut record));
            let key = record[head.key_range()].to_vec();
            let value = record[head.key_range().end..head.record_bytes() as usize].to_vec();
            let words = leaf.entry_words(access, rank).take(leaf.form.key_words());
            let is_filled = leaf.form.entry(&key, b"").eq(words);
            found.push((is_filled, Saved { at, key, value, block: None }));
        }
        access.check(&leaf.view)?;
        let keys: Vec<&[u8]> = found.iter().map(|(_, saved)| &saved.key[..]).collect();
        let in_order = ascending(&keys);
        let records = found.into_iter().zip(in_order).map(|((is_filled, saved), in_order)| {
            let at = saved.at;
            let is_good = is_filled && in_order;
            (at, is_good.then_some(saved).ok_or(Error::corrupted(Invariant::TreeOrder, at)))
        });
        Ok(records.collect())
    }
}

impl<'a, M: Memory, H: Host> Salvage<'a, M, H> {
    /// Begins with the tree that `named` leads to.
    ///
    /// # Errors
    /// `Corrupted` if its header is broken, or of a tree with other flags; those of waiting.
    pub fn begin(
        segment: &'a Segment<M, H>,
        patience: &mut dyn Patience,
        named: &Named,
    ) -> Result<Self> {
        let (tree, root) = segment.read(patience, |access| {
            let tree = BTree::of(access, named)?;
            let (view, words) = tree.header(access)?;
            if words[header::FLAGS as usize / 8] != u64::from(named.flags) {
                return Err(access.broken(&view, Invariant::Directory, named.node));
            }
            access.check(&view)?;
            Ok((tree, words[header::ROOT as usize / 8]))
        })?;
        let mut losses = Losses::default();
        let counted = segment.read(patience, |access| tree.len(access));
        let counted = losses.unless_broken(counted, "the counts of a tree")?;
        let typed = match tree.form.is_inline() {
            true => Some((tree.form, segment.read(patience, |access| tree.description(access))?)),
            false => None,
        };
        let ahead = vec![(root & OFFSET_MASK, ((root >> 48) as u8).min(LEVEL_MAX))];
        Ok(Salvage { segment, tree, ahead, keys: HashSet::new(), typed, counted, losses })
    }

    /// The records of the next node, none if it is no leaf; `None` behind the last. `seen` has the
    /// nodes of all trees, `taken` the blocks of large values.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn next(
        &mut self,
        patience: &mut dyn Patience,
        seen: &mut HashSet<Offset>,
        taken: &mut HashSet<Offset>,
    ) -> Result<Option<Vec<Saved>>> {
        let Some((at, level)) = self.ahead.pop() else { return Ok(None) };
        if !seen.insert(at) {
            self.losses.note(Invariant::TreeNode, at, "a node that is led to twice");
            return Ok(Some(Vec::new()));
        }
        let content = self.segment.read(patience, |peek| {
            let node = self.tree.node(peek, None, at, level)?;
            let entries: Vec<Entry> = (0..node.count()).map(|i| node.entry(peek, i)).collect();
            if level > 0 {
                peek.check(&node.view)?;
                return Ok(Content::Children(entries.iter().map(|entry| entry.leads()).collect()));
            }
            if node.form.is_inline() {
                let records = self.tree.save_inline(peek, &node)?;
                return Ok(Content::Records(records));
            }
            let prefix = node.meta.prefix();
            let mut records = Vec::new();
            for entry in entries {
                let fits = |key: &[u8]| {
                    (prefix as u64..=KEY_BYTES_MAX).contains(&(key.len() as u64))
                        && Entry::new(key, prefix, entry.leads()) == entry
                };
                let place = (&node.view, entry.leads());
                match save(self.segment, peek, place, RECORD_BYTES_MAX, fits, taken) {
                    Err(Error::Conflict) => return Err(Error::Conflict),
                    record => records.push((entry.leads(), record)),
                }
            }
            peek.check(&node.view)?;
            Ok(Content::Records(records))
        });
        let what = "a node of a tree, and all that is below it";
        match self.losses.unless_broken(content, what)? {
            None => Ok(Some(Vec::new())),
            Some(Content::Children(children)) => {
                // The first comes next: keys go in as they ascend.
                self.ahead.extend(children.into_iter().rev().map(|child| (child, level - 1)));
                Ok(Some(Vec::new()))
            }
            Some(Content::Records(records)) => self.keep(records, taken).map(Some),
        }
    }

    /// Those records that are good, each key and each block once.
    fn keep(
        &mut self,
        records: Vec<(Offset, Result<Saved>)>,
        taken: &mut HashSet<Offset>,
    ) -> Result<Vec<Saved>> {
        let mut saved = Vec::new();
        for (at, record) in records {
            let Some(record) = self.losses.unless_broken(record, "a key and its value")? else {
                continue;
            };
            if !self.keys.insert(record.key.clone()) {
                self.losses.note(Invariant::MapUnique, at, "a key that stands twice");
            } else if record.block.is_some_and(|block| !taken.insert(block)) {
                self.losses.note(Invariant::Reachable, at, "a value that two keys lead to");
            } else {
                saved.push(record);
            }
        }
        Ok(saved)
    }
}

/// Which keys are among the most that ascend.
fn ascending(keys: &[&[u8]]) -> Vec<bool> {
    if keys.is_sorted_by(|one, other| one < other) {
        return vec![true; keys.len()];
    }
    // Of the longest row that ends with each key: its length, and the key before.
    let mut rows: Vec<(usize, Option<usize>)> = Vec::with_capacity(keys.len());
    for (number, key) in keys.iter().enumerate() {
        let before = (0..number).filter(|&other| keys[other] < *key);
        let before = before.max_by_key(|&other| rows[other].0);
        rows.push((before.map_or(1, |other| rows[other].0 + 1), before));
    }
    let mut good = vec![false; keys.len()];
    let mut next = (0..keys.len()).max_by_key(|&number| rows[number].0);
    while let Some(number) = next {
        good[number] = true;
        next = rows[number].1;
    }
    good
}
