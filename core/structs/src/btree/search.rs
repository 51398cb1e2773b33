//! Finding: root, inner nodes, leaf, record.

use super::BTree;
use super::layout::{
    ENTRIES, Entry, Form, LEVEL_MAX, Meta, ORDER_BYTES, RECORD_BYTES_MAX, head_of, header, node,
};
use crate::record::{self, HEAD_BYTES, Head, OFFSET_MASK};
use std::cmp::Ordering;
use vasmem_engine::layout::{Kind, LINE, TREE_NODE_BYTES};
use vasmem_engine::{
    Access, Error, Host, Invariant, Memory, Offset, Result, Seen, Touched, Transaction,
};

/// A node as it was seen.
#[derive(Clone, Copy)]
pub(super) struct Node<V> {
    pub view: V,
    pub meta: Meta,
    /// Slots in key order.
    pub order: [u8; ORDER_BYTES],
    /// What its entries are.
    pub form: Form,
}

impl<V: Seen> Node<V> {
    /// Entries in use.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.meta.count().min(self.form.capacity())
    }

    /// Slot of the entry of a rank.
    #[inline(always)]
    pub fn slot(&self, rank: usize) -> usize {
        usize::from(self.order[rank]).min(self.form.capacity() - 1)
    }

    /// Place of the entry of a rank.
    #[inline(always)]
    pub fn place(&self, rank: usize) -> Offset {
        let slot = self.slot(rank) as u64;
        self.view.node() + ENTRIES + slot * u64::from(self.form.entry_bytes)
    }

    /// The entry of a rank, the first two words of a longer one.
    #[inline(always)]
    pub fn entry<A: Access<View = V>>(&self, access: &A, rank: usize) -> Entry {
        let at = self.place(rank);
        Entry { head: access.word(&self.view, at), word: access.word(&self.view, at + 8) }
    }

    #[inline(always)]
    fn head<A: Access<View = V>>(&self, access: &A, rank: usize) -> u64 {
        access.word(&self.view, self.place(rank))
    }

    /// First rank in `from..to` whose entry does not come before, as `before` says of its head.
    #[inline(always)]
    fn partition<A: Access<View = V>>(
        &self,
        access: &A,
        (mut from, to): (usize, usize),
        before: impl Fn(u64) -> bool,
    ) -> usize {
        let mut len = to - from;
        while len > 0 {
            let half = len / 2;
            let middle = from + half;
            let skip = before(self.head(access, middle));
            from = if skip { middle + 1 } else { from };
            len = if skip { len - half - 1 } else { half };
        }
        from
    }

    fn under<W>(self, view: W) -> Node<W> {
        Node { view, meta: self.meta, order: self.order, form: self.form }
    }
}

/// Where a key stands in a node, or would.
#[derive(Clone, Copy)]
pub(super) struct Place<V> {
    pub node: Node<V>,
    /// First rank whose key is not below it.
    pub rank: usize,
    /// Its entry and the head of its record, which the buffer holds, if it is there.
    pub found: Option<(Entry, Head)>,
}

/// Which way a descent goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Toward<'a> {
    /// To the leaf that covers the key.
    Key(&'a [u8]),
    /// To the leaf that covers what comes right before the key.
    Below(&'a [u8]),
    /// To the first leaf.
    First,
    /// To the last one.
    Last,
}

/// An inner node on the way, and the rank of the child that the way goes on to.
pub(super) struct Step<V> {
    pub node: Node<V>,
    pub rank: usize,
}

impl BTree {
    // Header and inner nodes are passed, not noted: a leaf is freed by whoever takes it out of the
    // tree (B4), and its range is fixed (B1), so the leaf alone decides.

    /// The header's first line, if it is still this tree's.
    #[inline(always)]
    pub(super) fn header<A: Access>(&self, access: &mut A) -> Result<(A::View, [u64; 8])> {
        let view = access.pass(None, self.node, Kind::TREE_HEADER)?;
        let words = access.line_words(&view);
        if words[header::ID as usize / 8] != self.id {
            access.check(&view)?;
            return Err(Error::Removed);
        }
        Ok((view, words))
    }

    /// Looks at a node, which must be of that level.
    #[inline(always)]
    pub(super) fn node<A: Access>(
        &self,
        access: &mut A,
        parent: Option<&A::View>,
        at: Offset,
        level: u8,
    ) -> Result<Node<A::View>> {
        let form = self.form_of(level);
        let view = access.pass(parent, at, form.kind)?;
        let meta = Meta(access.word(&view, at + node::META));
        let fits = meta.count() <= form.capacity() && !(form.is_inline() && meta.prefix() != 0);
        if meta.level() != level || !fits {
            return Err(access.broken(&view, Invariant::TreeNode, at));
        }
        let mut order = [0; ORDER_BYTES];
        access.bytes(&view, at + node::ORDER, &mut order);
        Ok(Node { view, meta, order, form })
    }

    /// What the entries of a node of that level are.
    #[inline(always)]
    pub(super) fn form_of(&self, level: u8) -> Form {
        if level == 0 { self.form } else { Form::LEADING }
    }

    /// Goes down to a leaf, by way of `path` if that is wanted.
    #[inline(always)]
    pub(super) fn descend<A: Access>(
        &self,
        access: &mut A,
        toward: Toward<'_>,
        path: Option<&mut Vec<Step<A::View>>>,
    ) -> Result<Node<A::View>> {
        self.descend_to(access, toward, 0, path).map(|(node, _)| node)
    }

    /// Goes down to the node of `level`, or to the root if that is lower; returns it with its
    /// level.
    #[inline(always)]
    pub(super) fn descend_to<A: Access>(
        &self,
        access: &mut A,
        toward: Toward<'_>,
        level: u8,
        mut path: Option<&mut Vec<Step<A::View>>>,
    ) -> Result<(Node<A::View>, u8)> {
        let (head, words) = self.header(access)?;
        let root = words[header::ROOT as usize / 8];
        let mut at_level = (root >> 48) as u8;
        if at_level > LEVEL_MAX {
            return Err(access.broken(&head, Invariant::TreeNode, self.node));
        }
        let mut node = self.node(access, Some(&head), root & OFFSET_MASK, at_level)?;
        while at_level > level {
            let rank = self.child_rank(access, &node, toward)?;
            let child = node.entry(access, rank).leads();
            if at_level == 1 {
                (0..TREE_NODE_BYTES / LINE).for_each(|line| access.prefetch(child + line * LINE));
            }
            at_level -= 1;
            let next = self.node(access, Some(&node.view), child, at_level)?;
            if let Some(path) = &mut path {
                path.push(Step { node, rank });
            }
            node = next;
        }
        Ok((node, at_level))
    }

    #[inline(always)]
    pub(super) fn child_rank<A: Access>(
        &self,
        access: &mut A,
        node: &Node<A::View>,
        toward: Toward<'_>,
    ) -> Result<usize> {
        let count = node.count();
        if count == 0 {
            return Err(access.broken(&node.view, Invariant::TreeNode, node.view.node()));
        }
        match toward {
            Toward::Key(key) => {
                let (rank, found) = self.rank(access, node, key, 1, &mut None)?;
                Ok(if found { rank } else { rank - 1 })
            }
            Toward::Below(key) => Ok(self.rank(access, node, key, 1, &mut None)?.0 - 1),
            Toward::First => Ok(0),
            Toward::Last => Ok(count - 1),
        }
    }

    /// First rank from `from` on whose key is not below `key`, and whether it is `key`. If that
    /// took a look at its record, `seen` has the buffer and its head.
    #[inline(always)]
    pub(super) fn rank<A: Access>(
        &self,
        access: &mut A,
        node: &Node<A::View>,
        key: &[u8],
        from: usize,
        seen: &mut Option<(&mut Vec<u8>, Option<Head>)>,
    ) -> Result<(usize, bool)> {
        let (count, head) = (node.count(), head_of(suffix(key, node.meta)));
        let rank = node.partition(access, (from.min(count), count), |other| other < head);
        if rank == count || node.head(access, rank) != head {
            return Ok((rank, false));
        }
        self.rank_tied(access, node, key, (rank, head), seen)
    }

    /// As `rank`, among the entries with the same head.
    fn rank_tied<A: Access>(
        &self,
        access: &mut A,
        node: &Node<A::View>,
        key: &[u8],
        (rank, head): (usize, u64),
        seen: &mut Option<(&mut Vec<u8>, Option<Head>)>,
    ) -> Result<(usize, bool)> {
        let end = node.partition(access, (rank, node.count()), |other| other <= head);
        let (mut low, mut high) = (rank, end);
        let mut own = Vec::new();
        while low < high {
            let middle = (low + high) / 2;
            let told = if node.form.is_inline() {
                node.form.compare(key)
            } else {
                node.entry(access, middle).compare(suffix(key, node.meta))
            };
            let order = match told {
                Some(order) => order,
                None => {
                    let buffer = match seen {
                        Some((buffer, _)) => &mut **buffer,
                        None => &mut own,
                    };
                    let found = self.key(access, node, middle, buffer)?;
                    let order = buffer[found.key_range()].cmp(key);
                    if let Some((_, head)) = seen {
                        *head = (order == Ordering::Equal).then_some(found);
                    }
                    order
                }
            };
            match order {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok((middle, true)),
                Ordering::Greater => high = middle,
            }
        }
        Ok((low, false))
    }

    /// Copies the key of a rank out, with the rest of its record; returns the record's head.
    pub(super) fn key<A: Access>(
        &self,
        access: &mut A,
        node: &Node<A::View>,
        rank: usize,
        record: &mut Vec<u8>,
    ) -> Result<Head> {
        if node.meta.level() == 0 {
            return self.record_of(access, node, rank, record);
        }
        let child = node.entry(access, rank).leads();
        self.fence(access, (&node.view, node.meta.level()), child, record).map(|(_, head)| head)
    }

    /// Copies the record of a rank of a leaf out; an entry of a typed tree becomes one.
    #[inline(always)]
    pub(super) fn record_of<A: Access>(
        &self,
        access: &mut A,
        leaf: &Node<A::View>,
        rank: usize,
        record: &mut Vec<u8>,
    ) -> Result<Head> {
        if leaf.form.is_inline() {
            let head = self.inline_record(access, leaf, rank, record);
            access.check(&leaf.view)?;
            return Ok(head);
        }
        self.record_at(access, &leaf.view, leaf.entry(access, rank), record)
    }

    /// Copies the record that a leaf's entry leads to out.
    pub(super) fn record_at<A: Access>(
        &self,
        access: &mut A,
        leaf: &A::View,
        entry: Entry,
        record: &mut Vec<u8>,
    ) -> Result<Head> {
        // The length is known only when the head is there: the next line need not wait for it.
        access.prefetch(entry.leads() + LINE);
        let head = record::read(access, leaf, entry.leads(), RECORD_BYTES_MAX, record)?;
        access.check(leaf)?;
        Ok(head)
    }

    /// The lower fence of the child of a node of `level`: its record's offset and head, with the
    /// record itself in the buffer. The first node of a level has none: 0 and an empty key.
    pub(super) fn fence<A: Access>(
        &self,
        access: &mut A,
        (parent, level): (&A::View, u8),
        at: Offset,
        record: &mut Vec<u8>,
    ) -> Result<(Offset, Head)> {
        let kind = self.form_of(level.saturating_sub(1)).kind;
        let view = access.pass(Some(parent), at, kind)?;
        self.fence_of(access, &view, record)
    }

    /// As `fence`, of a node that was seen.
    pub(super) fn fence_of<A: Access>(
        &self,
        access: &mut A,
        view: &A::View,
        record: &mut Vec<u8>,
    ) -> Result<(Offset, Head)> {
        let fence = access.word(view, view.node() + node::FENCE) & OFFSET_MASK;
        let mut head = Head(0);
        if fence != 0 {
            head = record::read(access, view, fence, RECORD_BYTES_MAX, record)?;
        } else if record.len() < HEAD_BYTES as usize {
            record.resize(HEAD_BYTES as usize, 0);
        }
        access.check(view)?;
        Ok((fence, head))
    }

    /// Looks for a key. `record` holds the record of a hit. What decided was consistent.
    #[inline(always)]
    pub(super) fn search<A: Access>(
        &self,
        access: &mut A,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Place<A::View>> {
        let mut node = self.descend(access, Toward::Key(key), None)?;
        let mut seen = Some((record, None));
        let (rank, equal) = self.rank(access, &node, key, 0, &mut seen)?;
        let mut found = None;
        if let (true, Some((record, head))) = (equal, seen) {
            let entry = node.entry(access, rank);
            let head = match head {
                Some(head) => head,
                None if node.form.is_inline() => self.inline_record(access, &node, rank, record),
                None => record::read(access, &node.view, entry.leads(), RECORD_BYTES_MAX, record)?,
            };
            found = Some((entry, head));
        }
        access.check(&node.view)?;
        node.view = access.decide(&node.view)?;
        Ok(Place { node, rank, found })
    }

    /// As `search`, in a transaction: at a glance, as long as nothing was written in it.
    pub(super) fn search_to_change<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<Place<Touched>> {
        if let Some(mut glance) = tx.glance() {
            match self.search(&mut glance, key, record) {
                Ok(Place { node, rank, found }) => {
                    let view = tx.decide(&node.view.into())?;
                    return Ok(Place { node: node.under(view), rank, found });
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        self.search(tx, key, record)
    }
}

/// What of a key comes behind the prefix of a node that covers it.
#[inline(always)]
fn suffix(key: &[u8], meta: Meta) -> &[u8] {
    key.get(meta.prefix()..).unwrap_or_default()
}
