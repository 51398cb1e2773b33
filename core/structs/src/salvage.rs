//! Saving single records of a damaged structure, whichever it is.

use crate::record::{self, Head};
use std::collections::HashSet;
use vasmem_engine::access::Peek;
use vasmem_engine::layout::GRANULE;
use vasmem_engine::{Access, Host, Invariant, Memory, Offset, Result, Segment, View};

/// A record that is good.
pub struct Saved {
    /// Where it stands.
    pub at: Offset,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The value's own block, if it has one.
    pub(crate) block: Option<Offset>,
}

/// Copies out the record at `at`, of at most `bytes_max` bytes, if its lengths fit their blocks and
/// its key `fits` where it stands. `taken` has the blocks of large values that others lead to.
///
/// # Errors
/// `Corrupted` if it is not good, `Conflict` to run again.
pub fn save<M: Memory, H: Host>(
    segment: &Segment<M, H>,
    access: &mut Peek<'_, M, H>,
    (node, at): (&View, Offset),
    bytes_max: u64,
    fits: impl Fn(&[u8]) -> bool,
    taken: &HashSet<Offset>,
) -> Result<Saved> {
    let mut bytes = Vec::new();
    let head: Head = record::read(access, node, at, bytes_max, &mut bytes)?;
    // Where the descriptor is silent, a record still ends in its granule.
    let room = segment.data_block_bytes(at)?.unwrap_or(GRANULE - at % GRANULE);
    let key = bytes[head.key_range()].to_vec();
    if head.record_bytes() > room || !fits(&key) {
        return Err(access.broken(node, Invariant::MapRecord, at));
    }
    let Some(value_node) = record::large_node(&bytes, head) else {
        let value = bytes[head.key_range().end..head.record_bytes() as usize].to_vec();
        return Ok(Saved { at, key, value, block: None });
    };
    let (view, block, value_bytes) = record::large(access, node, value_node)?;
    if taken.contains(&block) {
        return Err(access.broken(&view, Invariant::Reachable, block));
    }
    // Nothing but its block tells what is a value.
    if segment.data_block_bytes(block)?.is_none_or(|room| value_bytes > room) {
        return Err(access.broken(&view, Invariant::Descriptor, block));
    }
    let mut value = vec![0; value_bytes as usize];
    access.bytes(&view, block, &mut value);
    access.check(&view)?;
    Ok(Saved { at, key, value, block: Some(block) })
}
