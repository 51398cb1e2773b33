//! Operations that look and change as one: `add`, `setdefault`, `pop`, `incr`,
//! `compare_and_set`, `modify`.
//!
//! Those that call Python in between do not hold anything meanwhile: they read a value, make a new
//! one of it, and put that only if the value is still the one that was read, again and again until
//! nobody was in between.

use super::{Buffers, Map, raw_bytes, with_buffers};
use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::reading;
use crate::wait::Waiter;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyTuple};
use std::ops::Range;
use vasmem_engine::{Holder, Patience};
use vasmem_structs::Keyed;
use vasmem_structs::record::Expected;

impl<S: Keyed> Map<S> {
    pub fn value_bytes(&self, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        if self.raw {
            return raw_bytes::<S>("a value", value).map(<[u8]>::to_vec);
        }
        let mut document = Vec::new();
        self.encode(value, &mut document)?;
        Ok(document)
    }

    /// The present value of a key, as a range of `record`.
    pub fn present(
        &self,
        py: Python<'_>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> PyResult<Option<Range<usize>>> {
        let map = self.structure;
        self.attached.read(
            py,
            reading!(<S: Keyed> map: S, key: &'a [u8], record: &'a mut Vec<u8>;
                Option<Range<usize>>; |access| map.get(access, key, record)),
        )
    }

    pub fn put_if(
        &self,
        py: Python<'_>,
        key: &[u8],
        expected: Expected<'_>,
        bytes: &[u8],
    ) -> PyResult<bool> {
        let mut record = Vec::new();
        self.attached.write(py, |tx| self.structure.put_if(tx, key, expected, bytes, &mut record))
    }

    pub fn take(
        &self,
        py: Python<'_>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> PyResult<Option<Range<usize>>> {
        self.attached.write(py, |tx| self.structure.delete(tx, key, record))
    }

    /// Replaces the value of a key by what `renew` makes of it, and returns that; `None` from
    /// `renew` ends it without a change.
    fn renew<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        mut renew: impl FnMut(Option<Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        with_buffers(|Buffers { key: encoded, record, .. }| {
            let key = self.key(key, encoded)?;
            let mut rounds = Rounds::new(&self.attached, py);
            loop {
                let seen = self.present(py, key, record)?.map(|range| record[range].to_vec());
                let old = seen.as_deref().map(|bytes| self.decode(py, bytes)).transpose()?;
                let Some(new) = renew(old)? else { return Ok(None) };
                let bytes = self.value_bytes(&new)?;
                let expected = seen.as_deref().map_or(Expected::Absent, Expected::Value);
                if self.put_if(py, key, expected, &bytes)? {
                    // What a type has room for.
                    let typed = self.types.is_some().then(|| self.decode(py, &bytes));
                    return typed.unwrap_or(Ok(new)).map(Some);
                }
                rounds.pause()?;
            }
        })
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

impl<S: Keyed> Map<S> {
    /// Gives the key this value if it is not there yet; whether it was not.
    pub fn add(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let bytes = self.value_bytes(value)?;
        with_buffers(|buffers| {
            let encoded = self.key(key, &mut buffers.key)?;
            self.put_if(key.py(), encoded, Expected::Absent, &bytes)
        })
    }

    /// The value of the key; if it is not there, gives it `default`.
    pub fn setdefault<'py>(
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
    pub fn pop<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let default = default_of("pop", default)?;
        let py = key.py();
        let value = with_buffers(|Buffers { key: encoded, record, .. }| {
            let bytes = self.key(key, encoded)?;
            let found = self.take(py, bytes, record)?;
            found.map(|range| self.decode(py, &record[range])).transpose()
        })?;
        value.or(default).ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    /// Adds `by` to the number that is the value of the key, 0 if it is not there; the sum.
    pub fn incr<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        by: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.raw {
            return Err(Exception::WrongType.error(format!(
                "{} {:?} is raw, its values are bytes: use modify(), or one that is not raw",
                S::NOUN,
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
                "the value of key {} in {} {:?} is {}, not an int or a float: incr() cannot add \
                 to it",
                key.repr()?,
                S::NOUN,
                self.name,
                old.get_type().name()?
            ))),
        })?;
        sum.ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
    }

    /// Gives the key the value `new` if its value equals `old`; whether it did.
    pub fn compare_and_set(
        &self,
        key: &Bound<'_, PyAny>,
        old: &Bound<'_, PyAny>,
        new: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let (py, wanted, bytes) = (key.py(), self.value_bytes(old)?, self.value_bytes(new)?);
        with_buffers(|Buffers { key: encoded, record, .. }| {
            let key = self.key(key, encoded)?;
            let mut rounds = Rounds::new(&self.attached, py);
            loop {
                if self.put_if(py, key, Expected::Value(&wanted), &bytes)? {
                    return Ok(true);
                }
                let Some(range) = self.present(py, key, record)? else { return Ok(false) };
                let seen = record[range].to_vec();
                if (self.raw || self.types.is_some()) && seen != wanted {
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
    pub fn modify<'py>(
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
