//! A position among the keys that moves both ways.

use super::{BTree, Tree};
use crate::error::Kind as Exception;
use pyo3::prelude::*;
use std::ops::Bound as Edge;
use std::sync::{Arc, Mutex, MutexGuard};

type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Where a cursor stands.
enum Spot {
    /// Before the first key.
    Before,
    /// At a key, there or not.
    At(Vec<u8>),
    /// Behind the last key.
    Behind,
}

/// A position among the keys of a B-tree.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Cursor {
    map: Arc<Tree>,
    spot: Mutex<Spot>,
}

impl Cursor {
    fn spot(&self) -> PyResult<MutexGuard<'_, Spot>> {
        self.spot.try_lock().map_err(|_| {
            let text = "two threads use one cursor at the same time: make one in each";
            Exception::VasmemError.error(text)
        })
    }

    /// Goes to the first key from an edge on; stays beyond the end if there is none.
    fn go<'py>(
        &self,
        py: Python<'py>,
        spot: &mut Spot,
        from: Edge<Vec<u8>>,
        reverse: bool,
    ) -> PyResult<Option<Pair<'py>>> {
        let item = self.map.first_from(py, from, reverse)?;
        *spot = match &item {
            Some((key, _)) => Spot::At(key.clone()),
            None if reverse => Spot::Before,
            None => Spot::Behind,
        };
        self.map.pair(py, item)
    }
}

#[pymethods]
impl Cursor {
    /// The key at which it stands; None before the first and behind the last.
    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &*self.spot()? {
            Spot::At(key) => self.map.decode_key(py, key).map(Some),
            _ => Ok(None),
        }
    }

    /// Goes to the first item, and returns it; None if there is none.
    fn first<'py>(&self, py: Python<'py>) -> PyResult<Option<Pair<'py>>> {
        self.go(py, &mut *self.spot()?, Edge::Unbounded, false)
    }

    /// Goes to the last item, and returns it; None if there is none.
    fn last<'py>(&self, py: Python<'py>) -> PyResult<Option<Pair<'py>>> {
        self.go(py, &mut *self.spot()?, Edge::Unbounded, true)
    }

    /// Goes to the first item whose key is not below `key`, and returns it; None if there is none,
    /// and the cursor stands behind the last.
    #[pyo3(signature = (key, /))]
    fn seek<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Pair<'py>>> {
        let edge = Edge::Included(self.map.own_key(key)?);
        self.go(key.py(), &mut *self.spot()?, edge, false)
    }

    /// Goes to the next item, and returns it; None if there is none.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Pair<'py>>> {
        let mut spot = self.spot()?;
        let from = match &*spot {
            Spot::Before => Edge::Unbounded,
            Spot::At(key) => Edge::Excluded(key.clone()),
            Spot::Behind => return Ok(None),
        };
        self.go(py, &mut spot, from, false)
    }

    /// Goes to the item before, and returns it; None if there is none.
    fn prev<'py>(&self, py: Python<'py>) -> PyResult<Option<Pair<'py>>> {
        let mut spot = self.spot()?;
        let from = match &*spot {
            Spot::Before => return Ok(None),
            Spot::At(key) => Edge::Excluded(key.clone()),
            Spot::Behind => Edge::Unbounded,
        };
        self.go(py, &mut spot, from, true)
    }
}

#[pymethods]
impl BTree {
    /// A cursor before the first key.
    fn cursor(&self) -> Cursor {
        Cursor { map: self.map.clone(), spot: Mutex::new(Spot::Before) }
    }
}
