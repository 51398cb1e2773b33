//! Operations that look and change as one: `add`, `setdefault`, `pop`, `popitem`, `incr`,
//! `compare_and_set`, `modify`.
//!
//! Those that call Python in between do not hold anything meanwhile: they read a value, make a new
//! one of it, and put that only if the value is still the one that was read, again and again until
//! nobody was in between.

use super::{Buffers, HashMap, raw_bytes};
use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::wait::Waiter;
use crate::{key, reading, value};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyTuple};
use std::ops::Range;
use std::sync::Mutex;
use vasmem_engine::{Holder, Patience};
use vasmem_structs::hashmap::{Cursor, HashMap as Map};
use vasmem_structs::record::Expected;

/// Keys that `popitem` has seen and not tried yet, and where it goes on looking.
#[derive(Default)]
pub(super) struct Popping(Mutex<(Cursor, Vec<Vec<u8>>)>);

impl HashMap {
    fn value_bytes(&self, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        if self.raw {
            return raw_bytes("a value", value).map(<[u8]>::to_vec);
        }
        let mut document = Vec::new();
        value::encode(value, &mut document)?;
        Ok(document)
    }

    /// The present value of a key, as a range of `record`.
    fn present(
        &self,
        py: Python<'_>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> PyResult<Option<Range<usize>>> {
        let map = self.map;
        self.attached.read(
            py,
            reading!(map: Map, key: &'a [u8], record: &'a mut Vec<u8>; Option<Range<usize>>;
                |access| map.get(access, key, record)),
        )
    }

    fn put_if(
        &self,
        py: Python<'_>,
        key: &[u8],
        expected: Expected<'_>,
        bytes: &[u8],
    ) -> PyResult<bool> {
        let mut record = Vec::new();
        self.attached.write(py, |tx| self.map.put_if(tx, key, expected, bytes, &mut record))
    }

    fn take(
        &self,
        py: Python<'_>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> PyResult<Option<Range<usize>>> {
        self.attached.write(py, |tx| self.map.delete(tx, key, record))
    }

    /// Replaces the value of a key by what `renew` makes of it, and returns that; `None` from
    /// `renew` ends it without a change.
    fn renew<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        mut renew: impl FnMut(Option<Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        Self::with_buffers(|Buffers { key: encoded, record, .. }| {
            let key = self.key(key, encoded)?;
            let mut rounds = Rounds::new(&self.attached, py);
            loop {
                let seen = self.present(py, key, record)?.map(|range| record[range].to_vec());
                let old = seen.as_deref().map(|bytes| self.decode(py, bytes)).transpose()?;
                let Some(new) = renew(old)? else { return Ok(None) };
                let bytes = self.value_bytes(&new)?;
                let expected = seen.as_deref().map_or(Expected::Absent, Expected::Value);
                if self.put_if(py, key, expected, &bytes)? {
                    return Ok(Some(new));
                }
                rounds.pause()?;
            }
        })
    }

    /// A key from somewhere in the map, with its value, taken out.
    fn pop_any(&self, py: Python<'_>) -> PyResult<Option<(Vec<u8>, Vec<u8>)>> {
        let lock = || self.popping.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut cursor, mut keys) = std::mem::take(&mut *lock());
        let mut record = Vec::new();
        let mut wrapped = false;
        loop {
            while let Some(key) = keys.pop() {
                if let Some(range) = self.take(py, &key, &mut record)? {
                    *lock() = (cursor, keys);
                    return Ok(Some((key, record[range].to_vec())));
                }
            }
            if cursor.is_done() {
                if wrapped {
                    return Ok(None);
                }
                (cursor, wrapped) = (Cursor::default(), true);
            }
            let map = self.map;
            let (items, next) = self.attached.read(
                py,
                reading!(map: Map, cursor: Cursor; (Vec<(Vec<u8>, Vec<u8>)>, Cursor);
                    |access| map.scan(access, *cursor, false)),
            )?;
            keys.extend(items.into_iter().map(|(key, _)| key));
            cursor = next;
        }
    }
}

/// Attempts of one operation, which wait a little longer each time that somebody was faster.
struct Rounds<'a, 'py> {
    attached: &'a Attached,
    waiter: Waiter<'py>,
    round: u32,
}

impl<'a, 'py> Rounds<'a, 'py> {
    fn new(attached: &'a Attached, py: Python<'py>) -> Self {
        Rounds { attached, waiter: Waiter::new(py, attached.timeout_s()), round: 0 }
    }

    fn pause(&mut self) -> PyResult<()> {
        let paused = self.waiter.pause(self.round, Holder::Conflicts);
        self.round += 1;
        match paused {
            Ok(_) => Ok(()),
            Err(error) => Err(self.attached.raise(error, self.waiter.raised.take())),
        }
    }
}

fn is_number(object: &Bound<'_, PyAny>) -> bool {
    (object.is_instance_of::<PyInt>() || object.is_instance_of::<PyFloat>())
        && !object.is_instance_of::<PyBool>()
}

/// `old == new` as Python says; arrays, whose comparison is no truth value, were compared by their
/// bytes before.
fn equal(old: &Bound<'_, PyAny>, expected: &Bound<'_, PyAny>) -> PyResult<bool> {
    match old.eq(expected) {
        Err(error) if error.is_instance_of::<PyValueError>(old.py()) => Ok(false),
        done => done,
    }
}

/// The one optional argument of a method that tells "no default" from `None`.
fn default_of<'py>(name: &str, rest: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match rest.len() {
        0 => Ok(None),
        1 => rest.get_item(0).map(Some),
        more => Err(PyTypeError::new_err(format!(
            "{name}() takes at most one default, {more} were given"
        ))),
    }
}

#[pymethods]
impl HashMap {
    /// Gives the key this value if it is not there yet; whether it was not.
    #[pyo3(signature = (key, value, /))]
    fn add(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let bytes = self.value_bytes(value)?;
        Self::with_buffers(|buffers| {
            let encoded = self.key(key, &mut buffers.key)?;
            self.put_if(key.py(), encoded, Expected::Absent, &bytes)
        })
    }

    /// The value of the key; if it is not there, gives it `default`.
    #[pyo3(signature = (key, default=None, /))]
    fn setdefault<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        loop {
            if let Some(value) = self.find(key)? {
                return Ok(value);
            }
            if self.add(key, &default)? {
                return Ok(default);
            }
        }
    }

    /// Removes the key and returns the value that it had.
    #[pyo3(signature = (key, /, *default))]
    fn pop<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let default = default_of("pop", default)?;
        let py = key.py();
        let value = Self::with_buffers(|Buffers { key: encoded, record, .. }| {
            let bytes = self.key(key, encoded)?;
            let found = self.take(py, bytes, record)?;
            found.map(|range| self.decode(py, &record[range])).transpose()
        })?;
        value.or(default).ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    /// Removes any one item and returns it.
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let Some((key, value)) = self.pop_any(py)? else {
            let text = format!("popitem(): hash map {:?} is empty", self.name);
            return Err(PyKeyError::new_err(text));
        };
        let key = if self.raw { self.decode(py, &key)? } else { key::decode(py, &key)? };
        Ok((key, self.decode(py, &value)?))
    }

    /// Adds `by` to the number that is the value of the key, 0 if it is not there; the sum.
    #[pyo3(signature = (key, by=None, /))]
    fn incr<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        by: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.raw {
            return Err(Exception::WrongType.error(format!(
                "hash map {:?} is raw, its values are bytes: use modify(), or one that is not raw",
                self.name
            )));
        }
        let by = by.unwrap_or_else(|| PyInt::new(py, 1).into_any());
        if !is_number(&by) {
            let text = format!("incr() adds an int or a float, not {}", by.get_type().name()?);
            return Err(Exception::WrongType.error(text));
        }
        let sum = self.renew(key, |old| match old {
            None => Ok(Some(by.clone())),
            Some(old) if is_number(&old) => old.add(&by).map(Some),
            Some(old) => Err(Exception::WrongType.error(format!(
                "the value of key {} in hash map {:?} is {}, not an int or a float: incr() cannot \
                 add to it",
                key.repr()?,
                self.name,
                old.get_type().name()?
            ))),
        })?;
        sum.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    /// Gives the key the value `new` if its value equals `old`; whether it did.
    #[pyo3(signature = (key, old, new, /))]
    fn compare_and_set(
        &self,
        key: &Bound<'_, PyAny>,
        old: &Bound<'_, PyAny>,
        new: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let (py, wanted, bytes) = (key.py(), self.value_bytes(old)?, self.value_bytes(new)?);
        Self::with_buffers(|Buffers { key: encoded, record, .. }| {
            let key = self.key(key, encoded)?;
            let mut rounds = Rounds::new(&self.attached, py);
            loop {
                if self.put_if(py, key, Expected::Value(&wanted), &bytes)? {
                    return Ok(true);
                }
                let Some(range) = self.present(py, key, record)? else { return Ok(false) };
                let seen = record[range].to_vec();
                if self.raw && seen != wanted {
                    return Ok(false);
                }
                // Equal, but of other bytes: 1 and 1.0, dicts in another order.
                if seen != wanted {
                    if !equal(&self.decode(py, &seen)?, old)? {
                        return Ok(false);
                    }
                    if self.put_if(py, key, Expected::Value(&seen), &bytes)? {
                        return Ok(true);
                    }
                }
                rounds.pause()?;
            }
        })
    }

    /// Gives the key the value `fn(value)`, and returns that.
    #[pyo3(signature = (key, function, /, *default))]
    fn modify<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        function: &Bound<'py, PyAny>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let default = default_of("modify", default)?;
        let new = self.renew(key, |old| match old.or_else(|| default.clone()) {
            Some(old) => function.call1((old,)).map(Some),
            None => Ok(None),
        })?;
        new.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }
}
