//! Changing a key only if its value is what the caller has seen: look and change are one.

use super::HashMap;
use super::change::Put;
use super::layout::Hash;
use super::lookup::Found;
use crate::record::{self, Expected};
use vasmem_engine::{Access, Host, Memory, Result, Touched, Transaction};

impl HashMap {
    /// Gives `key` the value `bytes` if `expected` is so; whether it was.
    ///
    /// # Errors
    /// As [`HashMap::put`].
    pub fn put_if<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        key: &[u8],
        expected: Expected<'_>,
        bytes: &[u8],
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        let hash = Hash::of(key, tx.seed());
        let as_expected = |tx: &mut Transaction<'_, M, H>, found: &_, record: &mut _| {
            self.has_value(tx, found, expected, record)
        };
        let inserts = expected == Expected::Absent;
        let put = self.put_under(tx, hash, (key, bytes), record, as_expected, inserts)?;
        Ok(put != Put::Refused)
    }

    /// Whether the record of `found`, which `record` holds and goes on to hold, has that value.
    fn has_value<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        found: &Found<Touched>,
        expected: Expected<'_>,
        record: &mut Vec<u8>,
    ) -> Result<bool> {
        let Expected::Value(expected) = expected else { return Ok(false) };
        record::has_value(tx, &found.view, found.head, expected, record)
    }
}
