//! `_core.HashMap`: the operations of a dict, native slots without a Python frame.

mod atomic;
mod batch;
mod iterate;
mod view;

pub use iterate::Items;
pub use view::Pinned;

use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::segment::{RAW, Segment, getrandom};
use crate::{key, reading, value};
use iterate::What;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use vasmem_engine::Result;
use vasmem_structs::hashmap::HashMap as Map;

/// A hash map of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct HashMap {
    attached: Arc<Attached>,
    map: Map,
    name: String,
    raw: bool,
    popping: atomic::Popping,
}

thread_local! {
    /// Buffers of the running operation; taken out while in use, since decoding may call Python,
    /// which may come back here.
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

#[derive(Default)]
struct Buffers {
    key: Vec<u8>,
    value: Vec<u8>,
    record: Vec<u8>,
}

/// Buffers that have grown above this many bytes are not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl HashMap {
    /// Runs `body` with buffers of this thread.
    #[inline]
    fn with_buffers<T>(body: impl FnOnce(&mut Buffers) -> PyResult<T>) -> PyResult<T> {
        BUFFERS.with(|kept| {
            let mut buffers = kept.take().unwrap_or_default();
            let result = body(&mut buffers);
            if buffers.record.len() + buffers.value.len() + buffers.key.len() <= KEPT_BYTES_MAX {
                kept.set(Some(buffers));
            }
            result
        })
    }

    /// The bytes of a key: its own where the map is raw, its encoding otherwise.
    #[inline]
    fn key<'a>(&self, key: &'a Bound<'_, PyAny>, into: &'a mut Vec<u8>) -> PyResult<&'a [u8]> {
        if self.raw {
            return raw_bytes("a key", key);
        }
        into.clear();
        key::encode(key, into)?;
        Ok(into)
    }

    #[inline]
    fn decode<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if self.raw { Ok(PyBytes::new(py, bytes).into_any()) } else { value::decode(py, bytes) }
    }

    #[inline]
    fn find<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        Self::with_buffers(|buffers| {
            let Buffers { key: encoded, record, .. } = buffers;
            let key = self.key(key, encoded)?;
            let map = self.map;
            let found = self.attached.read(
                py,
                reading!(map: Map, key: &'a [u8], record: &'a mut Vec<u8>; Option<Range<usize>>;
                    |access| map.get(access, key, record)),
            )?;
            found.map(|range| self.decode(py, &buffers.record[range])).transpose()
        })
    }

    fn iterate(&self, what: What) -> Items {
        Items::new(self.attached.clone(), self.map, self.raw, what)
    }
}

/// The bytes of an object that must be bytes.
#[inline]
fn raw_bytes<'a>(what: &str, object: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(not_bytes(what, object)),
    }
}

#[cold]
fn not_bytes(what: &str, object: &Bound<'_, PyAny>) -> PyErr {
    let kind = object.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    Exception::WrongType.error(format!(
        "{what} of a raw hash map must be bytes, not {kind}: pass bytes(...), or open a map that \
         is not raw"
    ))
}

#[pymethods]
impl HashMap {
    #[new]
    #[pyo3(signature = (segment, name, create, raw))]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
        raw: bool,
    ) -> PyResult<HashMap> {
        let attached = segment.get().attached.clone();
        let first = attached.engine.geometry.directory_at;
        let wanted = name.as_str();
        let mut found = attached.read(
            py,
            reading!(wanted: &'a str, first: u64; Option<(Map, u8)>;
                |access| Map::open(access, *first, wanted)),
        )?;
        if found.is_none() && create {
            let mut random = [0; 8];
            getrandom(&mut random)?;
            let (id, flags) = (u64::from_le_bytes(random), if raw { RAW } else { 0 });
            found = attached.write(py, |tx| {
                Ok(match Map::open(tx, first, wanted)? {
                    Some(found) => Some(found),
                    None => Some((Map::create(tx, wanted, flags, id)?, flags)),
                })
            })?;
        }
        let Some((map, flags)) = found else { return Err(PyKeyError::new_err(name)) };
        if (flags & RAW != 0) != raw {
            let (is, option) = if raw { ("not raw", "False") } else { ("raw", "True") };
            return Err(Exception::WrongType.error(format!(
                "hash map {name:?} in segment {:?} is {is}: open it with raw={option}",
                attached.name
            )));
        }
        Ok(HashMap { attached, map, name, raw, popping: atomic::Popping::default() })
    }

    #[classmethod]
    fn __class_getitem__(cls: &Bound<'_, PyType>, item: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let alias = cls.py().import("types")?.getattr("GenericAlias")?;
        Ok(alias.call1((cls, item))?.unbind())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn raw(&self) -> bool {
        self.raw
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.find(key)? {
            Some(value) => Ok(value),
            None => Err(PyKeyError::new_err(key.clone().unbind())),
        }
    }

    #[pyo3(signature = (key, default=None, /))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.find(key)?.or(default))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Self::with_buffers(|Buffers { key: encoded, record, .. }| {
            let py = key.py();
            let key = self.key(key, encoded)?;
            let map = self.map;
            self.attached.read(
                py,
                reading!(map: Map, key: &'a [u8], record: &'a mut Vec<u8>; bool;
                    |access| map.contains(access, key, record)),
            )
        })
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::with_buffers(|Buffers { key: encoded, value: document, record }| {
            let py = key.py();
            let key = self.key(key, encoded)?;
            let bytes = if self.raw {
                raw_bytes("a value", value)?
            } else {
                document.clear();
                value::encode(value, document)?;
                document
            };
            self.attached.write(py, |tx| self.map.put(tx, key, bytes, record).map(|_| ()))
        })
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let found = Self::with_buffers(|Buffers { key: encoded, record, .. }| {
            let bytes = self.key(key, encoded)?;
            let deleted = |found: Result<Option<Range<usize>>>| found.map(|range| range.is_some());
            self.attached.write(key.py(), |tx| deleted(self.map.delete(tx, bytes, record)))
        })?;
        if found { Ok(()) } else { Err(PyKeyError::new_err(key.clone().unbind())) }
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let map = self.map;
        let len = self.attached.read(py, reading!(map: Map; u64; |access| map.len(access)))?;
        Ok(len as usize)
    }

    fn __iter__(&self) -> Items {
        self.iterate(What::Keys)
    }

    /// Iterates over the values.
    fn iter_values(&self) -> Items {
        self.iterate(What::Values)
    }

    /// Iterates over pairs of key and value, each pair as it was at one time.
    fn iter_items(&self) -> Items {
        self.iterate(What::Items)
    }
}
