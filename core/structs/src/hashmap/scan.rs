//! Iteration: one table after the other, each key that stays there exactly once.
//!
//! Tables are visited in the order of their bit-reversed indices: a table covers an interval of
//! that order, and splits only divide intervals, so a position in it stays valid while the map
//! grows (the order of Redis's SCAN).

use super::HashMap;
use super::layout::DEPTH_MAX;
use super::lookup::{Found, Table};
use crate::record::HEAD_BYTES;
use vasmem_engine::layout::LINE;
use vasmem_engine::{Access, Result};

/// A position between two tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// Whether all tables were visited.
    pub fn is_done(self) -> bool {
        self.0 >= 1 << DEPTH_MAX
    }

    /// As a number, for those who cannot hold it.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The position of that number; one that [`Cursor::number`] never gave is some position, too.
    pub fn numbered(number: u64) -> Cursor {
        Cursor(number)
    }

    /// Directory index of the table there, in full depth.
    pub(crate) fn index(self) -> u64 {
        self.0.reverse_bits() >> (64 - DEPTH_MAX)
    }

    /// The position behind a table of that depth.
    pub(crate) fn behind(self, depth: u32) -> Cursor {
        Cursor(self.0 + (1 << (DEPTH_MAX - depth)))
    }
}

/// A key and its value; the value is empty if it was not asked for.
pub type Item = (Vec<u8>, Vec<u8>);

impl HashMap {
    /// All items of the table at `cursor`, and the position behind it. Each bucket is consistent;
    /// the map as a whole may change between two calls.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again at the same position.
    pub fn scan<A: Access>(
        &self,
        access: &mut A,
        cursor: Cursor,
        values: bool,
    ) -> Result<(Vec<Item>, Cursor)> {
        let table = self.table(access, cursor.index())?;
        let mut items = Vec::new();
        let mut record = Vec::new();
        for line in 1..table.entry.shape().lines {
            self.scan_bucket(access, &table, line, values, &mut items, &mut record)?;
        }
        access.check(&table.parent)?;
        Ok((items, cursor.behind(table.entry.depth())))
    }

    fn scan_bucket<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        line: u64,
        values: bool,
        items: &mut Vec<Item>,
        record: &mut Vec<u8>,
    ) -> Result<()> {
        let before = items.len();
        let bucket = self.bucket(access, table, line)?;
        if line + 1 < table.entry.shape().lines {
            access.prefetch(table.entry.table() + (line + 1) * LINE);
        }
        for (slot_at, slot) in bucket.slots().filter(|(_, slot)| slot.record() != 0) {
            let head = self.read_record(access, &bucket.view, slot.record(), record)?;
            let key =
                record[HEAD_BYTES as usize..(HEAD_BYTES + head.key_bytes()) as usize].to_vec();
            let mut value = Vec::new();
            if values {
                let found = Found { view: bucket.view, slot_at, slot, head };
                let range = self.value(access, &found, record)?;
                value = record[range].to_vec();
            }
            items.push((key, value));
        }
        debug_assert!(items.len() - before <= 7);
        access.check(&bucket.view)
    }
}
