//! The number of keys of a map or tree, in sixteen parts, so that writers do not meet: each counts
//! in the line of its lane, behind the header's first one.

use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{Access, Host, Invariant, Memory, Offset, Result, Transaction};

/// Lines that count.
pub const SHARDS: u64 = 16;

/// What they come to, behind the header at `node`, which `head` is a view of: exact whenever nobody
/// writes. A key takes at least `least_bytes`.
///
/// # Errors
/// `Corrupted` if so many have no room, or `Conflict` to run again.
pub fn sum<A: Access>(
    access: &mut A,
    head: &A::View,
    (node, kind): (Offset, Kind),
    least_bytes: u64,
) -> Result<u64> {
    let mut count = 0u64;
    for shard in 1..=SHARDS {
        let line = node + shard * LINE;
        let view = access.navigate(Some(head), line, kind)?;
        count = count.wrapping_add(access.word(&view, line + 8));
        access.check(&view)?;
    }
    // Shards are read one after the other: under load their sum may be a little below zero.
    if count > i64::MAX as u64 {
        return Ok(0);
    }
    if count > access.limit() / least_bytes {
        return Err(access.broken(head, Invariant::MapCount, node));
    }
    Ok(count)
}

/// Adds to the one of this lane.
///
/// # Errors
/// `Corrupted` if there is no such node.
pub fn add<M: Memory, H: Host>(
    tx: &mut Transaction<'_, M, H>,
    (node, kind): (Offset, Kind),
    by: i64,
) -> Result<()> {
    let line = node + (1 + u64::from(tx.lane_id()) % SHARDS) * LINE;
    tx.add(line, kind, line + 8, by as u64)
}
