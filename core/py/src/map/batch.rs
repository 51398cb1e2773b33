//! Keys and values of one call for many keys, as bytes.

use super::{Map, raw_bytes};
use crate::{key, value};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use vasmem_structs::Keyed;

/// Keys or values of one call, held while it runs: in a tuple of their own, which nobody else can
/// change, or as the bytes of an array.
enum Batch<'py> {
    Items(Bound<'py, PyTuple>),
    /// A numpy array: each of its elements is this many bytes, zeros at its end included.
    Fixed(Bound<'py, PyBytes>, usize, Element),
}

/// What the elements of an array are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Bytes,
    Signed,
    Unsigned,
}

/// Sign and magnitude of a little-endian int of at most 8 bytes.
fn int_of(item: &[u8], signed: bool) -> (bool, u64) {
    let negative = signed && item.last().is_some_and(|last| last & 0x80 != 0);
    let mut word = [if negative { 0xff } else { 0 }; 8];
    word[..item.len()].copy_from_slice(item);
    let value = u64::from_le_bytes(word);
    (negative, if negative { value.wrapping_neg() } else { value })
}

impl<'py> Batch<'py> {
    fn of(what: &str, items: &Bound<'py, PyAny>) -> PyResult<Batch<'py>> {
        let tuple = items.py().get_type::<PyTuple>();
        let Ok(dtype) = items.getattr("dtype") else {
            let items = tuple.call1((items,))?;
            return Ok(Batch::Items(items.cast_into::<PyTuple>()?));
        };
        if items.getattr("ndim")?.extract::<usize>()? != 1 {
            let shape = items.getattr("shape")?;
            let text = format!("{what} have the shape {shape}: give an array of one dimension");
            return Err(PyValueError::new_err(text));
        }
        let width = dtype.getattr("itemsize")?.extract()?;
        let element = match dtype.getattr("kind")?.extract::<char>()? {
            'S' if width > 0 => Element::Bytes,
            'i' => Element::Signed,
            'u' => Element::Unsigned,
            _ => {
                let items = tuple.call1((items.call_method0("tolist")?,))?;
                return Ok(Batch::Items(items.cast_into::<PyTuple>()?));
            }
        };
        let little = dtype.call_method1("newbyteorder", ("<",))?;
        let items = items.call_method1("astype", (little,))?;
        let bytes = items.call_method0("tobytes")?.cast_into::<PyBytes>()?;
        Ok(Batch::Fixed(bytes, width, element))
    }

    fn is_array(&self) -> bool {
        matches!(self, Batch::Fixed(..))
    }

    /// The bytes of each item as they are.
    fn raw<S: Keyed>(&self, what: &str) -> PyResult<Vec<&[u8]>> {
        match self {
            Batch::Items(items) => {
                items.as_slice().iter().map(|item| raw_bytes::<S>(what, item)).collect()
            }
            Batch::Fixed(bytes, width, _) => Ok(bytes.as_bytes().chunks_exact(*width).collect()),
        }
    }

    /// The encodings of all items one after the other, and where each ends.
    fn encoded(
        &self,
        encode: impl Fn(&Bound<'_, PyAny>, &mut Vec<u8>) -> PyResult<()>,
        encode_int: impl Fn(bool, u64, &mut Vec<u8>),
    ) -> PyResult<(Vec<u8>, Vec<usize>)> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let mut put = |item: &Bound<'_, PyAny>| {
            encode(item, &mut bytes)?;
            ends.push(bytes.len());
            PyResult::Ok(())
        };
        match self {
            Batch::Items(items) => items.as_slice().iter().try_for_each(put)?,
            Batch::Fixed(all, width, Element::Bytes) => {
                for item in all.as_bytes().chunks_exact(*width) {
                    put(PyBytes::new(all.py(), item).as_any())?;
                }
            }
            Batch::Fixed(all, width, element) => {
                for item in all.as_bytes().chunks_exact(*width) {
                    let (negative, magnitude) = int_of(item, *element == Element::Signed);
                    encode_int(negative, magnitude, &mut bytes);
                    ends.push(bytes.len());
                }
            }
        }
        Ok((bytes, ends))
    }
}

fn pieces<'a>(bytes: &'a [u8], ends: &[usize]) -> Vec<&'a [u8]> {
    let mut from = 0;
    let pieces = ends.iter().map(|&end| &bytes[std::mem::replace(&mut from, end)..end]);
    pieces.collect()
}

impl<S: Keyed> Map<S> {
    /// Runs `body` with the bytes of all keys.
    pub fn with_keys<'py, T>(
        &self,
        keys: &Bound<'py, PyAny>,
        body: impl FnOnce(&[&[u8]], bool) -> PyResult<T>,
    ) -> PyResult<T> {
        if let Some(types) = &self.types {
            let keys = types.pack_keys(keys)?;
            return body(&keys.chunks_exact(types.sizes().0).collect::<Vec<_>>(), true);
        }
        let batch = Batch::of("keys", keys)?;
        if self.raw {
            return body(&batch.raw::<S>("a key")?, batch.is_array());
        }
        let (bytes, ends) = batch.encoded(key::encode, key::encode_int)?;
        body(&pieces(&bytes, &ends), batch.is_array())
    }

    pub fn with_values<'py, T>(
        &self,
        values: &Bound<'py, PyAny>,
        body: impl FnOnce(&[&[u8]]) -> PyResult<T>,
    ) -> PyResult<T> {
        if let Some(types) = &self.types {
            let values = types.pack_values(values)?;
            return body(&values.as_bytes().chunks_exact(types.sizes().1).collect::<Vec<_>>());
        }
        let batch = Batch::of("values", values)?;
        if self.raw {
            return body(&batch.raw::<S>("a value")?);
        }
        let (bytes, ends) = batch.encoded(value::encode, value::encode_int)?;
        body(&pieces(&bytes, &ends))
    }
}
