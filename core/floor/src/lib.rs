//! The extension module `vasmem.bench._floor`: what a shared map in Python costs when nothing is
//! promised.
//!
//! A hash table over a MAP_SHARED file with the Python call path of `vasmem` (a PyO3 mapping class
//! that takes and gives `bytes`), and none of its locks, transactions, crash safety or growth.

#![allow(unsafe_code)]

mod fences;
mod hash;
mod lock;
mod table;

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use pyo3::exceptions::{PyKeyError, PyMemoryError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use table::{Refusal, prefetch_line};

/// A mapping of bytes to bytes over a file that it creates or attaches. It is unsynchronised, or
/// `locked`: a mutex in the file is held in each call.
#[pyclass(frozen, mapping, subclass, module = "vasmem.bench._floor")]
struct Table {
    /// In the memory of `inner`, so it goes first.
    lock: Option<lock::Mutex>,
    inner: table::Table,
}

impl Table {
    #[inline]
    fn hold(&self) -> Option<lock::Held<'_>> {
        self.lock.as_ref().map(lock::Mutex::hold)
    }
}

#[pymethods]
impl Table {
    /// `records` is the most it holds (at a load of 60 %); lengths are in bytes.
    #[new]
    #[pyo3(signature = (path, *, records, key_max = 16, value_max = 104, locked = false))]
    fn new(
        path: PathBuf,
        records: u64,
        key_max: usize,
        value_max: usize,
        locked: bool,
    ) -> PyResult<Table> {
        let path = CString::new(path.into_os_string().into_vec())?;
        let inner = table::Table::create(path, records, key_max, value_max)?;
        Ok(Table { lock: locked.then(|| inner.lock(true)).transpose()?, inner })
    }

    /// The table that another process made at this path.
    #[staticmethod]
    #[pyo3(signature = (path, *, locked = false))]
    fn attach(path: PathBuf, locked: bool) -> PyResult<Table> {
        let path = CString::new(path.into_os_string().into_vec())?;
        let inner = table::Table::attach(path)?;
        Ok(Table { lock: locked.then(|| inner.lock(false)).transpose()?, inner })
    }

    /// Asks for huge pages. Raises OSError if the system has none.
    fn collapse(&self) -> PyResult<()> {
        Ok(self.inner.collapse()?)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        let _held = self.hold();
        match self.inner.find(key.as_bytes()) {
            Some(found) => Ok(PyBytes::new(key.py(), self.inner.value(&found))),
            None => Err(missing(key)),
        }
    }

    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyBytes>,
        default: Option<Bound<'py, PyAny>>,
    ) -> Option<Bound<'py, PyAny>> {
        let _held = self.hold();
        match self.inner.find(key.as_bytes()) {
            Some(found) => Some(PyBytes::new(key.py(), self.inner.value(&found)).into_any()),
            None => default,
        }
    }

    fn __setitem__(&self, key: &Bound<'_, PyBytes>, value: &Bound<'_, PyBytes>) -> PyResult<()> {
        let _held = self.hold();
        match self.inner.put(key.as_bytes(), value.as_bytes()) {
            Ok(()) => Ok(()),
            Err(Refusal::TooLong) => Err(PyValueError::new_err("key or value exceeds its room")),
            Err(Refusal::Full) => Err(PyMemoryError::new_err("the floor holds no more records")),
        }
    }

    fn __delitem__(&self, key: &Bound<'_, PyBytes>) -> PyResult<()> {
        let _held = self.hold();
        if self.inner.delete(key.as_bytes()) { Ok(()) } else { Err(missing(key)) }
    }

    fn __contains__(&self, key: &Bound<'_, PyBytes>) -> bool {
        let _held = self.hold();
        self.inner.find(key.as_bytes()).is_some()
    }

    fn __len__(&self) -> usize {
        self.inner.count() as usize
    }

    /// The values of a list of keys, None where there is none.
    fn get_many<'py>(&self, keys: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyAny>> {
        let py = keys.py();
        let keys: Vec<Bound<'py, PyAny>> =
            keys.iter().inspect(|key| prefetch_line(key.as_ptr().cast_const().cast())).collect();
        if !keys.iter().all(|key| key.is_instance_of::<PyBytes>()) {
            return Err(PyTypeError::new_err("keys must be bytes"));
        }
        // SAFETY: the list is new and of the right length; each place is filled exactly once, with
        // an owned reference, before anything else can see the list.
        unsafe {
            let list = ffi::PyList_New(keys.len() as ffi::Py_ssize_t);
            let result = Bound::from_owned_ptr_or_err(py, list)?;
            let _held = self.hold();
            self.inner.find_many(
                keys.len(),
                |index| keys[index].cast_unchecked::<PyBytes>().as_bytes(),
                |index, value| {
                    let item = match value {
                        Some(value) => PyBytes::new(py, value).into_ptr(),
                        None => py.None().into_ptr(),
                    };
                    ffi::PyList_SET_ITEM(list, index as ffi::Py_ssize_t, item);
                },
            );
            Ok(result)
        }
    }
}

#[cold]
fn missing(key: &Bound<'_, PyBytes>) -> PyErr {
    PyKeyError::new_err(key.clone().unbind())
}

/// Nanoseconds of a round of stores to these lines (fixed, following, random) before each of two
/// fences, over `megabytes` of memory.
#[pyfunction]
fn round_ns(
    first: (usize, usize, usize),
    second: (usize, usize, usize),
    megabytes: usize,
    rounds: u64,
    flush: bool,
) -> f64 {
    let lines = |(fixed, following, random)| fences::Lines { fixed, following, random };
    let mut words = vec![1; megabytes << 17];
    fences::round_ns(&mut words, lines(first), lines(second), rounds, flush)
}

#[pymodule]
fn _floor(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    module.add_function(wrap_pyfunction!(round_ns, module)?)?;
    module.add_class::<Table>()
}
