//! An array's check, and its removal.

use super::Array;
use super::layout::header;
use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{
    Access, Host, Invariant, Memory, Reached, Result, Segment, Transaction, access::Peek,
};

impl Array {
    /// Looks at the whole array while nobody writes: notes its blocks, and what breaks an
    /// invariant.
    ///
    /// # Errors
    /// `Corrupted` where it cannot go on.
    pub fn reach<M: Memory, H: Host>(
        &self,
        segment: &Segment<M, H>,
        access: &mut Peek<'_, M, H>,
        reached: &mut Reached,
    ) -> Result<()> {
        reached.block(self.node);
        let state = self.state(access)?;
        let record = access.word(&state.head, self.node + header::DESCRIPTION);
        reached.block(record);
        reached.block(state.data);
        let described = 8 + self.description(access)?.len() as u64;
        if segment.block_bytes(record)? < described {
            reached.broken(Invariant::Array, record, "the dtype is longer than its block");
        }
        let (room, rows) = (segment.block_bytes(state.data)?, state.capacity * self.row_bytes);
        if room < rows {
            let text = format!("a block of {room} bytes for rows of {rows}");
            reached.broken(Invariant::Array, state.data, text);
        }
        Ok(())
    }

    /// Frees all of the array and its name.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again.
    pub fn remove<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        let state = self.state(tx)?;
        let record = tx.word(&state.head, self.node + header::DESCRIPTION);
        tx.check(&state.head)?;
        // A handle that is still around must notice, whatever stands here later.
        let head = tx.decide(&state.head)?;
        tx.write(&head, self.node + header::ID, !self.id);
        let block = self.node..self.node + Kind::ARRAY.block_bytes();
        for line in block.step_by(LINE as usize) {
            let view = tx.read(None, line, Kind::ARRAY)?;
            tx.free_node(&view);
        }
        tx.free(state.data)?;
        tx.free(record)?;
        tx.free(self.node)?;
        tx.leave(name)?;
        Ok(())
    }
}
