//! What maps of all kinds do alike: keys and values as bytes, and the operations of a dict.

pub mod atomic;
pub mod batch;
mod methods;
mod types;
mod view;

pub use types::Types;
pub use view::Pinned;

use crate::attached::{Attached, Tx};
use crate::error::Kind as Exception;
use crate::segment::{RAW, SET, Segment};
use crate::{key, reading, value};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use vasmem_engine::{Access, Error, Offset, Reading, Result};
use vasmem_structs::Keyed;

/// A map of an attached segment.
pub struct Map<S> {
    /// The segment.
    pub attached: Arc<Attached>,
    /// The structure in it.
    pub structure: S,
    /// Its name there.
    pub name: String,
    /// Whether it is from bytes to bytes, nothing encoded.
    pub raw: bool,
    /// The types of its keys and values, if it has any.
    pub types: Option<Types>,
}

thread_local! {
    /// Buffers of the running operation; taken out while in use, since decoding may call Python,
    /// which may come back here.
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// Buffers of one operation.
#[derive(Default)]
pub struct Buffers {
    /// An encoded key.
    pub key: Vec<u8>,
    /// An encoded value.
    pub value: Vec<u8>,
    /// A record.
    pub record: Vec<u8>,
}

/// Buffers that have grown above this many bytes are not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Runs `body` with buffers of this thread.
#[inline]
pub fn with_buffers<T>(body: impl FnOnce(&mut Buffers) -> PyResult<T>) -> PyResult<T> {
    BUFFERS.with(|kept| {
        let mut buffers = kept.take().unwrap_or_default();
        let result = body(&mut buffers);
        if buffers.record.len() + buffers.value.len() + buffers.key.len() <= KEPT_BYTES_MAX {
            kept.set(Some(buffers));
        }
        result
    })
}

/// Looks for a structure by name. The macro `reading!` has no result of a type parameter.
struct Open<'a, S> {
    first: Offset,
    wanted: &'a str,
    structure: PhantomData<S>,
}

impl<S: Keyed> Reading<Option<(S, u8)>> for Open<'_, S> {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<Option<(S, u8)>> {
        S::open(access, self.first, self.wanted)
    }
}

impl<S: Keyed> Map<S> {
    /// Opens the map of that name, or makes it if there is none and `create` is true.
    ///
    /// # Errors
    /// `KeyError`; `WrongType` if it is of another kind, or raw and should not be, or the reverse.
    pub fn open(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
        raw: bool,
    ) -> PyResult<Map<S>> {
        Map::open_as(py, segment, name, create, if raw { RAW } else { 0 })
    }

    /// As `open`, with these flags.
    ///
    /// # Errors
    /// `KeyError`; `WrongType` if it has others.
    pub fn open_as(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
        wants: u8,
    ) -> PyResult<Map<S>> {
        let attached = segment.get().attached.clone();
        let first = attached.engine.geometry.directory_at;
        let wanted = name.as_str();
        let open = Open { first, wanted, structure: PhantomData::<S> };
        let make =
            create.then_some(|tx: &mut Tx<'_>, id| Ok((S::create(tx, wanted, wants, id)?, wants)));
        let Some((structure, flags)) = attached.open_or_make(py, open, make)? else {
            return Err(PyKeyError::new_err(name));
        };
        if (flags ^ wants) & SET != 0 {
            return Err(attached.raise(Error::WrongKind, None));
        }
        let raw = wants & RAW != 0;
        if (flags & RAW != 0) != raw {
            let (is, option) = if raw { ("not raw", "False") } else { ("raw", "True") };
            return Err(Exception::WrongType.error(format!(
                "{} {name:?} in segment {:?} is {is}: open it with raw={option}",
                S::NOUN,
                attached.name
            )));
        }
        Ok(Map { attached, structure, name, raw, types: None })
    }

    /// The bytes of a key: its own where the map is raw, its encoding otherwise.
    ///
    /// # Errors
    /// `WrongType`.
    #[inline]
    pub fn key<'a>(&self, key: &'a Bound<'_, PyAny>, into: &'a mut Vec<u8>) -> PyResult<&'a [u8]> {
        if self.raw {
            return raw_bytes::<S>("a key", key);
        }
        into.clear();
        match &self.types {
            Some(types) => types.pack_key(key, into)?,
            None => key::encode(key, into)?,
        }
        Ok(into)
    }

    /// The object that the bytes of a key stand for.
    ///
    /// # Errors
    /// `SegmentCorrupted`.
    pub fn decode_key<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        match &self.types {
            _ if self.raw => Ok(PyBytes::new(py, bytes).into_any()),
            Some(types) => types.unpack_key(py, bytes),
            None => key::decode(py, bytes),
        }
    }

    /// The object that the bytes of a value stand for.
    ///
    /// # Errors
    /// `SegmentCorrupted`.
    #[inline]
    pub fn decode<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        match &self.types {
            _ if self.raw => Ok(PyBytes::new(py, bytes).into_any()),
            Some(types) => types.unpack_value(py, bytes),
            None => value::decode(py, bytes),
        }
    }

    /// Adds the bytes of a value of a map that is not raw.
    ///
    /// # Errors
    /// `WrongType`, `ValueError` for one that does not fit its type.
    #[inline]
    fn encode(&self, value: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
        match &self.types {
            Some(types) => types.pack_value(value, into),
            None => value::encode(value, into),
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As exceptions.
    #[inline]
    pub fn find<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        with_buffers(|buffers| {
            let Buffers { key: encoded, record, .. } = buffers;
            let key = self.key(key, encoded)?;
            let (map, mut range) = (self.structure, 0..0);
            // The range goes past the results on the way, which are slow to copy.
            let to = &mut range;
            let found = self.attached.read(
                py,
                reading!(<S: Keyed> map: S, key: &'a [u8], record: &'a mut Vec<u8>,
                to: &'a mut Range<usize>; bool;
                |access| Ok(match map.get(access, key, record)? {
                    Some(range) => {
                        **to = range;
                        true
                    }
                    None => false,
                })),
            )?;
            if found { self.decode(py, &buffers.record[range]).map(Some) } else { Ok(None) }
        })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `KeyError`.
    #[inline]
    pub fn get_item<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.find(key)? {
            Some(value) => Ok(value),
            None => Err(PyKeyError::new_err(key.clone().unbind())),
        }
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// As exceptions.
    pub fn contains(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        with_buffers(|Buffers { key: encoded, record, .. }| {
            let py = key.py();
            let key = self.key(key, encoded)?;
            let map = self.structure;
            self.attached.read(
                py,
                reading!(<S: Keyed> map: S, key: &'a [u8], record: &'a mut Vec<u8>; bool;
                    |access| map.contains(access, key, record)),
            )
        })
    }

    /// Gives a key its value.
    ///
    /// # Errors
    /// As exceptions.
    #[inline]
    pub fn set_item(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        with_buffers(|Buffers { key: encoded, value: document, record }| {
            let py = key.py();
            let key = self.key(key, encoded)?;
            let bytes = if self.raw {
                raw_bytes::<S>("a value", value)?
            } else {
                document.clear();
                self.encode(value, document)?;
                document
            };
            self.attached.write(py, |tx| self.structure.put(tx, key, bytes, record).map(|_| ()))
        })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// `KeyError`.
    #[inline]
    pub fn del_item(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let found = with_buffers(|Buffers { key: encoded, record, .. }| {
            let bytes = self.key(key, encoded)?;
            let deleted = |found: Result<Option<Range<usize>>>| found.map(|range| range.is_some());
            self.attached.write(key.py(), |tx| deleted(self.structure.delete(tx, bytes, record)))
        })?;
        if found { Ok(()) } else { Err(PyKeyError::new_err(key.clone().unbind())) }
    }

    /// Number of keys.
    ///
    /// # Errors
    /// As exceptions.
    pub fn len(&self, py: Python<'_>) -> PyResult<usize> {
        let map = self.structure;
        let len =
            self.attached.read(py, reading!(<S: Keyed> map: S; u64; |access| map.len(access)))?;
        Ok(len as usize)
    }
}

/// The bytes of an object that must be bytes.
#[inline]
fn raw_bytes<'a, S: Keyed>(what: &str, object: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(not_bytes(S::NOUN, what, object)),
    }
}

#[cold]
fn not_bytes(noun: &str, what: &str, object: &Bound<'_, PyAny>) -> PyErr {
    let kind = object.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    Exception::WrongType.error(format!(
        "{what} of a raw {noun} must be bytes, not {kind}: pass bytes(...), or open one that is \
         not raw"
    ))
}
