//! `_core.TypedMap`: keys and values of fixed sizes, as bytes; many of them stand one after the
//! other. What they mean is told by a description that Python makes and reads.

use crate::attached::{Attached, Engine, Tx};
use crate::error::Kind as Exception;
use crate::reading;
use crate::segment::Segment;
use crate::wait::Detached;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use std::sync::Arc;
use vasmem_engine::{Glance, Result};
use vasmem_structs::hashmap::{Cursor, Hash};
use vasmem_structs::record::Expected;
use vasmem_structs::typed::{ENTRY_BYTES_MAX, Form, GROUP, KEY_BYTES_MAX, Piece, Put};
use vasmem_structs::typed::{TypedMap as Map, words};

/// A typed hash map of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct TypedMap {
    attached: Arc<Attached>,
    map: Map,
    #[pyo3(get)]
    name: String,
}

impl TypedMap {
    fn key(&self, key: &Bound<'_, PyBytes>) -> PyResult<(Hash, Vec<u64>)> {
        self.ensure("a key", key.as_bytes().len(), self.map.form.key_bytes as usize)?;
        let hash = Hash::of(key.as_bytes(), self.attached.engine.geometry.seed);
        Ok((hash, words(key.as_bytes()).collect()))
    }

    fn ensure(&self, what: &str, bytes: usize, wanted: usize) -> PyResult<()> {
        if bytes == wanted {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "{what} of typed hash map {:?} has {bytes} bytes instead of {wanted}",
            self.name
        )))
    }

    /// How many keys these bytes are.
    fn count(&self, keys: &Bound<'_, PyBytes>) -> PyResult<usize> {
        let (bytes, width) = (keys.as_bytes().len(), self.map.form.key_bytes as usize);
        self.ensure("a batch of keys", bytes, bytes / width * width)?;
        Ok(bytes / width)
    }

    fn empty_value(&self) -> Vec<u8> {
        vec![0; self.map.form.value_bytes as usize]
    }

    fn find(&self, py: Python<'_>, hash: Hash, key: &[u64], value: &mut [u8]) -> PyResult<bool> {
        let map = self.map;
        self.attached.read(
            py,
            reading!(map: Map, hash: Hash, key: &'a [u64], value: &'a mut [u8]; bool;
                |access| map.get(access, *hash, key, value)),
        )
    }

    /// Looks up all keys; other threads run unless it is in a transaction.
    fn fill(
        &self,
        py: Python<'_>,
        keys: &[u8],
        values: &mut [u8],
        found: &mut [u8],
    ) -> PyResult<()> {
        let map = self.map;
        if !self.attached.is_inside(py)? {
            return self.attached.detached(py, |engine, patience| {
                get_all(engine, patience, map, keys, (values, found))
            });
        }
        let (width, seed) = (map.form.value_bytes as usize, self.attached.engine.geometry.seed);
        for (i, key) in keys.chunks_exact(map.form.key_bytes as usize).enumerate() {
            let words: Vec<u64> = words(key).collect();
            let value = &mut values[i * width..][..width];
            found[i] = self.find(py, Hash::of(key, seed), &words, value)?.into();
        }
        Ok(())
    }

    fn put_as(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyBytes>,
        value: &Bound<'_, PyBytes>,
        expected: Option<Expected<'_>>,
    ) -> PyResult<Put> {
        self.ensure("a key", key.as_bytes().len(), self.map.form.key_bytes as usize)?;
        self.ensure("a value", value.as_bytes().len(), self.map.form.value_bytes as usize)?;
        let (key, value) = (key.as_bytes(), value.as_bytes());
        self.attached.write(py, |tx| self.map.put(tx, key, value, expected))
    }
}

/// Looks up all keys, in groups whose memory is asked for at a time.
fn get_all(
    engine: &Engine,
    patience: &mut Detached,
    map: Map,
    keys: &[u8],
    (values, found): (&mut [u8], &mut [u8]),
) -> Result<()> {
    let form = map.form;
    let (key_bytes, value_bytes) = (form.key_bytes as usize, form.value_bytes as usize);
    let key_words = form.key_words() as usize;
    let mut hashes = [Hash(0); GROUP];
    let mut group_words = Vec::with_capacity(GROUP * key_words);
    for (number, group) in keys.chunks(GROUP * key_bytes).enumerate() {
        group_words.clear();
        let count = group.len() / key_bytes;
        for (hash, key) in hashes.iter_mut().zip(group.chunks_exact(key_bytes)) {
            *hash = Hash::of(key, engine.geometry.seed);
            group_words.extend(words(key));
        }
        let tables = map.ask(&mut Glance::new(engine), &hashes[..count]);
        patience.begin()?;
        for (i, (&hash, table)) in hashes[..count].iter().zip(&tables).enumerate() {
            let place = number * GROUP + i;
            let key = &group_words[i * key_words..][..key_words];
            let value = &mut values[place * value_bytes..][..value_bytes];
            let glance = &mut Glance::new(engine);
            let seen = table.as_ref().map(|table| map.get_asked(glance, table, hash, key, value));
            found[place] = match seen {
                Some(Ok(there)) => there.into(),
                _ => {
                    let mut reading = reading!(map: Map, hash: Hash, key: &'a [u64],
                        value: &'a mut [u8]; bool; |access| map.get(access, *hash, key, value));
                    engine.consult(patience, &mut reading)?.into()
                }
            };
            if found[place] == 0 {
                values[place * value_bytes..][..value_bytes].fill(0);
            }
        }
    }
    Ok(())
}

#[pymethods]
impl TypedMap {
    /// Opens the map of that name. `made_with`, sizes of key and value in bytes and the
    /// description, makes it if there is none.
    #[new]
    #[pyo3(signature = (segment, name, made_with))]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        made_with: Option<(u64, u64, Vec<u8>)>,
    ) -> PyResult<TypedMap> {
        let attached = segment.get().attached.clone();
        let first = attached.engine.geometry.directory_at;
        let wanted = name.as_str();
        let open = reading!(wanted: &'a str, first: u64; Option<Map>;
            |access| Map::open(access, *first, wanted));
        let possible = made_with.as_ref().and_then(|(key_bytes, value_bytes, description)| {
            Form::new(*key_bytes, *value_bytes).map(|form| (form, description))
        });
        let make = possible.map(|(form, description)| {
            move |tx: &mut Tx<'_>, id| Map::create(tx, wanted, form, description, id)
        });
        match (attached.open_or_make(py, open, make)?, made_with) {
            (Some(map), _) => Ok(TypedMap { attached, map, name }),
            (None, Some((key_bytes, value_bytes, _))) => Err(Exception::WrongType.error(format!(
                "keys of {key_bytes} and values of {value_bytes} bytes do not fit into a \
                     typed hash map: keys have 1 to {KEY_BYTES_MAX} bytes, both together at most \
                     {ENTRY_BYTES_MAX}; use one that is not typed, or an array for the values"
            ))),
            (None, None) => Err(PyKeyError::new_err(name)),
        }
    }

    /// Bytes of a key.
    #[getter]
    fn key_bytes(&self) -> u64 {
        self.map.form.key_bytes
    }

    /// Bytes of a value.
    #[getter]
    fn value_bytes(&self) -> u64 {
        self.map.form.value_bytes
    }

    /// The description that it was made with.
    #[getter]
    fn description<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let map = self.map;
        let bytes = self
            .attached
            .read(py, reading!(map: Map; Vec<u8>; |access| map.description(access)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let map = self.map;
        let len = self.attached.read(py, reading!(map: Map; u64; |access| map.len(access)))?;
        Ok(len as usize)
    }

    /// The value of a key.
    fn get_bytes<'py>(&self, key: &Bound<'py, PyBytes>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = key.py();
        let (hash, words) = self.key(key)?;
        let mut value = self.empty_value();
        let there = self.find(py, hash, &words, &mut value)?;
        Ok(there.then(|| PyBytes::new(py, &value)))
    }

    /// Gives a key its value.
    fn put_bytes(&self, key: &Bound<'_, PyBytes>, value: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.put_as(key.py(), key, value, None).map(|_| ())
    }

    /// As `put_bytes`, if the value is `expected`, or the key not there for None; whether it was.
    fn put_if(
        &self,
        key: &Bound<'_, PyBytes>,
        expected: Option<&Bound<'_, PyBytes>>,
        value: &Bound<'_, PyBytes>,
    ) -> PyResult<bool> {
        let expected = match expected {
            Some(old) => Expected::Value(old.as_bytes()),
            None => Expected::Absent,
        };
        Ok(self.put_as(key.py(), key, value, Some(expected))? != Put::Refused)
    }

    /// Removes a key; the value that it had.
    fn delete_bytes<'py>(
        &self,
        key: &Bound<'py, PyBytes>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = key.py();
        self.ensure("a key", key.as_bytes().len(), self.map.form.key_bytes as usize)?;
        let mut value = self.empty_value();
        let bytes = key.as_bytes();
        let there = self.attached.write(py, |tx| self.map.delete(tx, bytes, &mut value))?;
        Ok(there.then(|| PyBytes::new(py, &value)))
    }

    /// Keys and values of the table at a position (0 at first), and the next position.
    fn scan<'py>(
        &self,
        py: Python<'py>,
        position: u64,
    ) -> PyResult<(Bound<'py, PyByteArray>, Bound<'py, PyByteArray>, Option<u64>)> {
        let (map, cursor) = (self.map, Cursor::numbered(position));
        if cursor.is_done() {
            return Err(PyValueError::new_err(format!("{position} is no position of a scan")));
        }
        let (keys, values, next) = self.attached.read(
            py,
            reading!(map: Map, cursor: Cursor; Piece; |access| map.scan(access, *cursor)),
        )?;
        let next = (!next.is_done()).then(|| next.number());
        Ok((PyByteArray::new(py, &keys), PyByteArray::new(py, &values), next))
    }

    /// The values of all keys, one after the other, and a byte for each: 1 if it is there.
    fn get_all<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyBytes>,
    ) -> PyResult<(Bound<'py, PyByteArray>, Bound<'py, PyByteArray>)> {
        let count = self.count(keys)?;
        let value_bytes = self.map.form.value_bytes as usize;
        // Each is filled where it stays: pages that are new in each call cost as much as lookups.
        let mut values = None;
        let found = PyByteArray::new_with(py, count, |found| {
            let filled = PyByteArray::new_with(py, count * value_bytes, |values| {
                self.fill(py, keys.as_bytes(), values, found)
            });
            values = Some(filled?);
            Ok(())
        })?;
        let values = values.unwrap_or_else(|| PyByteArray::new(py, b""));
        Ok((values, found))
    }

    /// Gives each key its value, one commit a key.
    fn put_all(
        &self,
        py: Python<'_>,
        keys: &Bound<'_, PyBytes>,
        values: &Bound<'_, PyBytes>,
    ) -> PyResult<()> {
        let (map, count, width) = (self.map, self.count(keys)?, self.map.form.value_bytes as usize);
        self.ensure("a batch of values", values.as_bytes().len(), count * width)?;
        let (keys, values) = (keys.as_bytes(), values.as_bytes());
        let keys = keys.chunks_exact(map.form.key_bytes as usize);
        let mut pairs = keys.enumerate().map(|(i, key)| (key, &values[i * width..][..width]));
        if self.attached.is_inside(py)? {
            return pairs.try_for_each(|(key, value)| {
                self.attached.write(py, |tx| map.put(tx, key, value, None)).map(|_| ())
            });
        }
        self.attached.detached(py, |engine, patience| {
            let mut lane = engine.lane(patience)?;
            pairs.try_for_each(|(key, value)| {
                patience.begin()?;
                engine.write_on(&mut lane, patience, |tx| map.put(tx, key, value, None))?;
                Ok(())
            })
        })
    }

    /// Deletes all of these keys, one commit a key; a byte for each: 1 if it was there.
    fn delete_all<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyBytes>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let (map, count) = (self.map, self.count(keys)?);
        let keys = keys.as_bytes().chunks_exact(map.form.key_bytes as usize);
        let (mut value, mut found) = (self.empty_value(), Vec::with_capacity(count));
        if self.attached.is_inside(py)? {
            for key in keys {
                let there = self.attached.write(py, |tx| map.delete(tx, key, &mut value))?;
                found.push(there.into());
            }
        } else {
            self.attached.detached(py, |engine, patience| {
                let mut lane = engine.lane(patience)?;
                for key in keys {
                    patience.begin()?;
                    let there = engine
                        .write_on(&mut lane, patience, |tx| map.delete(tx, key, &mut value))?;
                    found.push(there.into());
                }
                Ok(())
            })?;
        }
        Ok(PyByteArray::new(py, &found))
    }
}
