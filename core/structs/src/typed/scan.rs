//! Iteration: one table after the other, each key that stays there exactly once.

use super::{Piece, TypedMap};
use crate::hashmap::Cursor;
use vasmem_engine::{Access, Result, Seen};

impl TypedMap {
    /// All keys and values of the table at `cursor`. Each node is consistent; the map as a whole
    /// may change between two calls.
    ///
    /// # Errors
    /// `Removed`, `Corrupted`, or `Conflict` to run again at the same position.
    pub fn scan<A: Access>(&self, access: &mut A, cursor: Cursor) -> Result<Piece> {
        let table = self.map.table(access, cursor.index())?;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let (key_bytes, value_bytes) =
            (self.form.key_bytes as usize, self.form.value_bytes as usize);
        for number in 1..self.form.nodes() {
            let seen = self.node(access, &table, number)?;
            for entry in (0..self.form.entries).filter(|entry| seen.used & 1 << entry != 0) {
                let node = seen.view.node();
                let (key_from, value_from) = (keys.len(), values.len());
                keys.resize(key_from + key_bytes, 0);
                values.resize(value_from + value_bytes, 0);
                let at = node + self.form.entry(entry);
                access.bytes(&seen.view, at, &mut keys[key_from..]);
                access.bytes(&seen.view, self.value_at(node, entry), &mut values[value_from..]);
            }
            access.check(&seen.view)?;
        }
        access.check(&table.parent)?;
        Ok((keys, values, cursor.behind(table.entry.depth())))
    }
}
