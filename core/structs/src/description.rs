//! What a structure says of its types: bytes that only the caller understands, in a block of their
//! own, behind their length.

use crate::record::check_length;
use vasmem_engine::{Access, Host, Invariant, Memory, Offset, Result, Transaction};

/// Longest description.
const BYTES_MAX: u64 = 4000;

/// Fills one in; its block.
///
/// # Errors
/// `Full`, `TooLarge`.
pub fn make<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    description: &[u8],
) -> Result<Offset> {
    check_length("types", description.len(), BYTES_MAX)?;
    let bytes = description.len() as u64;
    let block = tx.alloc(8 + bytes)?;
    tx.fill(block, &[&bytes.to_le_bytes(), description]);
    Ok(block)
}

/// Reads the one in `block`, to which the node of `view` leads; without one, `invariant` is broken.
///
/// # Errors
/// `Corrupted`, or `Conflict` to run again.
pub fn read<A: Access>(
    access: &mut A,
    view: &A::View,
    block: Offset,
    invariant: Invariant,
) -> Result<Vec<u8>> {
    access.data(view, block, 8)?;
    let bytes = access.word(view, block);
    if bytes > BYTES_MAX {
        return Err(access.broken(view, invariant, block));
    }
    access.data(view, block, 8 + bytes)?;
    let mut description = vec![0; bytes as usize];
    access.bytes(view, block + 8, &mut description);
    access.check(view)?;
    Ok(description)
}
