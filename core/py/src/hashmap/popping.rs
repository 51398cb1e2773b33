//! `popitem`: any item, taken out.

use super::HashMap;
use crate::reading;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use std::sync::Mutex;
use vasmem_structs::hashmap::{Cursor, HashMap as Map};

/// Keys that `popitem` has seen and not tried yet, and where it goes on looking.
#[derive(Default)]
pub(super) struct Popping(Mutex<(Cursor, Vec<Vec<u8>>)>);

impl HashMap {
    /// A key from somewhere in the map, with its value, taken out.
    pub(super) fn pop_any(&self, py: Python<'_>) -> PyResult<Option<(Vec<u8>, Vec<u8>)>> {
        let lock = || self.popping.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut cursor, mut keys) = std::mem::take(&mut *lock());
        let mut record = Vec::new();
        let mut wrapped = false;
        loop {
            while let Some(key) = keys.pop() {
                if let Some(range) = self.map.take(py, &key, &mut record)? {
                    *lock() = (cursor, keys);
                    return Ok(Some((key, record[range].to_vec())));
                }
            }
            if cursor.is_done() {
                if wrapped {
                    return Ok(None);
                }
                (cursor, wrapped) = (Cursor::default(), true);
            }
            let map = self.map.structure;
            let (items, next) = self.map.attached.read(
                py,
                reading!(map: Map, cursor: Cursor; (Vec<(Vec<u8>, Vec<u8>)>, Cursor);
                    |access| map.scan(access, *cursor, false)),
            )?;
            keys.extend(items.into_iter().map(|(key, _)| key));
            cursor = next;
        }
    }
}

#[pymethods]
impl HashMap {
    /// Removes any one item and returns it.
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let Some((key, value)) = self.pop_any(py)? else {
            let text = format!("popitem(): hash map {:?} is empty", self.map.name);
            return Err(PyKeyError::new_err(text));
        };
        Ok((self.map.decode_key(py, &key)?, self.map.decode(py, &value)?))
    }
}
