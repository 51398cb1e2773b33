//! Iteration: one table of the map at a time is in memory.

use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::{key, reading, value};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::{Arc, Mutex};
use vasmem_structs::hashmap::{Cursor, HashMap as Map};

/// What an iterator yields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Keys,
    Values,
    Items,
}

/// Iterator over a hash map: one table of it at a time in memory.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Items {
    attached: Arc<Attached>,
    map: Map,
    raw: bool,
    what: What,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cursor: Cursor,
    items: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
}

impl Items {
    pub(super) fn new(attached: Arc<Attached>, map: Map, raw: bool, what: What) -> Items {
        Items { attached, map, raw, what, state: Mutex::default() }
    }

    fn next_item(&self, py: Python<'_>) -> PyResult<Option<(Vec<u8>, Vec<u8>)>> {
        let Ok(mut state) = self.state.try_lock() else {
            let text = "two threads use one iterator at the same time: make one in each";
            return Err(Exception::VasmemError.error(text));
        };
        loop {
            if let Some(item) = state.items.next() {
                return Ok(Some(item));
            }
            if state.cursor.is_done() {
                return Ok(None);
            }
            let (map, cursor, values) = (self.map, state.cursor, self.what != What::Keys);
            let (items, next) = self.attached.read(
                py,
                reading!(map: Map, cursor: Cursor, values: bool;
                    (Vec<(Vec<u8>, Vec<u8>)>, Cursor);
                    |access| map.scan(access, *cursor, *values)),
            )?;
            (state.items, state.cursor) = (items.into_iter(), next);
        }
    }

    fn key<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if self.raw { Ok(PyBytes::new(py, bytes).into_any()) } else { key::decode(py, bytes) }
    }

    fn value<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if self.raw { Ok(PyBytes::new(py, bytes).into_any()) } else { value::decode(py, bytes) }
    }
}

#[pymethods]
impl Items {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some((key, value)) = self.next_item(py)? else { return Ok(None) };
        Ok(Some(match self.what {
            What::Keys => self.key(py, &key)?,
            What::Values => self.value(py, &value)?,
            What::Items => {
                (self.key(py, &key)?, self.value(py, &value)?).into_pyobject(py)?.into_any()
            }
        }))
    }
}
