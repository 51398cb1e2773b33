//! Neighbours of a key, and indices. Nothing counts on the way of a write, so an index is found by
//! walking over the counts of the leaves.

use super::{BTree, Item, Tree};
use crate::attached::Engine;
use crate::reading;
use pyo3::exceptions::{PyIndexError, PyKeyError};
use pyo3::prelude::*;
use std::ops::Bound as Edge;
use vasmem_structs::BTree as Structure;
use vasmem_structs::btree::{Stop, Walk};

impl Tree {
    /// The first item from an edge on.
    pub(super) fn first_from(
        &self,
        py: Python<'_>,
        from: Edge<Vec<u8>>,
        reverse: bool,
    ) -> PyResult<Option<Item>> {
        let mut next = Some(from);
        while let Some(from) = next {
            let batch = self.scan(py, from, reverse, 1, true)?;
            if let Some((key, value)) = batch.item(0) {
                return Ok(Some((key.to_vec(), value.to_vec())));
            }
            next = batch.next;
        }
        Ok(None)
    }

    /// Walks over the leaves, while other threads run.
    fn walk(&self, py: Python<'_>, stop: Stop<'_>) -> PyResult<Walk> {
        let tree = self.structure;
        let (mut passed, mut from) = (0, Vec::new());
        if self.attached.is_inside(py)? {
            loop {
                let from_key = &from[..];
                let walked = self.attached.read(
                    py,
                    reading!(tree: Structure, from_key: &'a [u8], passed: u64, stop: Stop<'a>; Walk;
                        |access| tree.walk(access, from_key, *passed, *stop)),
                )?;
                match walked {
                    Walk::Underway(count, next) => (passed, from) = (count, next),
                    done => return Ok(done),
                }
            }
        }
        self.attached.detached(py, |engine: &Engine, patience| {
            loop {
                patience.begin()?;
                let from_key = &from[..];
                let mut walk = reading!(tree: Structure, from_key: &'a [u8], passed: u64,
                    stop: Stop<'a>; Walk; |access| tree.walk(access, from_key, *passed, *stop));
                match engine.consult(patience, &mut walk)? {
                    Walk::Underway(count, next) => (passed, from) = (count, next),
                    done => return Ok(done),
                }
            }
        })
    }

    /// The item at an index.
    pub(super) fn nth(&self, py: Python<'_>, index: u64) -> PyResult<Option<Item>> {
        if index == 0 {
            return self.first_from(py, Edge::Unbounded, false);
        }
        let Walk::Arrived(passed, fence) = self.walk(py, Stop::Count(index))? else {
            return Ok(None);
        };
        let mut left = (index - passed) as usize;
        let mut next = Some(Edge::Included(fence));
        while let Some(from) = next {
            let batch = self.scan(py, from, false, usize::MAX, true)?;
            if let Some((key, value)) = batch.item(left) {
                return Ok(Some((key.to_vec(), value.to_vec())));
            }
            left -= batch.len();
            next = batch.next;
        }
        Ok(None)
    }

    /// The item at an index as Python counts, from the end if it is negative.
    fn at_index(&self, py: Python<'_>, index: i64) -> PyResult<Option<Item>> {
        if index == -1 {
            return self.first_from(py, Edge::Unbounded, true);
        }
        if index >= 0 {
            return self.nth(py, index as u64);
        }
        let len = self.len(py)? as i64;
        if len + index < 0 { Ok(None) } else { self.nth(py, (len + index) as u64) }
    }

    /// Keys below `key`, those equal to it included if `right`.
    fn rank(&self, py: Python<'_>, key: &[u8], right: bool) -> PyResult<u64> {
        let (mut rank, fence) = match self.walk(py, Stop::Key(key))? {
            Walk::Arrived(passed, fence) => (passed, fence),
            Walk::Underway(passed, _) | Walk::Ended(passed) => return Ok(passed),
        };
        let is_below = |other: &[u8]| if right { other <= key } else { other < key };
        let mut next = Some(Edge::Included(fence));
        while let Some(from) = next {
            let batch = self.scan(py, from, false, usize::MAX, false)?;
            let keys = (0..batch.len()).filter_map(|number| batch.item(number));
            let below = keys.take_while(|(other, _)| is_below(other)).count();
            rank += below as u64;
            let goes_on = match &batch.next {
                Some(Edge::Included(next) | Edge::Excluded(next)) => is_below(next),
                _ => false,
            };
            next = if below == batch.len() && goes_on { batch.next } else { None };
        }
        Ok(rank)
    }

    pub(super) fn pair<'py>(
        &self,
        py: Python<'py>,
        item: Option<Item>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
        let Some((key, value)) = item else { return Ok(None) };
        Ok(Some((self.decode_key(py, &key)?, self.decode(py, &value)?)))
    }

    #[cold]
    fn out_of_range(&self, index: i64) -> PyErr {
        let text = format!("B-tree {:?} has no index {index}", self.name);
        PyIndexError::new_err(text)
    }
}

type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

#[pymethods]
impl BTree {
    /// The last item whose key is not above `key`, or None.
    #[pyo3(signature = (key, /))]
    fn floor<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Pair<'py>>> {
        let edge = Edge::Included(self.map.own_key(key)?);
        self.map.pair(key.py(), self.map.first_from(key.py(), edge, true)?)
    }

    /// The first item whose key is not below `key`, or None.
    #[pyo3(signature = (key, /))]
    fn ceiling<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Pair<'py>>> {
        let edge = Edge::Included(self.map.own_key(key)?);
        self.map.pair(key.py(), self.map.first_from(key.py(), edge, false)?)
    }

    /// The last item whose key is below `key`, or None.
    #[pyo3(signature = (key, /))]
    fn lower<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Pair<'py>>> {
        let edge = Edge::Excluded(self.map.own_key(key)?);
        self.map.pair(key.py(), self.map.first_from(key.py(), edge, true)?)
    }

    /// The first item whose key is above `key`, or None.
    #[pyo3(signature = (key, /))]
    fn higher<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Pair<'py>>> {
        let edge = Edge::Excluded(self.map.own_key(key)?);
        self.map.pair(key.py(), self.map.first_from(key.py(), edge, false)?)
    }

    /// The item at an index, the last one by default. Raises IndexError.
    #[pyo3(signature = (index=-1), text_signature = "($self, index=-1)")]
    fn peekitem<'py>(&self, py: Python<'py>, index: i64) -> PyResult<Pair<'py>> {
        let item = self.map.pair(py, self.map.at_index(py, index)?)?;
        item.ok_or_else(|| self.map.out_of_range(index))
    }

    /// Removes the item at an index, the last one by default, and returns it. Raises KeyError if
    /// there is none at all, IndexError if there are fewer.
    #[pyo3(signature = (index=-1), text_signature = "($self, index=-1)")]
    fn popitem<'py>(&self, py: Python<'py>, index: i64) -> PyResult<Pair<'py>> {
        let mut record = Vec::new();
        loop {
            let Some((key, _)) = self.map.at_index(py, index)? else {
                if self.map.first_from(py, Edge::Unbounded, false)?.is_some() {
                    return Err(self.map.out_of_range(index));
                }
                let text = format!("popitem(): B-tree {:?} is empty", self.map.name);
                return Err(PyKeyError::new_err(text));
            };
            if let Some(range) = self.map.take(py, &key, &mut record)? {
                let value = self.map.decode(py, &record[range])?;
                return Ok((self.map.decode_key(py, &key)?, value));
            }
        }
    }

    /// The index at which `key` is, or would come to be.
    #[pyo3(signature = (key, /))]
    fn bisect_left(&self, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.map.rank(key.py(), &self.map.own_key(key)?, false)
    }

    /// The index behind that at which `key` is, or would come to be.
    #[pyo3(signature = (key, /))]
    fn bisect_right(&self, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        self.map.rank(key.py(), &self.map.own_key(key)?, true)
    }
}
