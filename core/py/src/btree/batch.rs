//! Many keys in one call, while other threads run.

use super::{BTree, Tree};
use crate::reading;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::ops::Range;
use vasmem_structs::BTree as Structure;
use vasmem_structs::btree::{Pair, head_of};

/// Pairs with ascending keys; of those with the same key the last.
fn in_order<'k>(keys: &[&'k [u8]], values: &[&'k [u8]]) -> Vec<Pair<'k>> {
    let pairs = keys.iter().copied().zip(values.iter().copied());
    if keys.is_sorted_by(|one, next| one < next) {
        return pairs.collect();
    }
    // Most keys differ in their heads: few comparisons look for the keys themselves.
    let mut headed: Vec<_> = pairs.map(|pair| (head_of(pair.0), pair)).collect();
    headed.sort_by_key(|&(head, (key, _))| (head, key));
    headed.dedup_by(|later, earlier| {
        let same = later.1.0 == earlier.1.0;
        if same {
            *earlier = *later;
        }
        same
    });
    headed.into_iter().map(|(_, pair)| pair).collect()
}

impl Tree {
    /// Deletes keys, one commit a key, and tells of each whether it was there.
    pub(super) fn delete_each(
        &self,
        py: Python<'_>,
        keys: &[&[u8]],
        mut tell: impl FnMut(bool) + Send,
    ) -> PyResult<()> {
        let (tree, mut record) = (self.structure, Vec::new());
        if self.attached.is_inside(py)? {
            for key in keys {
                tell(self.take(py, key, &mut record)?.is_some());
            }
            return Ok(());
        }
        self.attached.detached(py, |engine, patience| {
            let mut lane = engine.lane(patience)?;
            for key in keys {
                patience.begin()?;
                tell(engine.write_on(&mut lane, patience, |tx| {
                    tree.delete(tx, key, &mut record).map(|range| range.is_some())
                })?);
            }
            Ok(())
        })
    }
}

#[pymethods]
impl BTree {
    /// The values of all keys, in their order; `default` for those that are not there.
    #[pyo3(signature = (keys, /, default=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        let (map, tree) = (&self.map, self.map.structure);
        let values = map.with_keys(keys, |keys, _| {
            let mut record = Vec::new();
            if map.attached.is_inside(py)? {
                let get = |key: &&[u8]| match map.present(py, key, &mut record)? {
                    Some(range) => map.decode(py, &record[range]),
                    None => Ok(default.clone()),
                };
                return keys.iter().map(get).collect();
            }
            let (bytes, ends) = map.attached.detached(py, |engine, patience| {
                let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(keys.len()));
                for &key in keys {
                    patience.begin()?;
                    let record = &mut record;
                    let mut get = reading!(tree: Structure, key: &'a [u8],
                        record: &'a mut Vec<u8>; Option<Range<usize>>;
                        |access| tree.get(access, key, record));
                    let found = engine.consult(patience, &mut get)?;
                    if let Some(range) = &found {
                        bytes.extend_from_slice(&record[range.clone()]);
                    }
                    ends.push(found.map(|_| bytes.len()));
                }
                Ok((bytes, ends))
            })?;
            let mut from = 0;
            let decode = |end: Option<usize>| match end {
                Some(end) => map.decode(py, &bytes[std::mem::replace(&mut from, end)..end]),
                None => Ok(default.clone()),
            };
            ends.into_iter().map(decode).collect::<PyResult<Vec<_>>>()
        })?;
        PyList::new(py, values)
    }

    /// Gives each key its value. What comes to stand in one leaf may be one commit.
    #[pyo3(signature = (keys, values, /))]
    fn put_many(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (map, tree) = (&self.map, self.map.structure);
        map.with_keys(keys, |keys, _| {
            map.with_values(values, |values| {
                if keys.len() != values.len() {
                    return Err(PyValueError::new_err(format!(
                        "{} keys and {} values: put_many needs as many of one as of the other",
                        keys.len(),
                        values.len()
                    )));
                }
                let pairs = in_order(keys, values);
                let (mut done, mut record) = (0, Vec::new());
                if map.attached.is_inside(py)? {
                    while done < pairs.len() {
                        let rest = &pairs[done..];
                        let record = &mut record;
                        done += map.attached.write(py, |tx| tree.put_sorted(tx, rest, record))?;
                    }
                    return Ok(());
                }
                map.attached.detached(py, |engine, patience| {
                    let mut lane = engine.lane(patience)?;
                    while done < pairs.len() {
                        patience.begin()?;
                        let rest = &pairs[done..];
                        done += engine.write_on(&mut lane, patience, |tx| {
                            tree.put_sorted(tx, rest, &mut record)
                        })?;
                    }
                    Ok(())
                })
            })
        })
    }

    /// Deletes all of these keys that are there, one commit a key; returns how many were.
    #[pyo3(signature = (keys, /))]
    fn delete_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut deleted = 0;
        let count = |there| deleted += usize::from(there);
        self.map.with_keys(keys, |keys, _| self.map.delete_each(py, keys, count))?;
        Ok(deleted)
    }

    /// Deletes every key that is there now, some leaves at a time; those that others add meanwhile
    /// may stay.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let (map, tree) = (&self.map, self.map.structure);
        let mut from = Some(Vec::new());
        if map.attached.is_inside(py)? {
            while let Some(key) = from {
                from = map.attached.write(py, |tx| tree.clear_from(tx, &key))?;
            }
            return Ok(());
        }
        map.attached.detached(py, |engine, patience| {
            let mut lane = engine.lane(patience)?;
            while let Some(key) = from.take() {
                patience.begin()?;
                from = engine.write_on(&mut lane, patience, |tx| tree.clear_from(tx, &key))?;
            }
            Ok(())
        })
    }
}
