//! Where the parts of an array stand. `docs/design.md` draws them.
//!
//! **A1** bytes of rows change only under the lock of their stripe. **A2** whoever moves the rows,
//! or cuts some off, moves the counter of every stripe: no word of another's record is left that
//! could come to space that was given up. **A3** what lies behind the last row is nobody's, and is
//! changed under the header's lock, but for the rest of a word that holds a part of a row.

use std::ops::Range;
use vasmem_engine::Offset;
use vasmem_engine::layout::{GRANULE, Kind, LINE};

/// Words of the header's first line, from its start.
pub mod header {
    /// Random identity of the array: a stale handle notices.
    pub const ID: u64 = 8;
    /// The block of the rows.
    pub const DATA: u64 = 16;
    /// Rows that the block has room for.
    pub const CAPACITY: u64 = 24;
    /// Rows.
    pub const LENGTH: u64 = 32;
    /// Bytes of a row, at least 1.
    pub const ROW_BYTES: u64 = 40;
    /// Record that says what a row is.
    pub const DESCRIPTION: u64 = 48;
}
/// Words of the header block.
pub const HEADER_WORDS: usize = (1 + STRIPES) * LINE as usize / 8;
/// Stripes: lines 1..=15 of the header block, nodes without words.
pub const STRIPES: usize = 15;
/// Bytes in a row that a stripe guards, before the next one does.
pub const STRIPE_BYTES: u64 = 4096;
/// Rows begin at a multiple of this.
pub const ALIGNMENT: u64 = 64;
/// Longest description.
pub const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;
/// Bytes that one update writes through the redo record; above, it writes all rows anew.
pub const LOGGED_BYTES_MAX: u64 = 4 << 20;

/// The stripe of a byte.
pub fn stripe(byte: u64) -> usize {
    (byte / STRIPE_BYTES) as usize % STRIPES
}

/// The node of a stripe.
pub fn stripe_node(header: Offset, stripe: usize) -> Offset {
    header + (1 + stripe as u64) * LINE
}

/// The stripes of a range of bytes, a bit each.
pub fn stripes(bytes: Range<u64>) -> u16 {
    let (first, last) = (bytes.start / STRIPE_BYTES, bytes.end.div_ceil(STRIPE_BYTES));
    let count = (last - first).min(STRIPES as u64);
    (first..first + count).fold(0, |all, part| all | 1 << (part % STRIPES as u64))
}

/// Bytes of the block for so many bytes of rows: of a size that begins aligned.
pub fn block_bytes(bytes: u64) -> u64 {
    match Kind::for_bytes(bytes) {
        Some(_) => bytes.next_power_of_two().max(ALIGNMENT),
        None => bytes.next_multiple_of(GRANULE),
    }
}
