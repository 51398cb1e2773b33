//! Going through keys in order, one leaf at a time.
//!
//! A leaf's range is fixed as long as it lives, and splits and joins only part or unite ranges. So
//! a position is a key, and whoever goes on from a fence has seen all that was below it: no key
//! that stays there is left out or comes twice.

use super::BTree;
use super::layout::RECORD_BYTES_MAX;
use super::search::{Node, Step, Toward};
use crate::record;
use std::ops::Bound;
use vasmem_engine::layout::LINE;
use vasmem_engine::{Access, Invariant, Result, Seen};

/// A part of the items in order, and where they go on.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Ends of each key and of its value.
    ends: Vec<(usize, usize)>,
    /// From where on there may be more; `None` at the end.
    pub next: Option<Bound<Vec<u8>>>,
}

impl Batch {
    /// No items yet: they begin at this edge.
    pub fn beginning(next: Bound<Vec<u8>>) -> Batch {
        Batch { next: Some(next), ..Batch::default() }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// An item's key and value; the value is empty if it was not asked for.
    pub fn item(&self, number: usize) -> Option<(&[u8], &[u8])> {
        let &(key_end, end) = self.ends.get(number)?;
        let from = number.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some((&self.bytes[from..key_end], &self.bytes[key_end..end]))
    }
}

/// A bound of a scan.
pub type Edge<'a> = Bound<&'a [u8]>;

/// The way to the leaf in which a scan begins.
pub(super) fn toward(from: Edge<'_>, reverse: bool) -> Toward<'_> {
    match (from, reverse) {
        (Bound::Included(key), _) | (Bound::Excluded(key), false) => Toward::Key(key),
        (Bound::Excluded(key), true) => Toward::Below(key),
        (Bound::Unbounded, false) => Toward::First,
        (Bound::Unbounded, true) => Toward::Last,
    }
}

impl BTree {
    /// Up to `limit` items of the leaf at `from`, from there on in ascending or, if `reverse`, in
    /// descending order. They are consistent; the tree may change between two calls.
    ///
    /// # Errors
    /// As [`BTree::get`], `Conflict` to run again from the same place.
    pub fn scan<A: Access>(
        &self,
        access: &mut A,
        from: Edge<'_>,
        reverse: bool,
        limit: usize,
        values: bool,
    ) -> Result<Batch> {
        let mut path = Vec::new();
        let mut leaf = self.descend(access, toward(from, reverse), Some(&mut path))?;
        leaf.view = access.decide(&leaf.view)?;
        let cut = self.cut(access, &leaf, from, reverse)?;
        let (first, last) = if reverse { (0, cut) } else { (cut, leaf.count()) };
        let mut batch = Batch::default();
        let taken = (last - first).min(limit);
        if taken < last - first {
            let ranks = if reverse { last - taken..last } else { first..first + taken };
            self.read_items(access, &leaf, ranks, reverse, values, &mut batch)?;
            let key = batch.item(taken.wrapping_sub(1)).map(|(key, _)| key.to_vec());
            batch.next = Some(key.map_or_else(|| from.map(<[u8]>::to_vec), Bound::Excluded));
            return Ok(batch);
        }
        self.read_items(access, &leaf, first..last, reverse, values, &mut batch)?;
        batch.next = self.beyond(access, &leaf, &path, from, reverse)?;
        Ok(batch)
    }

    /// Rank of a leaf at which a scan begins, or behind which it does if `reverse`.
    pub(super) fn cut<A: Access>(
        &self,
        access: &mut A,
        leaf: &Node<A::View>,
        from: Edge<'_>,
        reverse: bool,
    ) -> Result<usize> {
        let (Bound::Included(key) | Bound::Excluded(key)) = from else {
            return Ok(if reverse { leaf.count() } else { 0 });
        };
        let (rank, equal) = self.rank(access, leaf, key, 0, &mut None)?;
        let included = matches!(from, Bound::Included(_));
        Ok(rank + usize::from(equal && included == reverse))
    }

    /// Copies the items of these ranks.
    fn read_items<A: Access>(
        &self,
        access: &mut A,
        leaf: &Node<A::View>,
        ranks: std::ops::Range<usize>,
        reverse: bool,
        values: bool,
        batch: &mut Batch,
    ) -> Result<()> {
        let is_inline = leaf.form.is_inline();
        for rank in ranks.clone().take_while(|_| !is_inline) {
            let at = leaf.entry(access, rank).leads();
            access.prefetch(at);
            if values {
                access.prefetch(at + LINE);
            }
        }
        let mut record = Vec::new();
        for number in 0..ranks.len() {
            let rank = if reverse { ranks.end - 1 - number } else { ranks.start + number };
            let head = if values || is_inline {
                self.record_of(access, leaf, rank, &mut record)?
            } else {
                let at = leaf.entry(access, rank).leads();
                let head = record::read_key(access, &leaf.view, at, RECORD_BYTES_MAX, &mut record)?;
                access.check(&leaf.view)?;
                head
            };
            batch.bytes.extend_from_slice(&record[head.key_range()]);
            let key_end = batch.bytes.len();
            if values {
                let range = record::value(access, &leaf.view, head, &mut record)?;
                batch.bytes.extend_from_slice(&record[range]);
            }
            batch.ends.push((key_end, batch.bytes.len()));
        }
        access.check(&leaf.view)
    }

    /// Where a scan goes on behind a leaf. It must get on, whatever the fences say.
    pub(super) fn beyond<A: Access>(
        &self,
        access: &mut A,
        leaf: &Node<A::View>,
        path: &[Step<A::View>],
        from: Edge<'_>,
        reverse: bool,
    ) -> Result<Option<Bound<Vec<u8>>>> {
        let mut record = Vec::new();
        let next = if reverse {
            let (at, head) = self.fence_of(access, &leaf.view, &mut record)?;
            (at != 0).then(|| Bound::Excluded(record[head.key_range()].to_vec()))
        } else {
            self.upper(access, path)?.map(Bound::Included)
        };
        access.check(&leaf.view)?;
        let gets_on = match (&next, from) {
            (Some(Bound::Excluded(key)), Bound::Included(from)) => &key[..] <= from,
            (Some(Bound::Excluded(key)), Bound::Excluded(from)) => &key[..] < from,
            (Some(Bound::Included(key)), Bound::Included(from) | Bound::Excluded(from)) => {
                &key[..] > from
            }
            _ => true,
        };
        if gets_on {
            Ok(next)
        } else {
            Err(access.broken(&leaf.view, Invariant::TreeNode, leaf.view.node()))
        }
    }
}
