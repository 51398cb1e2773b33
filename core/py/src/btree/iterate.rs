//! Iteration in key order: one leaf at a time is in memory.

use super::{BTree, Tree};
use crate::error::Kind as Exception;
use crate::reading;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use std::ops::Bound as Edge;
use std::sync::{Arc, Mutex};
use vasmem_structs::BTree as Structure;
use vasmem_structs::btree::Batch;

/// Items that are read at first: whoever wants only a few need not wait for a whole leaf.
const FIRST: usize = 12;

/// What an iterator yields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Keys,
    Values,
    Items,
}

impl What {
    fn named(name: &str) -> PyResult<What> {
        match name {
            "keys" => Ok(What::Keys),
            "values" => Ok(What::Values),
            "items" => Ok(What::Items),
            _ => Err(PyValueError::new_err(format!("{name:?} is not keys, values or items"))),
        }
    }
}

/// The keys between two edges.
pub(super) struct Range {
    pub low: Edge<Vec<u8>>,
    pub high: Edge<Vec<u8>>,
    pub reverse: bool,
    /// Items at most.
    pub limit: usize,
}

/// Iterator over a B-tree in the order of its keys: one leaf of it at a time in memory.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Sorted {
    map: Arc<Tree>,
    what: What,
    reverse: bool,
    /// Where it ends.
    end: Edge<Vec<u8>>,
    state: Mutex<State>,
}

struct State {
    batch: Batch,
    /// Items of the batch that were yielded.
    done: usize,
    /// Items that may still be yielded.
    left: usize,
    /// Items that are read next.
    ahead: usize,
}

impl Sorted {
    pub(super) fn new(map: Arc<Tree>, what: What, range: Range) -> Sorted {
        let Range { low, high, reverse, limit } = range;
        let (begin, end) = if reverse { (high, low) } else { (low, high) };
        let state = State { batch: Batch::beginning(begin), done: 0, left: limit, ahead: FIRST };
        Sorted { map, what, reverse, end, state: Mutex::new(state) }
    }

    /// Whether a key comes before the end.
    fn is_inside(&self, key: &[u8]) -> bool {
        match (&self.end, self.reverse) {
            (Edge::Unbounded, _) => true,
            (Edge::Included(end), false) => key <= &end[..],
            (Edge::Excluded(end), false) => key < &end[..],
            (Edge::Included(end), true) => key >= &end[..],
            (Edge::Excluded(end), true) => key > &end[..],
        }
    }

    fn yielded<'py>(
        &self,
        py: Python<'py>,
        (key, value): (&[u8], &[u8]),
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.what {
            What::Keys => self.map.decode_key(py, key),
            What::Values => self.map.decode(py, value),
            What::Items => {
                let pair = (self.map.decode_key(py, key)?, self.map.decode(py, value)?);
                Ok(pair.into_pyobject(py)?.into_any())
            }
        }
    }
}

#[pymethods]
impl Sorted {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Ok(mut state) = self.state.try_lock() else {
            let text = "two threads use one iterator at the same time: make one in each";
            return Err(Exception::VasmemError.error(text));
        };
        let state = &mut *state;
        if state.left == 0 {
            return Ok(None);
        }
        loop {
            if let Some(item) = state.batch.item(state.done) {
                if !self.is_inside(item.0) {
                    state.left = 0;
                    return Ok(None);
                }
                state.done += 1;
                state.left -= 1;
                return self.yielded(py, item).map(Some);
            }
            let Some(from) = state.batch.next.take() else {
                state.left = 0;
                return Ok(None);
            };
            let limit = state.ahead.min(state.left);
            let values = self.what != What::Keys;
            state.batch = self.map.scan(py, from, self.reverse, limit, values)?;
            (state.done, state.ahead) = (0, usize::MAX);
        }
    }
}

impl Tree {
    /// A part of the items from an edge on.
    pub(super) fn scan(
        &self,
        py: Python<'_>,
        from: Edge<Vec<u8>>,
        reverse: bool,
        limit: usize,
        values: bool,
    ) -> PyResult<Batch> {
        let (tree, from) = (self.structure, from.as_ref().map(|key| &key[..]));
        self.attached.read(
            py,
            reading!(tree: Structure, from: Edge<&'a [u8]>, reverse: bool, limit: usize,
                values: bool; Batch;
                |access| tree.scan(access, *from, *reverse, *limit, *values)),
        )
    }

    /// The bytes of a key of its own.
    pub(super) fn own_key(&self, key: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let mut into = Vec::new();
        Ok(self.key(key, &mut into)?.to_vec())
    }

    pub(super) fn edge(&self, key: &Bound<'_, PyAny>, included: bool) -> PyResult<Edge<Vec<u8>>> {
        if key.is_none() {
            return Ok(Edge::Unbounded);
        }
        let key = self.own_key(key)?;
        Ok(if included { Edge::Included(key) } else { Edge::Excluded(key) })
    }

    /// The keys that begin with `prefix`.
    fn with_prefix(&self, prefix: &Bound<'_, PyAny>, reverse: bool) -> PyResult<Range> {
        let has_parts = match &self.types {
            Some(types) => types.has_bytes_keys() && prefix.is_instance_of::<PyBytes>(),
            None => {
                prefix.is_instance_of::<PyString>()
                    || prefix.is_instance_of::<PyBytes>()
                    || prefix.is_instance_of::<PyTuple>()
            }
        };
        if !has_parts {
            let text = match self.types {
                Some(_) => "prefix() of a typed B-tree takes the beginning of keys of dtype S",
                None => "prefix() takes the beginning of a str, of bytes or of a tuple",
            };
            return Err(Exception::WrongType.error(text));
        }
        let low = match prefix.cast::<PyBytes>() {
            Ok(bytes) if self.types.is_some() => bytes.as_bytes().to_vec(),
            _ => self.own_key(prefix)?,
        };
        let mut high = low.clone();
        if self.raw || prefix.is_instance_of::<PyBytes>() {
            while high.last() == Some(&0xff) {
                high.pop();
            }
            if let Some(last) = high.last_mut() {
                *last += 1;
            }
        } else {
            // No byte of a str is FF; an item of a tuple that goes on with FF is another number.
            high.push(0xff);
        }
        let high = if high.is_empty() { Edge::Unbounded } else { Edge::Excluded(high) };
        Ok(Range { low: Edge::Included(low), high, reverse, limit: usize::MAX })
    }
}

#[pymethods]
impl BTree {
    fn __iter__(&self) -> Sorted {
        let (low, high) = (Edge::Unbounded, Edge::Unbounded);
        let range = Range { low, high, reverse: false, limit: usize::MAX };
        Sorted::new(self.map.clone(), What::Keys, range)
    }

    /// Iterates over "keys", "values" or "items" from `minimum` to `maximum`, None for no bound.
    #[pyo3(signature = (what, minimum, maximum, inclusive, reverse))]
    fn iter_range(
        &self,
        what: &str,
        minimum: &Bound<'_, PyAny>,
        maximum: &Bound<'_, PyAny>,
        inclusive: (bool, bool),
        reverse: bool,
    ) -> PyResult<Sorted> {
        let low = self.map.edge(minimum, inclusive.0)?;
        let high = self.map.edge(maximum, inclusive.1)?;
        let range = Range { low, high, reverse, limit: usize::MAX };
        Ok(Sorted::new(self.map.clone(), What::named(what)?, range))
    }

    /// As `iter_range`, over the keys that begin with `prefix`.
    #[pyo3(signature = (what, prefix, reverse))]
    fn iter_prefix(
        &self,
        what: &str,
        prefix: &Bound<'_, PyAny>,
        reverse: bool,
    ) -> PyResult<Sorted> {
        let range = self.map.with_prefix(prefix, reverse)?;
        Ok(Sorted::new(self.map.clone(), What::named(what)?, range))
    }

    /// As `iter_range`, over those at the indices from `start` to before `stop`.
    #[pyo3(signature = (what, start, stop, reverse))]
    fn iter_slice(
        &self,
        py: Python<'_>,
        what: &str,
        start: u64,
        stop: u64,
        reverse: bool,
    ) -> PyResult<Sorted> {
        let first = if reverse { stop.saturating_sub(1) } else { start };
        let found = if start < stop { self.map.nth(py, first)? } else { None };
        let limit = if found.is_some() { (stop - start) as usize } else { 0 };
        let edge = found.map_or(Edge::Unbounded, |(key, _)| Edge::Included(key));
        let (low, high) = if reverse { (Edge::Unbounded, edge) } else { (edge, Edge::Unbounded) };
        let range = Range { low, high, reverse, limit };
        Ok(Sorted::new(self.map.clone(), What::named(what)?, range))
    }
}
