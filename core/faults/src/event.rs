//! What a trace consists of.

use vasmem_memory::Offset;

/// What happened to the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A word was stored.
    Store(Offset, u64),
    /// The same past the caches, in no order with others.
    Stream(Offset, u64),
    /// The lines of so many bytes, from the start of a line on, were flushed.
    Flush(Offset, u64),
    /// What was flushed is durable.
    Fence,
}

/// Divides bytes that are stored at `at` into words of 8 bytes, from low to high: calls `put` with
/// the place and the new value of each, where `get` tells the present one.
pub fn words(
    at: Offset,
    from: &[u8],
    mut get: impl FnMut(Offset) -> u64,
    mut put: impl FnMut(Offset, u64),
) {
    let mut done = 0;
    while done < from.len() {
        let here = at + done as u64;
        let (start, word) = ((here % 8) as usize, here & !7);
        let len = (8 - start).min(from.len() - done);
        let mut bytes = get(word).to_le_bytes();
        bytes[start..start + len].copy_from_slice(&from[done..done + len]);
        put(word, u64::from_le_bytes(bytes));
        done += len;
    }
}
