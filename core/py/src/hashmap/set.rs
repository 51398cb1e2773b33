//! `_core.Set`: a hash map of keys whose values are empty.

use super::HashMap;
use super::iterate::{Items, What};
use super::popping::Popping;
use crate::map::{Map, with_buffers};
use crate::segment::{RAW, SET, Segment};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};
use vasmem_structs::record::Expected;

/// A set of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct Set {
    of: HashMap,
}

impl Set {
    fn insert(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_buffers(|buffers| {
            let encoded = self.of.map.key(key, &mut buffers.key)?;
            self.of.map.put_if(key.py(), encoded, Expected::Absent, b"")
        })
    }

    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_buffers(|buffers| {
            let encoded = self.of.map.key(key, &mut buffers.key)?;
            Ok(self.of.map.take(key.py(), encoded, &mut buffers.record)?.is_some())
        })
    }
}

#[pymethods]
impl Set {
    #[new]
    #[pyo3(signature = (segment, name, create, raw))]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
        raw: bool,
    ) -> PyResult<Set> {
        let flags = if raw { SET | RAW } else { SET };
        let map = Map::open_as(py, segment, name, create, flags)?;
        Ok(Set { of: HashMap { map, popping: Popping::default() } })
    }

    #[classmethod]
    fn __class_getitem__(cls: &Bound<'_, PyType>, item: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let alias = cls.py().import("types")?.getattr("GenericAlias")?;
        Ok(alias.call1((cls, item))?.unbind())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.of.map.name
    }

    #[getter]
    fn raw(&self) -> bool {
        self.of.map.raw
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.of.map.contains(key)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.of.map.len(py)
    }

    fn __iter__(&self) -> Items {
        self.of.iterate(What::Keys)
    }

    #[pyo3(signature = (key, /))]
    fn add(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.insert(key).map(|_| ())
    }

    /// As `add`; whether the key was not there.
    #[pyo3(signature = (key, /))]
    fn add_new(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.insert(key)
    }

    #[pyo3(signature = (key, /))]
    fn discard(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.delete(key).map(|_| ())
    }

    #[pyo3(signature = (key, /))]
    fn remove(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.delete(key)? {
            true => Ok(()),
            false => Err(PyKeyError::new_err(key.clone().unbind())),
        }
    }

    /// Removes any one key and returns it.
    fn pop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some((key, _)) = self.of.pop_any(py)? else {
            let text = format!("pop(): set {:?} is empty", self.of.map.name);
            return Err(PyKeyError::new_err(text));
        };
        self.of.map.decode_key(py, &key)
    }

    /// Adds all of these keys, one commit a key.
    #[pyo3(signature = (keys, /))]
    fn add_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<()> {
        self.of.map.with_keys(keys, |keys, _| {
            let nothing: &[u8] = b"";
            self.of.put_all(py, keys, &vec![nothing; keys.len()])
        })
    }

    /// Removes all of these keys that are there, one commit a key; how many were.
    #[pyo3(signature = (keys, /))]
    fn discard_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.of.delete_many(py, keys)
    }

    /// Whether each of these keys is there.
    #[pyo3(signature = (keys, /))]
    fn contains_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let found = self.of.map.with_keys(keys, |keys, _| self.of.find_all(py, keys))?;
        PyList::new(py, found)
    }
}
