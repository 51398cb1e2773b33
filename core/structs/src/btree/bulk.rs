//! Many keys at once: sorted input goes into whole leaves, and whole leaves are emptied.

use super::BTree;
use super::change::Patch;
use super::inline::inline_entry;
use super::layout::{Entry, RECORD_BYTES_MAX};
use super::search::{Node, Step, Toward};
use super::shape::{Draft, Fence, Moved, sizes};
use crate::record;
use vasmem_engine::{Access, Host, Memory, Result, Touched, Transaction};

/// Items of one transaction at most, and the bytes from which on there are no more.
const ITEMS_MAX: usize = 1000;
const BYTES_MAX: usize = 1 << 20;
/// Fewer items than this for one leaf are put one by one.
const ITEMS_LEAST: usize = 4;

/// A key and its value.
pub type Pair<'k> = (&'k [u8], &'k [u8]);

impl BTree {
    /// Puts the first of these items, whose keys ascend: as many as one leaf's range and one
    /// transaction can take. Returns how many.
    ///
    /// # Errors
    /// As [`BTree::put`].
    pub fn put_sorted<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        items: &[Pair<'_>],
        record: &mut Vec<u8>,
    ) -> Result<usize> {
        let Some(&(first, value)) = items.first() else { return Ok(0) };
        let mut path = Vec::new();
        let mut leaf = self.descend(tx, Toward::Key(first), Some(&mut path))?;
        leaf.view = tx.decide(&leaf.view)?;
        let upper = self.upper(tx, &path)?;
        let run = &items[..run_length(items, upper.as_deref())];
        if run.len() < ITEMS_LEAST {
            self.put(tx, first, value, record)?;
            return Ok(1);
        }
        for (key, value) in run {
            self.check_lengths(key, value)?;
        }
        let mut draft = self.draft(tx, &path, &leaf)?;
        let keys: Vec<_> = (draft.moved.iter())
            .map(|moved| self.moved_key(tx, &draft, moved))
            .collect::<Result<_>>()?;
        let ascending = upper.is_none() && keys.last().is_none_or(|last| &last[..] < first);
        let (merged, fresh) = self.merge(tx, &leaf, &mut draft, &keys, run, record)?;
        let is_one = merged.len() <= self.form.capacity();
        let most = if is_one { self.form.capacity() } else { self.form.filled() };
        let sizes = sizes(merged.len(), most, ascending);
        let draft = Draft { moved: merged, ..draft };
        let made = self.build(tx, &draft, &sizes)?;
        self.free_node(tx, &leaf)?;
        self.publish(tx, path, 1, made, ascending)?;
        self.count(tx, fresh)?;
        Ok(run.len())
    }

    /// The entries of a leaf and of new items together, and how many keys are new.
    fn merge<'k, M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        leaf: &Node<Touched>,
        draft: &mut Draft<'k>,
        keys: &'k [Vec<u8>],
        run: &[Pair<'k>],
        record: &mut Vec<u8>,
    ) -> Result<(Vec<Moved<'k>>, i64)> {
        let Draft { moved, words, .. } = draft;
        let mut merged = Vec::with_capacity(moved.len() + run.len());
        let mut olds = moved.iter().zip(keys).peekable();
        let mut fresh = run.len() as i64;
        for &(key, value) in run {
            while let Some((old, key)) = olds.next_if(|(_, old)| &old[..] < key) {
                merged.push(Moved { key: Some(key), ..*old });
            }
            if let Some((old, _)) = olds.next_if(|(_, old)| &old[..] == key) {
                if !self.form.is_inline() {
                    let head = self.record_at(tx, &leaf.view, old.entry, record)?;
                    let large = record::large_node(record, head);
                    record::free(tx, &leaf.view, old.entry.leads(), large)?;
                }
                fresh -= 1;
            }
            let entry = match self.form.is_inline() {
                true => inline_entry(words, self.form.entry(key, value)),
                false => Entry::first(record::make(tx, key, value)?),
            };
            merged.push(Moved { entry, key: Some(key), prefix: None, view: leaf.view });
        }
        merged.extend(olds.map(|(old, key)| Moved { key: Some(key), ..*old }));
        Ok((merged, fresh))
    }

    /// Deletes all keys below the inner node that covers `from`; returns the key behind them, from
    /// which on there may be more.
    ///
    /// # Errors
    /// As [`BTree::put`].
    pub fn clear_from<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        from: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let mut path = Vec::new();
        let (mut node, level) = self.descend_to(tx, Toward::Key(from), 1, Some(&mut path))?;
        node.view = tx.decide(&node.view)?;
        if level == 0 {
            self.free_records(tx, &node)?;
            let mut patch = Patch::new(&node);
            (0..node.count()).rev().for_each(|rank| patch.remove(rank));
            patch.finish(tx);
            self.count(tx, -(node.count() as i64))?;
            return Ok(None);
        }
        let next = self.upper(tx, &path)?;
        let mut lower = Fence::default();
        let mut gone = 0;
        for rank in 0..node.count() {
            let at = node.entry(tx, rank).leads();
            let mut leaf = self.node(tx, Some(&node.view), at, 0)?;
            leaf.view = tx.decide(&leaf.view)?;
            self.free_records(tx, &leaf)?;
            gone += leaf.count() as i64;
            let fence = self.lower(tx, &leaf.view)?;
            if rank == 0 {
                lower = fence;
            } else if fence.at != 0 {
                tx.free(fence.at)?;
            }
            self.free_node(tx, &leaf)?;
        }
        // One empty leaf takes the place of all.
        let (moved, words) = (Vec::new(), Vec::new());
        let draft = Draft { level: 0, lower, upper: next.clone(), moved, words };
        let made = self.build(tx, &draft, &[0])?;
        path.push(Step { node, rank: 0 });
        self.publish(tx, path, node.count(), made, false)?;
        self.count(tx, -gone)?;
        Ok(next)
    }

    /// Frees all records of a leaf.
    pub(super) fn free_records<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        leaf: &Node<Touched>,
    ) -> Result<()> {
        if self.form.is_inline() {
            return Ok(());
        }
        let mut record = Vec::new();
        for rank in 0..leaf.count() {
            let at = leaf.entry(tx, rank).leads();
            let head = record::read(tx, &leaf.view, at, RECORD_BYTES_MAX, &mut record)?;
            record::free(tx, &leaf.view, at, record::large_node(&record, head))?;
        }
        Ok(())
    }
}

/// How many of these items come before `upper`, in ascending order, for one transaction.
fn run_length(items: &[Pair<'_>], upper: Option<&[u8]>) -> usize {
    let (mut count, mut bytes) = (0, 0);
    for pair in items.iter().take(ITEMS_MAX) {
        let ascends = count == 0 || items[count - 1].0 < pair.0;
        bytes += pair.0.len() + pair.1.len();
        let fits = count == 0 || bytes < BYTES_MAX;
        if !ascends || !fits || upper.is_some_and(|upper| upper <= pair.0) {
            break;
        }
        count += 1;
    }
    count
}
