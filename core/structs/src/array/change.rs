//! Growing and shrinking.

use super::layout::{block_bytes, header, stripe};
use super::patch::ALL;
use super::{Array, State, size};
use vasmem_engine::lab::{Mutation, mutated};
use vasmem_engine::{Access, Error, Host, Memory, Offset, Result, Touched, Transaction};

/// Rows that come behind the others.
#[derive(Clone, Copy)]
enum Content<'a> {
    Bytes(&'a [u8]),
    Zeros,
}

impl Content<'_> {
    /// The first `count` bytes.
    fn begin(self, into: &mut [u8]) {
        match self {
            Content::Bytes(bytes) => {
                let count = into.len().min(bytes.len());
                into[..count].copy_from_slice(&bytes[..count]);
            }
            Content::Zeros => into.fill(0),
        }
    }
}

impl Array {
    /// Appends rows, whose bytes these are; returns the number of the first.
    ///
    /// # Errors
    /// `Full`, `TooLarge`, `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn extend<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        bytes: &[u8],
    ) -> Result<u64> {
        let state = self.state(tx)?;
        tx.decide(&state.head)?;
        let rows = bytes.len() as u64 / self.row_bytes;
        if rows != 0 {
            let length = state.length.saturating_add(rows);
            self.lengthen(tx, &state, length, Content::Bytes(bytes))?;
        }
        Ok(state.length)
    }

    /// Cuts rows off, or appends rows of zeros, until there are `length`.
    ///
    /// # Errors
    /// As `extend`.
    pub fn resize<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        length: u64,
    ) -> Result<()> {
        let state = self.state(tx)?;
        tx.decide(&state.head)?;
        match length.cmp(&state.length) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => self.shorten(tx, &state, length),
            std::cmp::Ordering::Greater => self.lengthen(tx, &state, length, Content::Zeros),
        }
    }

    fn shorten<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        length: u64,
    ) -> Result<()> {
        let views = self.guards(tx, state, ALL)?;
        let room = block_bytes((length * self.row_bytes).max(1));
        if room <= block_bytes(state.capacity * self.row_bytes) / 4 {
            return self.rebuild(tx, state, length, room, Content::Zeros);
        }
        // Whoever appends may find none of another's words in the way (A2).
        if !mutated(Mutation::StripesLeft) {
            views.iter().for_each(|view| tx.touch(view));
        }
        tx.write(&state.head, self.node + header::LENGTH, length);
        Ok(())
    }

    fn lengthen<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        length: u64,
        content: Content<'_>,
    ) -> Result<()> {
        let total = size(length, self.row_bytes)?;
        let behind = (state.length * self.row_bytes).next_multiple_of(8);
        let untouched = !self.has_cut(tx, state)
            && !tx.changes_between(
                state.data + behind,
                state.data + total.next_multiple_of(8).max(behind),
            );
        if length <= state.capacity && untouched {
            return self.lengthen_here(tx, state, length, content);
        }
        let room = state.capacity * self.row_bytes;
        let wanted = if length <= state.capacity { room } else { total.max(room / 2 * 3) };
        for bytes in [wanted, total] {
            if untouched && tx.extend_span(state.data, bytes)? {
                let capacity = block_bytes(bytes).max(room) / self.row_bytes;
                tx.write(&state.head, self.node + header::CAPACITY, capacity);
                return self.lengthen_here(tx, state, length, content);
            }
        }
        match self.rebuild(tx, state, length, block_bytes(wanted), content) {
            Err(Error::Full { .. }) => self.rebuild(tx, state, length, block_bytes(total), content),
            done => done,
        }
    }

    /// Whether this transaction cut off rows that all others still see behind the last one (A3).
    fn has_cut<M: Memory, H: Host>(
        &self,
        tx: &Transaction<'_, M, H>,
        state: &State<Touched>,
    ) -> bool {
        let replaced = |word| tx.replaced(&state.head, self.node + word);
        let has_moved = replaced(header::DATA).is_some_and(|data| data != state.data);
        !has_moved && replaced(header::LENGTH).is_some_and(|length| length > state.length)
    }

    /// Appends rows to a block that has room, in which this transaction has not written there yet.
    fn lengthen_here<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        length: u64,
        content: Content<'_>,
    ) -> Result<()> {
        let (used, total) = (state.length * self.row_bytes, length * self.row_bytes);
        let (first, behind) = (used & !7, used.next_multiple_of(8));
        if used != behind {
            let view = self.guard(tx, state, stripe(first))?;
            let mut word = [0; 8];
            tx.bytes_under(&[state.head, view], state.data + first, &mut word);
            content.begin(&mut word[(used - first) as usize..]);
            tx.write_words(&view, state.data + first, &word, false);
        }
        if total > behind {
            match content {
                Content::Bytes(bytes) => {
                    let mut rest = bytes[(behind - used) as usize..].to_vec();
                    rest.resize((total - behind).next_multiple_of(8) as usize, 0);
                    tx.fill_behind(state.data + behind, &rest);
                }
                Content::Zeros => {
                    let bytes = (total - behind).next_multiple_of(8);
                    tx.fill_zeros_behind(state.data + behind, bytes);
                }
            }
        }
        tx.write(&state.head, self.node + header::LENGTH, length);
        Ok(())
    }

    /// Copies the rows into a block of `room` bytes, as many as `length` leaves, and puts `content`
    /// behind them.
    fn rebuild<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        state: &State<Touched>,
        length: u64,
        room: u64,
        content: Content<'_>,
    ) -> Result<()> {
        let new = tx.alloc(room)?;
        let views = self.guards(tx, state, ALL)?;
        let (kept, total) = (state.length.min(length) * self.row_bytes, length * self.row_bytes);
        let whole = kept & !7;
        self.copy(tx, &views, (state.data, new), whole);
        // The rest of a word, and what comes behind it.
        let mut rest = vec![0; (kept - whole) as usize];
        tx.bytes_under(&views, state.data + whole, &mut rest);
        let end = total.max(1).next_multiple_of(8);
        match content {
            Content::Bytes(bytes) => {
                rest.extend_from_slice(&bytes[..(total - kept) as usize]);
                rest.resize((end - whole) as usize, 0);
                tx.fill(new + whole, &[&rest]);
            }
            Content::Zeros if rest.is_empty() => tx.fill_zeros(new + whole, end - whole),
            Content::Zeros => {
                rest.resize(8, 0);
                tx.fill(new + whole, &[&rest]);
                tx.fill_zeros(new + whole + 8, end - whole - 8);
            }
        }
        self.move_to(tx, state, &views, (new, room / self.row_bytes), length)
    }

    /// Fills a new block with the first `bytes` bytes of the old one.
    fn copy<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        views: &[Touched],
        (old, new): (Offset, Offset),
        bytes: u64,
    ) {
        if tx.stands_still(views, old, bytes) {
            return tx.fill_copy(new, old, bytes);
        }
        let mut all = vec![0; bytes as usize];
        tx.bytes_under(views, old, &mut all);
        tx.fill(new, &[&all]);
    }
}
