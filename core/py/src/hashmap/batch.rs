//! `get_many`, `put_many`, `delete_many`: one call for many keys, whose memory is asked for ahead.

use super::HashMap;
use crate::attached::Engine;
use crate::map::with_buffers;
use crate::reading;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::ops::Range;
use vasmem_engine::{Error, Glance, Result};
use vasmem_structs::hashmap::{Foreseen, GROUP, Hash, HashMap as Map};

/// Keys between two looks at signals while the interpreter is held.
const SIGNALS_APART: usize = 1 << 10;

/// A key, its number in the batch, its hash, and where it probably is.
struct Item<'a> {
    number: usize,
    key: &'a [u8],
    hash: Hash,
    foreseen: Option<Foreseen>,
}

/// Visits all keys, in groups whose memory is asked for at a time.
#[inline(always)]
fn in_groups<'a>(
    engine: &Engine,
    map: Map,
    keys: &[&'a [u8]],
    mut each: impl FnMut(Item<'a>) -> Result<()>,
) -> Result<()> {
    let seed = engine.geometry.seed;
    let mut hashes = [Hash(0); GROUP];
    let mut number = 0;
    for group in keys.chunks(GROUP) {
        for (hash, key) in hashes.iter_mut().zip(group) {
            *hash = Hash::of(key, seed);
        }
        let places = map.foresee(&mut Glance::new(engine), &hashes[..group.len()]);
        for ((&key, &hash), foreseen) in group.iter().zip(&hashes).zip(places) {
            each(Item { number, key, hash, foreseen })?;
            number += 1;
        }
    }
    Ok(())
}

impl HashMap {
    /// The value of an item in `record`, if it is where it was foreseen.
    #[inline(always)]
    fn foreseen(&self, item: &Item<'_>, record: &mut Vec<u8>) -> Option<Range<usize>> {
        let mut glance = Glance::new(&self.map.attached.engine);
        let foreseen = item.foreseen.as_ref()?;
        let range = self.map.structure.get_foreseen(&mut glance, foreseen, item.key, record)?;
        self.map.attached.ensure_intact().is_ok().then_some(range)
    }

    fn get_list<'py>(
        &self,
        py: Python<'py>,
        keys: &[&[u8]],
        default: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        self.map.attached.ensure_open()?;
        let inside = self.map.attached.is_inside(py)?;
        let mut values = Vec::with_capacity(keys.len());
        let mut raised = None;
        with_buffers(|buffers| {
            let record = &mut buffers.record;
            let mut get = |item: Item<'_>| {
                if item.number % SIGNALS_APART == SIGNALS_APART - 1 {
                    py.check_signals()?;
                }
                let range = if inside { None } else { self.foreseen(&item, record) };
                let found = match range {
                    Some(range) => Some(range),
                    None => self.find_bytes(py, item.hash, item.key, record)?,
                };
                values.push(match found {
                    Some(range) => self.map.decode(py, &record[range])?,
                    None => default.clone(),
                });
                Ok(())
            };
            let done = in_groups(&self.map.attached.engine, self.map.structure, keys, |item| {
                get(item).map_err(|error| {
                    raised = Some(error);
                    Error::Interrupted
                })
            });
            done.map_err(|error| self.map.attached.raise(error, raised.take()))
        })?;
        Ok(values)
    }

    fn find_bytes(
        &self,
        py: Python<'_>,
        hash: Hash,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> PyResult<Option<Range<usize>>> {
        let map = self.map.structure;
        self.map.attached.read(
            py,
            reading!(map: Map, hash: Hash, key: &'a [u8], record: &'a mut Vec<u8>;
                Option<Range<usize>>; |access| map.get_hashed(access, *hash, key, record)),
        )
    }

    /// As `get_list`, while other threads run.
    fn get_array<'py>(
        &self,
        py: Python<'py>,
        keys: &[&[u8]],
        default: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let map = self.map.structure;
        let (bytes, ends) = self.map.attached.detached(py, |engine, patience| {
            let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(keys.len()));
            let mut record = Vec::new();
            in_groups(engine, map, keys, |item| {
                patience.begin()?;
                let mut found = self.foreseen(&item, &mut record);
                if found.is_none() {
                    let (Item { hash, key, .. }, record) = (item, &mut record);
                    let mut reading = reading!(
                        map: Map, hash: Hash, key: &'a [u8], record: &'a mut Vec<u8>;
                        Option<Range<usize>>; |access| map.get_hashed(access, *hash, key, record));
                    found = engine.consult(patience, &mut reading)?;
                }
                if let Some(range) = &found {
                    bytes.extend_from_slice(&record[range.clone()]);
                }
                ends.push(found.map(|_| bytes.len()));
                Ok(())
            })?;
            Ok((bytes, ends))
        })?;
        let mut from = 0;
        ends.into_iter()
            .map(|end| match end {
                Some(end) => self.map.decode(py, &bytes[std::mem::replace(&mut from, end)..end]),
                None => Ok(default.clone()),
            })
            .collect()
    }

    /// Gives each key its value, one commit a key.
    pub(super) fn put_all(&self, py: Python<'_>, keys: &[&[u8]], values: &[&[u8]]) -> PyResult<()> {
        let map = self.map.structure;
        if self.map.attached.is_inside(py)? {
            let mut record = Vec::new();
            let mut pairs = keys.iter().zip(values);
            return pairs.try_for_each(|(key, value)| {
                let record = &mut record;
                self.map.attached.write(py, |tx| map.put(tx, key, value, record).map(|_| ()))
            });
        }
        self.map.attached.detached(py, |engine, patience| {
            let mut lane = engine.lane(patience)?;
            let mut record = Vec::new();
            in_groups(engine, map, keys, |Item { number, key, hash, foreseen }| {
                patience.begin()?;
                engine.write_on(&mut lane, patience, |tx| {
                    let pair = (key, values[number]);
                    map.put_foreseen(tx, hash, foreseen.as_ref(), pair, &mut record).map(|_| ())
                })
            })
        })
    }

    /// Whether each of these keys is there.
    pub(super) fn find_all(&self, py: Python<'_>, keys: &[&[u8]]) -> PyResult<Vec<bool>> {
        let mut record = Vec::new();
        let mut found = Vec::with_capacity(keys.len());
        for (number, key) in keys.iter().enumerate() {
            if number % SIGNALS_APART == SIGNALS_APART - 1 {
                py.check_signals()?;
            }
            found.push(self.map.present(py, key, &mut record)?.is_some());
        }
        Ok(found)
    }
}

#[pymethods]
impl HashMap {
    /// The values of all keys, in their order; `default` for those that are not there.
    #[pyo3(signature = (keys, /, default=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        let values = self.map.with_keys(keys, |keys, is_array| {
            if is_array && !self.map.attached.is_inside(py)? {
                self.get_array(py, keys, &default)
            } else {
                self.get_list(py, keys, &default)
            }
        })?;
        PyList::new(py, values)
    }

    /// Gives each key its value, one commit a key.
    #[pyo3(signature = (keys, values, /))]
    fn put_many(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.map.with_keys(keys, |keys, _| {
            self.map.with_values(values, |values| {
                if keys.len() != values.len() {
                    return Err(PyValueError::new_err(format!(
                        "{} keys and {} values: put_many needs as many of one as of the other",
                        keys.len(),
                        values.len()
                    )));
                }
                self.put_all(py, keys, values)
            })
        })
    }

    /// Deletes all of these keys that are there, one commit a key; returns how many were.
    #[pyo3(signature = (keys, /))]
    pub(super) fn delete_many(&self, py: Python<'_>, keys: &Bound<'_, PyAny>) -> PyResult<usize> {
        let map = self.map.structure;
        self.map.with_keys(keys, |keys, _| {
            let mut record = Vec::new();
            let mut deleted = 0;
            if self.map.attached.is_inside(py)? {
                for key in keys {
                    let record = &mut record;
                    let found = self.map.attached.write(py, |tx| map.delete(tx, key, record))?;
                    deleted += usize::from(found.is_some());
                }
                return Ok(deleted);
            }
            self.map.attached.detached(py, |engine, patience| {
                let mut lane = engine.lane(patience)?;
                in_groups(engine, map, keys, |Item { key, hash, foreseen, .. }| {
                    patience.begin()?;
                    let found = engine.write_on(&mut lane, patience, |tx| {
                        map.delete_foreseen(tx, hash, foreseen.as_ref(), key, &mut record)
                    })?;
                    deleted += usize::from(found);
                    Ok(())
                })?;
                Ok(deleted)
            })
        })
    }
}
