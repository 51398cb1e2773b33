//! Changing a key only if its value is what the caller has seen: look and change are one.

use super::HashMap;
use super::change::check_length;
use super::layout::{Hash, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use super::lookup::Found;
use vasmem_engine::{Access, Error, Host, Memory, Result, Touched, Transaction};

/// What must be so for a change to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected<'a> {
    /// The key is not there.
    Absent,
    /// The key has this value.
    Value(&'a [u8]),
}

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
        check_length("a key", key.len(), KEY_BYTES_MAX)?;
        check_length("a value", bytes.len(), VALUE_BYTES_MAX)?;
        let hash = Hash::of(key, tx.seed());
        loop {
            let mut missed = None;
            if let Some(found) = self.search_to_change(tx, hash, key, record, &mut missed)? {
                let same = self.has_value(tx, &found, expected, record)?;
                if same {
                    self.replace(tx, &found, key, bytes, record)?;
                }
                return Ok(same);
            }
            if expected != Expected::Absent {
                return Ok(false);
            }
            let Some(missed) = missed else { return Err(Error::Conflict) };
            if self.insert(tx, &missed, hash, key, bytes)? {
                self.count(tx, 1)?;
                return Ok(true);
            }
            self.split(tx, &missed.table)?;
        }
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
        if !found.head.is_large() {
            let range = self.value(tx, found, record)?;
            return Ok(&record[range] == expected);
        }
        // A large value takes the place of its record in the buffer.
        let mut value = record.clone();
        let range = self.value(tx, found, &mut value)?;
        Ok(&value[range] == expected)
    }
}
