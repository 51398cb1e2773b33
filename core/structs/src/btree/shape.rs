//! Splits and joins: fresh nodes are built in this process's memory and published in their parent,
//! in one transaction that frees the nodes whose place they take. Records stay where they are.

use super::BTree;
use super::change::Patch;
use super::inline::inline_entry;
use super::layout::{CAPACITY, ENTRIES, Entry, Form, LEVEL_MAX, Meta, common, header, node};
use super::search::{Node, Place, Step};
use crate::record::{HEAD_BYTES, Head};
use std::ops::Range;
use vasmem_engine::layout::TREE_LEAF_BYTES;
use vasmem_engine::{Access, Error, Host, Invariant, Memory, Offset, Result, Touched, Transaction};

/// A longer prefix is worth looking up all keys of a node from this many bytes more on: shorter
/// ones leave enough of the heads.
const PREFIX_GAIN: usize = 4;

/// The lower fence of a node: its record, 0 for none, and its key.
#[derive(Clone, Default)]
pub(super) struct Fence {
    pub at: Offset,
    pub key: Vec<u8>,
}

/// An entry on its way into a fresh node.
#[derive(Clone, Copy)]
pub(super) struct Moved<'k> {
    /// Where keys and values stand in entries, it leads to its words in the draft.
    pub entry: Entry,
    /// Its key, if it is at hand.
    pub key: Option<&'k [u8]>,
    /// Bytes that its head leaves out; `None` if the head is not known.
    pub prefix: Option<usize>,
    /// The node under which its key is read.
    pub view: Touched,
}

/// Nodes of one level that are to be built.
pub(super) struct Draft<'k> {
    pub level: u8,
    pub lower: Fence,
    pub upper: Option<Vec<u8>>,
    pub moved: Vec<Moved<'k>>,
    /// The words of entries that have keys and values.
    pub words: Vec<u64>,
}

/// A fresh node, and the key of its lower fence.
pub(super) struct Made {
    at: Offset,
    key: Vec<u8>,
}

/// Numbers of entries for nodes that have at most `most` each: full ones and a rest if keys come in
/// ascending order, else all the same.
pub(super) fn sizes(total: usize, most: usize, ascending: bool) -> Vec<usize> {
    let nodes = total.div_ceil(most).max(1);
    (0..nodes)
        .map(|i| match ascending {
            true => (total - i * most).min(most),
            false => total / nodes + usize::from(i < total % nodes),
        })
        .collect()
}

/// Numbers of entries after a join: one node if that leaves it room.
fn joined_sizes(total: usize, form: Form) -> Vec<usize> {
    let fits = total <= form.capacity() * 3 / 4;
    if fits { vec![total] } else { sizes(total, total.div_ceil(2), false) }
}

/// Fills in a leaf without entries; its offset.
pub(super) fn make_empty<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    form: Form,
) -> Result<Offset> {
    fill(tx, form, Meta::new(0, 0, 0), 0, |_| {})
}

/// Fills in a node; `entries` writes the words of its entries.
fn fill<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    form: Form,
    meta: Meta,
    fence: Offset,
    entries: impl FnOnce(&mut [u64]),
) -> Result<Offset> {
    let at = tx.alloc_nodes(form.kind)?;
    let mut words = [0; (TREE_LEAF_BYTES / 8) as usize];
    let words = &mut words[..(form.kind.node_bytes() / 8) as usize];
    words[node::META as usize / 8] = meta.0;
    words[node::FENCE as usize / 8] = fence;
    for slot in 0..CAPACITY {
        words[node::ORDER as usize / 8 + slot / 8] |= (slot as u64) << (slot % 8 * 8);
    }
    entries(&mut words[ENTRIES as usize / 8..]);
    tx.fill_node(at, words);
    Ok(at)
}

/// All entries of a node. The head of the first child is not looked at by searches, so it is not
/// kept right.
pub(super) fn moved<M: Memory, H: Host>(
    tx: &Transaction<'_, M, H>,
    node: &Node<Touched>,
    words: &mut Vec<u64>,
) -> Vec<Moved<'static>> {
    let entry = |rank| {
        let known = rank > 0 || node.meta.level() == 0;
        let prefix = known.then(|| node.meta.prefix());
        let entry = match node.form.is_inline() {
            true => inline_entry(words, node.entry_words(tx, rank)),
            false => node.entry(tx, rank),
        };
        Moved { entry, key: None, prefix, view: node.view }
    };
    (0..node.count()).map(entry).collect()
}

impl BTree {
    /// Makes two leaves of a full one and the new entry of `key`.
    pub(super) fn split<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        place: &Place<Touched>,
        key: &[u8],
        entry: &[u64],
    ) -> Result<()> {
        let path = self.path_to(tx, key, &place.node)?;
        let mut draft = self.draft(tx, &path, &place.node)?;
        let ascending = draft.upper.is_none() && place.rank == draft.moved.len();
        let prefix = Some(place.node.meta.prefix());
        let view = place.node.view;
        let entry = match *entry {
            [head, word] if !self.form.is_inline() => Entry { head, word },
            _ => inline_entry(&mut draft.words, entry.iter().copied()),
        };
        draft.moved.insert(place.rank, Moved { entry, key: Some(key), prefix, view });
        let sizes = sizes(draft.moved.len(), self.form.capacity(), ascending);
        let made = self.build(tx, &draft, &sizes)?;
        self.free_node(tx, &place.node)?;
        self.publish(tx, path, 1, made, ascending)
    }

    /// Takes an entry out of a leaf that becomes too small, and joins it with a neighbour; `false`
    /// if there is none, and nothing was done.
    pub(super) fn join_leaf<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        place: &Place<Touched>,
        key: &[u8],
    ) -> Result<bool> {
        let mut path = self.path_to(tx, key, &place.node)?;
        if path.last().is_none_or(|parent| parent.node.count() < 2) {
            return Ok(false);
        }
        let mut draft = self.draft(tx, &path, &place.node)?;
        draft.moved.remove(place.rank);
        self.join(tx, &mut path, &mut draft)?;
        let made = self.build(tx, &draft, &joined_sizes(draft.moved.len(), self.form))?;
        self.free_node(tx, &place.node)?;
        self.publish(tx, path, 2, made, false)?;
        Ok(true)
    }

    /// All of a node, to be built anew.
    pub(super) fn draft<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        path: &[Step<Touched>],
        node: &Node<Touched>,
    ) -> Result<Draft<'static>> {
        let lower = self.lower(tx, &node.view)?;
        let upper = self.upper(tx, path)?;
        let mut words = Vec::new();
        let moved = moved(tx, node, &mut words);
        Ok(Draft { level: node.meta.level(), lower, upper, moved, words })
    }

    /// The lower fence of a node.
    pub(super) fn lower<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        view: &Touched,
    ) -> Result<Fence> {
        let mut record = Vec::new();
        let (at, head) = self.fence_of(tx, view, &mut record)?;
        Ok(Fence { at, key: record[head.key_range()].to_vec() })
    }

    /// The upper fence of the node that `path` leads to; `None` at the end of the tree.
    pub(super) fn upper<A: Access>(
        &self,
        access: &mut A,
        path: &[Step<A::View>],
    ) -> Result<Option<Vec<u8>>> {
        let mut upward = path.iter().rev();
        let Some(step) = upward.find(|step| step.rank + 1 < step.node.count()) else {
            return Ok(None);
        };
        let next = step.node.entry(access, step.rank + 1).leads();
        let mut record = Vec::new();
        let place = (&step.node.view, step.node.meta.level());
        let (at, head) = self.fence(access, place, next, &mut record)?;
        access.check(&step.node.view)?;
        if at == 0 {
            return Err(access.broken(&step.node.view, Invariant::TreeNode, next));
        }
        Ok(Some(record[head.key_range()].to_vec()))
    }

    /// Adds the entries of the neighbour of the node that `path` leads to, which has one, and frees
    /// the neighbour. `path` leads to the first of both then.
    fn join<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        path: &mut [Step<Touched>],
        draft: &mut Draft<'_>,
    ) -> Result<()> {
        let Some(parent) = path.last_mut() else { return Err(Error::Conflict) };
        let is_last = parent.rank + 1 == parent.node.count();
        let rank = if is_last { parent.rank.saturating_sub(1) } else { parent.rank + 1 };
        let at = parent.node.entry(tx, rank).leads();
        let mut node = self.node(tx, Some(&parent.node.view), at, draft.level)?;
        node.view = tx.decide(&node.view)?;
        let fence = self.lower(tx, &node.view)?;
        let mut others = moved(tx, &node, &mut draft.words);
        if is_last {
            others.append(&mut draft.moved);
            draft.moved = others;
            parent.rank = rank;
            if draft.lower.at != 0 {
                tx.free(draft.lower.at)?;
            }
            draft.lower = fence;
        } else {
            draft.moved.append(&mut others);
            parent.rank = rank;
            draft.upper = self.upper(tx, path)?;
            if fence.at != 0 {
                tx.free(fence.at)?;
            }
            if let Some(parent) = path.last_mut() {
                parent.rank -= 1;
            }
        }
        self.free_node(tx, &node)
    }

    /// Frees a node of which nothing but its entries is kept.
    pub(super) fn free_node<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        node: &Node<Touched>,
    ) -> Result<()> {
        let view = tx.decide(&node.view)?;
        tx.free_node(&view);
        tx.free(view.node)
    }

    /// The whole key of an entry.
    pub(super) fn moved_key<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        draft: &Draft<'_>,
        moved: &Moved<'_>,
    ) -> Result<Vec<u8>> {
        if let Some(key) = moved.key {
            return Ok(key.to_vec());
        }
        if self.form_of(draft.level).is_inline() {
            return Ok(self.form.key_of(&draft.words[moved.entry.leads() as usize..]));
        }
        let mut record = Vec::new();
        let head = match draft.level {
            0 => self.record_at(tx, &moved.view, moved.entry, &mut record)?,
            _ => self.fence(tx, (&moved.view, draft.level), moved.entry.leads(), &mut record)?.1,
        };
        Ok(record[head.key_range()].to_vec())
    }

    /// Fills in fresh nodes with these numbers of entries. The first takes over the lower fence.
    pub(super) fn build<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        draft: &Draft<'_>,
        sizes: &[usize],
    ) -> Result<Vec<Made>> {
        let mut made = Vec::with_capacity(sizes.len());
        let mut lower = draft.lower.clone();
        let mut from = 0;
        for size in sizes {
            let to = from + size;
            let upper = match draft.moved.get(to) {
                Some(next) => Some(self.separator(tx, draft, &draft.moved[to - 1], next)?),
                None => draft.upper.clone(),
            };
            let at = self.build_one(tx, draft, &lower, upper.as_deref(), from..to)?;
            made.push(Made { at, key: lower.key });
            lower = Fence::default();
            if let (Some(key), true) = (upper, to < draft.moved.len()) {
                lower = Fence { at: make_fence(tx, &key)?, key };
            }
            from = to;
        }
        Ok(made)
    }

    /// The shortest key that parts two leaves; above, the key of the first child behind it.
    fn separator<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        draft: &Draft<'_>,
        last: &Moved<'_>,
        next: &Moved<'_>,
    ) -> Result<Vec<u8>> {
        let mut key = self.moved_key(tx, draft, next)?;
        if draft.level == 0 {
            let last = self.moved_key(tx, draft, last)?;
            key.truncate(common(&last, &key) + 1);
        }
        Ok(key)
    }

    fn build_one<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        draft: &Draft<'_>,
        lower: &Fence,
        upper: Option<&[u8]>,
        range: Range<usize>,
    ) -> Result<Offset> {
        let (level, moved, form) = (draft.level, &draft.moved[range], self.form_of(draft.level));
        if form.is_inline() {
            let meta = Meta::new(moved.len(), level, 0);
            return fill(tx, form, meta, lower.at, |words| {
                for (entry, moved) in words.chunks_exact_mut(form.words()).zip(moved) {
                    let from = moved.entry.leads() as usize;
                    entry.copy_from_slice(&draft.words[from..from + form.words()]);
                }
            });
        }
        let limit = match upper {
            Some(upper) if lower.at != 0 => common(&lower.key, upper),
            _ => 0,
        };
        let known = moved.last().and_then(|moved| moved.prefix).filter(|&known| {
            known <= limit
                && limit < known + PREFIX_GAIN
                && moved.iter().all(|moved| moved.prefix.is_none_or(|prefix| prefix == known))
        });
        let prefix = known.unwrap_or(limit);
        let mut entries = Vec::with_capacity(moved.len());
        for (rank, moved) in moved.iter().enumerate() {
            entries.push(if moved.prefix == Some(prefix) || rank == 0 && level > 0 {
                moved.entry
            } else {
                let key = self.moved_key(tx, draft, moved)?;
                if key.len() < prefix {
                    return Err(tx.broken(&moved.view, Invariant::TreeNode, moved.view.node));
                }
                Entry::new(&key, prefix, moved.entry.leads())
            });
        }
        fill(tx, form, Meta::new(moved.len(), level, prefix), lower.at, |words| {
            for (pair, entry) in words.chunks_exact_mut(2).zip(entries) {
                pair.copy_from_slice(&entry.words());
            }
        })
    }

    /// Lets fresh leaves take the place of `gone` leaves, the first of which `path` leads to, and
    /// splits and joins what is above as needed.
    pub(super) fn publish<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        mut path: Vec<Step<Touched>>,
        mut gone: usize,
        mut made: Vec<Made>,
        ascending: bool,
    ) -> Result<()> {
        let mut level = 0;
        while let Some(Step { mut node, rank }) = path.pop() {
            node.view = tx.decide(&node.view)?;
            let range = rank..rank + gone;
            if range.end > node.count() {
                return Err(Error::Conflict);
            }
            level = node.meta.level();
            let count = node.count() - gone + made.len();
            if path.is_empty() && count == 1 {
                self.free_node(tx, &node)?;
                return self.set_root(tx, made, level - 1);
            }
            let joins = made.len() < gone && count < node.form.least() && !path.is_empty();
            if count <= node.form.capacity() && !joins {
                return self.patch(tx, &node, range, made);
            }
            let mut draft = self.draft(tx, &path, &node)?;
            let fresh = made.iter().map(|made| Moved {
                entry: Entry::first(made.at),
                key: None,
                prefix: None,
                view: node.view,
            });
            draft.moved.splice(range, fresh);
            let can_join = path.last().is_some_and(|parent| parent.node.count() > 1);
            gone = 1;
            let sizes = if joins && can_join {
                self.join(tx, &mut path, &mut draft)?;
                gone = 2;
                joined_sizes(draft.moved.len(), node.form)
            } else {
                sizes(draft.moved.len(), node.form.capacity(), ascending)
            };
            made = self.build(tx, &draft, &sizes)?;
            self.free_node(tx, &node)?;
        }
        self.set_root(tx, made, level)
    }

    /// Changes the children of a node in place.
    fn patch<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        node: &Node<Touched>,
        range: Range<usize>,
        made: Vec<Made>,
    ) -> Result<()> {
        let mut patch = Patch::new(node);
        let prefix = node.meta.prefix();
        for (number, Made { at, key }) in made.iter().enumerate() {
            let rank = range.start + number;
            let entry = Entry::new(key, prefix, *at).words();
            if rank < range.end {
                patch.set(tx, rank, &entry);
            } else {
                patch.insert(tx, rank, &entry);
            }
        }
        for _ in range.start + made.len()..range.end {
            patch.remove(range.start + made.len());
        }
        patch.finish(tx);
        Ok(())
    }

    /// Makes these nodes of `level` the top of the tree, with as many levels above as they need.
    fn set_root<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        mut made: Vec<Made>,
        mut level: u8,
    ) -> Result<()> {
        let (view, _) = self.header(tx)?;
        let view = tx.decide(&view)?;
        while made.len() > 1 {
            level += 1;
            if level > LEVEL_MAX {
                return Err(tx.broken(&view, Invariant::TreeNode, self.node));
            }
            let moved = made.iter().map(|made| Moved {
                entry: Entry::first(made.at),
                key: None,
                prefix: None,
                view,
            });
            let moved: Vec<_> = moved.collect();
            let lower = Fence::default();
            let draft = Draft { level, lower, upper: None, moved, words: Vec::new() };
            let sizes = sizes(draft.moved.len(), Form::LEADING.capacity(), true);
            made = self.build(tx, &draft, &sizes)?;
        }
        if let [root] = &made[..] {
            tx.write(&view, self.node + header::ROOT, root.at | u64::from(level) << 48);
        }
        Ok(())
    }
}

/// Fills in the record of a fence: a key without a value.
fn make_fence<M: Memory, H: Host>(tx: &mut Transaction<'_, M, H>, key: &[u8]) -> Result<Offset> {
    let at = tx.alloc(HEAD_BYTES + key.len() as u64)?;
    tx.fill(at, &[&Head::bare(key.len() as u64).0.to_le_bytes(), key]);
    Ok(at)
}
