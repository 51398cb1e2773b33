//! Blocks that were freed while somebody had them pinned: a list of each lane, in blocks of the
//! heap, whose first cell the lane names. A lane goes through its list now and then, whoever claims
//! it after its owner's death goes on, and `check` counts them as kept.

use crate::buffers::mode;
use crate::error::{Error, Invariant, Result};
use crate::host::{Host, Patience};
use crate::lab::{Mutation, mutated};
use crate::lanes::Lane;
use crate::layout::lane;
use crate::segment::Segment;
use crate::transaction::Transaction;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use vasmem_memory::{Memory, Offset};

/// Bytes of a cell: next cell, block.
const CELL_BYTES: u64 = 16;
/// Cells that are looked at in one transaction.
const LOOK_MAX: usize = 1024;
/// Transactions of a lane between two looks at its list.
const PERIOD: u32 = 64;

/// A cell of the list.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Where it stands.
    pub at: Offset,
    /// The block that was freed.
    pub block: Offset,
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// The list of a lane, at most `count` cells; what comes behind them.
    ///
    /// # Errors
    /// `Corrupted` where it leaves the heap.
    pub fn deferred(&self, id: u16, count: usize) -> Result<(Vec<Cell>, Offset)> {
        let mut cells = Vec::new();
        let mut at = self.memory.load(self.tail(id) + lane::DEFERRED, Acquire);
        while at != 0 && cells.len() < count {
            self.data(at, CELL_BYTES)
                .map_err(|_| Error::corrupted(Invariant::Record, self.tail(id)))?;
            let (next, block) = (self.memory.load(at, Acquire), self.memory.load(at + 8, Acquire));
            cells.push(Cell { at, block });
            at = next;
        }
        Ok((cells, at))
    }

    /// Looks whether deferred blocks of this lane can be freed, if it is time.
    ///
    /// # Errors
    /// Those of a transaction, but no `Conflict`.
    #[inline]
    pub fn settle(&self, lane: &mut Lane, patience: &mut dyn Patience) -> Result<()> {
        if lane.defers { self.look_at_deferred(lane, patience) } else { Ok(()) }
    }

    #[cold]
    fn look_at_deferred(&self, lane: &mut Lane, patience: &mut dyn Patience) -> Result<()> {
        lane.until_look = lane.until_look.saturating_sub(1);
        if lane.until_look > 0 && self.may_have_pins() {
            return Ok(());
        }
        lane.until_look = PERIOD;
        let mut tx = Transaction::resume(self, lane, patience);
        tx.reset();
        match tx.free_deferred().and_then(|()| tx.commit()) {
            Ok(()) | Err(Error::Conflict) => {}
            Err(error) => return Err(error),
        }
        let left = self.memory.load(self.tail(lane.id) + lane::DEFERRED, Relaxed);
        lane.defers = left != 0;
        Ok(())
    }
}

impl<M: Memory, H: Host> Transaction<'_, M, H> {
    /// Whether blocks must be looked up before they are freed, and not be overwritten: somebody has
    /// pins. It stays as it was found first in this transaction.
    ///
    /// # Errors
    /// What recovering a dead pinner finds.
    #[inline]
    pub fn respects_pins(&mut self) -> Result<bool> {
        if let Some(known) = self.lane.buffers.respects_pins {
            return Ok(known);
        }
        let found = self.segment.may_have_pins() && self.look_for_pins()?;
        self.lane.buffers.respects_pins = Some(found);
        Ok(found)
    }

    #[cold]
    fn look_for_pins(&mut self) -> Result<bool> {
        let lane = &mut *self.lane;
        lane.until_probe = lane.until_probe.checked_sub(1).unwrap_or(PERIOD);
        self.segment.has_pins(lane.until_probe == 0)
    }

    /// Step 3 of the commit: pins that came since this transaction looked. While it holds the token
    /// there are none, since whoever pins waits for it.
    #[inline]
    pub(crate) fn look_at_pins(&self) -> Result<()> {
        if !self.segment.may_have_pins() || mutated(Mutation::PinsNotLookedAt) {
            return Ok(());
        }
        self.look_at_pins_closely()
    }

    #[cold]
    fn look_at_pins_closely(&self) -> Result<()> {
        let buffers = &self.lane.buffers;
        let came = match buffers.respects_pins {
            None => false,
            Some(false) => !self.holds_token(),
            Some(true) => buffers.freed.iter().any(|&at| self.segment.is_pinned(at)),
        };
        if came { Err(Error::Conflict) } else { Ok(()) }
    }

    /// Puts a block that somebody has pinned on the list of this lane instead of freeing it.
    pub(crate) fn defer(&mut self, block: Offset) -> Result<()> {
        let head_at = self.segment.tail(self.lane.id) + lane::DEFERRED;
        let cell = self.alloc(CELL_BYTES)?;
        let writes = &self.lane.buffers.writes;
        let next = writes
            .find(head_at)
            .map_or_else(|| self.segment.memory.load(head_at, Relaxed), |i| writes.value(i));
        self.fill(cell, &[&next.to_le_bytes(), &block.to_le_bytes()]);
        self.write_kept(cell, head_at, cell);
        self.lane.defers = true;
        Ok(())
    }

    /// Frees what nobody has pinned any more.
    fn free_deferred(&mut self) -> Result<()> {
        let id = self.lane.id;
        let (cells, rest) = self.segment.deferred(id, LOOK_MAX)?;
        let pins = self.segment.has_pins(self.lane.until_probe == 0)?;
        let (kept, gone): (Vec<Cell>, Vec<Cell>) =
            cells.into_iter().partition(|cell| pins && self.segment.is_pinned(cell.block));
        let Some(first) = gone.first() else { return Ok(()) };
        let gate = first.at;
        for cell in &gone {
            // Nobody can pin it again: no node leads to it.
            self.free_now(cell.block)?;
            self.free_now(cell.at)?;
        }
        let mut link = self.segment.tail(id) + lane::DEFERRED;
        for cell in &kept {
            self.write_kept(gate, link, cell.at);
            link = cell.at;
        }
        self.write_kept(gate, link, rest);
        Ok(())
    }

    /// Writes a word that only this lane's tail leads to, with the descriptor of the block `gate`.
    fn write_kept(&mut self, gate: Offset, at: Offset, value: u64) {
        let descriptor = self.segment.geometry.place(gate).descriptor;
        let buffers = &mut self.lane.buffers;
        let entry = buffers.entry(descriptor, mode::WRITE | mode::LAST);
        buffers.writes.put(entry, at, value);
    }
}
