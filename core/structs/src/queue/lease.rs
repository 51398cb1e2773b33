//! Taking items: at once, or on a lease that ends with its owner.

use super::layout::{LEASES_MAX, Place, SLOT, header};
use super::{Queue, Slot};
use crate::owned::{owner, set_owner};
use crate::record;
use std::ops::Range;
use vasmem_engine::lab::{Mutation, mutated};
use vasmem_engine::layout::{Kind, NODE_WORDS};
use vasmem_engine::{Access, Host, Invariant, Memory, Offset, Owner, Result, Touched, Transaction};

/// How an item is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is gone with this transaction.
    AtOnce,
    /// It stays until this thread is done with it.
    OnLease {
        /// Number of the thread.
        thread: u64,
    },
}

/// An item that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its position, which no other item ever has.
    pub position: u64,
    /// Where it stands in the buffer.
    pub item: Range<usize>,
}

/// A lease in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    index: u64,
    /// Position of its item.
    pub position: u64,
    /// Who has it; `None` if it was given back.
    pub owner: Option<Owner>,
}

impl Queue {
    fn leased_at(&self, index: u64) -> (Offset, u64) {
        (self.root.node + header::LEASED_LINE + 8 + index / 64 * 8, 1 << (index % 64))
    }

    /// All leases in use. Each was so at one time; only that they are in use is noted.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub(super) fn leases<A: Access>(&self, access: &mut A) -> Result<Vec<Lease>> {
        let leased = self.line(access, header::LEASED_LINE)?;
        let words: [u64; NODE_WORDS] =
            std::array::from_fn(|word| access.word(&leased, self.leased_at(word as u64 * 64).0));
        access.check(&leased)?;
        let mut found = Vec::new();
        for (word, mut bits) in words.into_iter().enumerate() {
            while bits != 0 {
                let index = word as u64 * 64 + u64::from(bits.trailing_zeros());
                bits &= bits - 1;
                found.push(self.lease(access, index)?);
            }
        }
        Ok(found)
    }

    fn lease<A: Access>(&self, access: &mut A, index: u64) -> Result<Lease> {
        let place = Place::of_lease(index);
        let leads = self.line(access, place.line)?;
        let table = access.word(&leads, self.root.node + place.line + place.word);
        let at = table.wrapping_add(place.within);
        let view = access.pass(Some(&leads), at, Kind::QUEUE_TABLE)?;
        let position = access.word(&view, at + SLOT.position);
        let owner = owner(access, &view, at + SLOT.owner)?;
        access.check(&view)?;
        Ok(Lease { index, position, owner })
    }

    /// Takes the first item, or none if there is none, or no lease left. It is copied to the end of
    /// `buffer`.
    ///
    /// # Errors
    /// `Full`, `Removed`, `Corrupted`, `Os`, or `Conflict` to run again.
    pub fn take<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        how: Take,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Taken>> {
        let mut first: Option<Lease> = None;
        for lease in self.leases(tx)? {
            // Q3. Looking at lives is a call of the system each.
            let is_earlier = first.is_none_or(|first| lease.position < first.position);
            if is_earlier && lease.owner.map_or(Ok(true), |owner| tx.segment.is_gone(owner))? {
                first = Some(lease);
            }
        }
        if mutated(Mutation::LeasesNotFirst)
            && let Some(taken) = self.take_next(tx, how, buffer)?
        {
            return Ok(Some(taken));
        }
        match first {
            Some(lease) => self.take_leased(tx, lease, how, buffer).map(Some),
            None => self.take_next(tx, how, buffer),
        }
    }

    /// Takes what was another's before.
    fn take_leased<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        lease: Lease,
        how: Take,
        buffer: &mut Vec<u8>,
    ) -> Result<Taken> {
        let slot = self.lease_slot(tx, lease)?;
        let item = match how {
            Take::AtOnce => self.end_lease(tx, &slot, lease.index, buffer)?,
            Take::OnLease { thread } => {
                let me = tx.owner(thread);
                set_owner(tx, &slot.view, slot.at + SLOT.owner, Some(me));
                self.append(tx, &slot, buffer)?.0
            }
        };
        Ok(Taken { position: lease.position, item })
    }

    /// The place of a lease, which is still as it was seen.
    fn lease_slot<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        lease: Lease,
    ) -> Result<Slot<Touched>> {
        let slot = self.slot(tx, Place::of_lease(lease.index))?;
        let slot = slot.ok_or(vasmem_engine::Error::Conflict)?;
        let same = tx.word(&slot.view, slot.at + SLOT.position) == lease.position
            && owner(tx, &slot.view, slot.at + SLOT.owner)? == lease.owner;
        if !same {
            return Err(vasmem_engine::Error::Conflict);
        }
        if slot.record == 0 {
            // Ended by its next owner, unless it is still in use.
            self.line(tx, header::LEASED_LINE).and_then(|leased| tx.check(&leased))?;
            return Err(tx.broken(&slot.view, Invariant::Queue, slot.at));
        }
        Ok(slot)
    }

    /// Takes the item at the head.
    fn take_next<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        how: Take,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Taken>> {
        let head = self.deciding_line(tx, header::HEAD_LINE)?;
        let head_at = self.departures() + header::POSITION;
        let position = tx.word(&head, head_at);
        let Some(slot) = self.slot(tx, Place::of_slot(position % self.size))? else {
            return Ok(None);
        };
        if slot.record == 0 {
            return Ok(None);
        }
        if tx.word(&slot.view, slot.at + SLOT.position) != position {
            tx.check(&head)?;
            return Err(tx.broken(&slot.view, Invariant::Queue, slot.at));
        }
        let (item, node) = self.append(tx, &slot, buffer)?;
        match how {
            Take::AtOnce => record::free(tx, &slot.view, slot.record, node)?,
            Take::OnLease { thread } => {
                let me = tx.owner(thread);
                if !self.begin_lease(tx, position, slot.record, me)? {
                    return Ok(None);
                }
            }
        }
        if how == Take::AtOnce || !mutated(Mutation::LeaseKeepsSlot) {
            tx.write(&slot.view, slot.at + SLOT.record, 0);
        }
        tx.write(&head, head_at, position.wrapping_add(1));
        Ok(Some(Taken { position, item }))
    }

    /// Writes a lease into a place that is not in use; false if all are.
    fn begin_lease<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        position: u64,
        record: Offset,
        me: Owner,
    ) -> Result<bool> {
        let leased = self.deciding_line(tx, header::LEASED_LINE)?;
        let free = (0..LEASES_MAX).find(|&index| {
            let (at, bit) = self.leased_at(index);
            tx.word(&leased, at) & bit == 0
        });
        let Some(index) = free else { return Ok(false) };
        let slot = self.slot_to_fill(tx, Place::of_lease(index))?;
        if slot.record != 0 {
            tx.check(&leased)?;
            return Err(tx.broken(&slot.view, Invariant::Queue, slot.at));
        }
        tx.write(&slot.view, slot.at + SLOT.position, position);
        tx.write(&slot.view, slot.at + SLOT.record, record);
        set_owner(tx, &slot.view, slot.at + SLOT.owner, Some(me));
        let (at, bit) = self.leased_at(index);
        let bits = tx.word(&leased, at);
        tx.write(&leased, at, bits | bit);
        Ok(true)
    }

    /// Frees an item and its lease.
    fn end_lease<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        slot: &Slot<Touched>,
        index: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<Range<usize>> {
        let (item, node) = self.append(tx, slot, buffer)?;
        record::free(tx, &slot.view, slot.record, node)?;
        tx.write(&slot.view, slot.at + SLOT.record, 0);
        set_owner(tx, &slot.view, slot.at + SLOT.owner, None);
        let leased = self.deciding_line(tx, header::LEASED_LINE)?;
        let (at, bit) = self.leased_at(index);
        let bits = tx.word(&leased, at);
        if !mutated(Mutation::LeaseNotEnded) {
            tx.write(&leased, at, bits & !bit);
        }
        Ok(item)
    }

    fn append<A: Access>(
        &self,
        access: &mut A,
        slot: &Slot<A::View>,
        buffer: &mut Vec<u8>,
    ) -> Result<(Range<usize>, Option<Offset>)> {
        let mut record = Vec::new();
        let (range, node) = self.item(access, slot, &mut record)?;
        let from = buffer.len();
        buffer.extend_from_slice(&record[range]);
        Ok((from..buffer.len(), node))
    }

    /// The lease of that thread for that position, or its first one.
    fn lease_of<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        thread: u64,
        position: Option<u64>,
    ) -> Result<Option<Lease>> {
        let mut leases = self.leases(tx)?;
        leases.retain(|lease| {
            lease.owner.is_some_and(|owner| tx.segment.is_mine(owner, thread))
                && position.is_none_or(|position| lease.position == position)
        });
        Ok(leases.into_iter().min_by_key(|lease| lease.position))
    }

    /// Ends the lease of that thread for the item at that position, or for the first that it has:
    /// the item is gone. False if there is no such lease.
    ///
    /// # Errors
    /// As `take`.
    pub fn done<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        thread: u64,
        position: Option<u64>,
    ) -> Result<bool> {
        let Some(lease) = self.lease_of(tx, thread, position)? else { return Ok(false) };
        let slot = self.lease_slot(tx, lease)?;
        self.end_lease(tx, &slot, lease.index, &mut Vec::new())?;
        Ok(true)
    }

    /// As `done`, but the item is there for others, before all that came after it.
    ///
    /// # Errors
    /// As `take`.
    pub fn give_back<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        thread: u64,
        position: Option<u64>,
    ) -> Result<bool> {
        let Some(lease) = self.lease_of(tx, thread, position)? else { return Ok(false) };
        let slot = self.lease_slot(tx, lease)?;
        set_owner(tx, &slot.view, slot.at + SLOT.owner, None);
        if mutated(Mutation::GivenBackInSilence) {
            return Ok(true);
        }
        // Those that wait for an item look at the tail's version.
        let tail = self.deciding_line(tx, header::TAIL_LINE)?;
        let at = self.arrivals() + header::GIVEN_BACK;
        let count = tx.word(&tail, at).wrapping_add(1);
        tx.write(&tail, at, count);
        Ok(true)
    }
}
