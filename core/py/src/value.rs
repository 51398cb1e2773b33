//! Values as one msgpack document each.
//!
//! None, bool, int of 64 bits, float, str and bytes, which are most values, are written and read
//! here, in msgpack's shortest form. Everything else goes through `vasmem/codec.py`, which adds
//! extension types; the table of them is there. `Walk` looks at such a document as a whole before
//! Python builds anything from it: the package `msgpack` reserves memory for what a header claims,
//! not for what follows it.

use pyo3::exceptions::{
    PyException, PyImportError, PyMemoryError, PyOverflowError, PyRecursionError,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt};
use pyo3::types::{PyList, PyNone, PySet, PyString, PyTuple, PyType};

use crate::error::Kind;
use crate::key;

const NIL: u8 = 0xC0;
const FALSE: u8 = 0xC2;
const TRUE: u8 = 0xC3;
const BIN8: u8 = 0xC4;
const FLOAT64: u8 = 0xCB;
const UINT8: u8 = 0xCC;
const INT8: u8 = 0xD0;
const STR8: u8 = 0xD9;

/// How deep containers may be nested, so that neither direction can exhaust the stack.
const MAX_DEPTH: usize = 256;
/// Extension type of the first item of an array that stands for something else than a list.
const MARK: u8 = 1;
/// The last extension type of `codec.py`.
const LAST_EXTENSION: u8 = 7;
const TOO_DEEP: &str = "it is nested too deep";
const TOO_SHORT: &str = "it ends too early";

/// Appends the document of `value` to `into`; after an error `into` holds a part of it.
///
/// # Errors
/// `WrongType` for an object that would not come back equal and of the same type.
#[inline]
pub fn encode(value: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        match text.to_str() {
            Ok(utf8) => put_str(utf8.as_bytes(), into),
            Err(_) => put_str(key::surrogates(text)?.as_bytes(), into),
        }
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        put_bytes(bytes.as_bytes(), into)
    } else if let Ok(int) = value.cast_exact::<PyInt>() {
        match int.extract::<i64>() {
            Ok(int) => put_int(int, into),
            Err(_) => match int.extract::<u64>() {
                Ok(int) => put_tagged(UINT8 + 3, int.to_be_bytes(), into),
                Err(_) => return put_compound(value, into),
            },
        }
        Ok(())
    } else if let Ok(float) = value.cast_exact::<PyFloat>() {
        put_tagged(FLOAT64, float.value().to_be_bytes(), into);
        Ok(())
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        into.push(if truth.is_true() { TRUE } else { FALSE });
        Ok(())
    } else if value.is_none() {
        into.push(NIL);
        Ok(())
    } else {
        put_compound(value, into)
    }
}

#[inline]
fn put_tagged<const N: usize>(tag: u8, word: [u8; N], into: &mut Vec<u8>) {
    into.push(tag);
    into.extend_from_slice(&word);
}

#[inline]
fn put_int(int: i64, into: &mut Vec<u8>) {
    match int {
        0..=0x7F => into.push(int as u8),
        0x80..=0xFF => put_tagged(UINT8, [int as u8], into),
        0x100..=0xFFFF => put_tagged(UINT8 + 1, (int as u16).to_be_bytes(), into),
        0x1_0000..=0xFFFF_FFFF => put_tagged(UINT8 + 2, (int as u32).to_be_bytes(), into),
        0x1_0000_0000.. => put_tagged(UINT8 + 3, int.to_be_bytes(), into),
        -0x20.. => into.push(int as u8),
        -0x80.. => put_tagged(INT8, [int as u8], into),
        -0x8000.. => put_tagged(INT8 + 1, (int as i16).to_be_bytes(), into),
        -0x8000_0000.. => put_tagged(INT8 + 2, (int as i32).to_be_bytes(), into),
        _ => put_tagged(INT8 + 3, int.to_be_bytes(), into),
    }
}

/// As `encode`, of an int of 64 bits.
#[inline]
pub fn encode_int(negative: bool, magnitude: u64, into: &mut Vec<u8>) {
    match i64::try_from(magnitude) {
        Err(_) if !negative => put_tagged(UINT8 + 3, magnitude.to_be_bytes(), into),
        _ if negative => put_int((magnitude as i64).wrapping_neg(), into),
        _ => put_int(magnitude as i64, into),
    }
}

#[inline]
fn put_str(bytes: &[u8], into: &mut Vec<u8>) -> PyResult<()> {
    match bytes.len() {
        size @ 0..=0x1F => {
            into.push(0xA0 | size as u8);
            into.extend_from_slice(bytes);
            Ok(())
        }
        _ => put_sized(STR8, bytes, into),
    }
}

#[inline]
fn put_bytes(bytes: &[u8], into: &mut Vec<u8>) -> PyResult<()> {
    put_sized(BIN8, bytes, into)
}

/// `tag` is the form with a length of one byte; those of two and four follow it.
#[inline]
fn put_sized(tag: u8, bytes: &[u8], into: &mut Vec<u8>) -> PyResult<()> {
    match bytes.len() {
        size @ 0..=0xFF => put_tagged(tag, [size as u8], into),
        size @ 0x100..=0xFFFF => put_tagged(tag + 1, (size as u16).to_be_bytes(), into),
        size => match u32::try_from(size) {
            Ok(size) => put_tagged(tag + 2, size.to_be_bytes(), into),
            Err(_) => {
                return Err(Kind::WrongType.error(format!(
                    "a value of {size} bytes is too large (limit {}): store it in parts",
                    u32::MAX
                )));
            }
        },
    }
    into.extend_from_slice(bytes);
    Ok(())
}

/// What is used of `vasmem/codec.py`; imported with the first value that needs it.
struct Codec {
    pack: Py<PyAny>,
    unpack_plain: Py<PyAny>,
    unpack_marked: Py<PyAny>,
    refusal: Py<PyAny>,
    lookalikes: Vec<Py<PyType>>,
}

impl Codec {
    fn get(py: Python<'_>) -> PyResult<&Codec> {
        static CODEC: PyOnceLock<Codec> = PyOnceLock::new();
        CODEC.get_or_try_init(py, || {
            let module = py.import("vasmem.codec")?;
            let function = |name| PyResult::Ok(module.getattr(name)?.unbind());
            Ok(Codec {
                pack: function("pack")?,
                unpack_plain: function("unpack_plain")?,
                unpack_marked: function("unpack_marked")?,
                refusal: function("refusal")?,
                lookalikes: module.getattr("LOOKALIKES")?.extract()?,
            })
        })
    }

    /// Refuses what the package would take for something else, and what is nested too deep.
    ///
    /// Only types are compared, no Python code runs, so nothing changes during the walk.
    fn inspect(&self, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
        let py = value.py();
        if value.is_exact_instance_of::<PyString>() || value.is_exact_instance_of::<PyInt>() {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            for (key, value) in dict.iter() {
                self.inspect(&key, depth + 1)?;
                self.inspect(&value, depth + 1)?;
            }
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            for item in list.iter() {
                self.inspect(&item, depth + 1)?;
            }
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            for item in tuple.iter_borrowed() {
                self.inspect(&item, depth + 1)?;
            }
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            for item in set.iter() {
                self.inspect(&item, depth + 1)?;
            }
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            for item in set.iter() {
                self.inspect(&item, depth + 1)?;
            }
        } else {
            let class = value.get_type();
            if self.lookalikes.iter().any(|lookalike| class.is(lookalike.bind(py))) {
                return Err(PyErr::from_value(self.refusal.bind(py).call1((value,))?));
            }
        }
        Ok(())
    }
}

#[cold]
fn too_deep() -> PyErr {
    Kind::WrongType.error(format!(
        "a value cannot be nested deeper than {MAX_DEPTH} levels, nor contain itself"
    ))
}

fn put_compound(value: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
    let py = value.py();
    let codec = Codec::get(py)?;
    codec.inspect(value, 0)?;
    let packed = codec.pack.bind(py).call1((value,)).map_err(|error| {
        match error.is_instance_of::<PyValueError>(py)
            || error.is_instance_of::<PyOverflowError>(py)
        {
            true => Kind::WrongType.caused_by(py, format!("a value is too large: {error}"), error),
            false => error,
        }
    })?;
    let document = packed.cast::<PyBytes>()?.as_bytes();
    // The package writes a container's length first, and another thread may change the container
    // while `codec.py` turns a part of it into an extension type.
    match Walk::check(document) {
        Ok(_) => into.extend_from_slice(document),
        Err(TOO_DEEP) => return Err(too_deep()),
        Err(_) => {
            return Err(PyRuntimeError::new_err("the value changed while it was encoded"));
        }
    }
    Ok(())
}

/// The value of a document.
///
/// # Errors
/// `SegmentCorrupted` for bytes that are no document of ours; `ImportError` where a value needs a
/// package that is not installed here.
pub fn decode<'py>(py: Python<'py>, document: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let Some((&tag, rest)) = document.split_first() else {
        return Err(damaged("it is empty"));
    };
    match tag {
        0..=0x7F => int(py, rest, i64::from(tag)),
        0xE0.. => int(py, rest, i64::from(tag as i8)),
        0xA0..=0xBF => str(py, rest, usize::from(tag & 0x1F)),
        STR8 => str_after(py, rest.split_first_chunk::<1>()),
        0xDA => str_after(py, rest.split_first_chunk::<2>()),
        0xDB => str_after(py, rest.split_first_chunk::<4>()),
        BIN8 => bytes_after(py, rest.split_first_chunk::<1>()),
        0xC5 => bytes_after(py, rest.split_first_chunk::<2>()),
        0xC6 => bytes_after(py, rest.split_first_chunk::<4>()),
        FLOAT64 => Ok(PyFloat::new(py, f64::from_be_bytes(word(rest)?)).into_any()),
        0xCA => Ok(PyFloat::new(py, f64::from(f32::from_be_bytes(word(rest)?))).into_any()),
        UINT8 => int(py, &[], i64::from(u8::from_be_bytes(word(rest)?))),
        0xCD => int(py, &[], i64::from(u16::from_be_bytes(word(rest)?))),
        0xCE => int(py, &[], i64::from(u32::from_be_bytes(word(rest)?))),
        0xCF => Ok(u64::from_be_bytes(word(rest)?).into_pyobject(py)?.into_any()),
        INT8 => int(py, &[], i64::from(i8::from_be_bytes(word(rest)?))),
        0xD1 => int(py, &[], i64::from(i16::from_be_bytes(word(rest)?))),
        0xD2 => int(py, &[], i64::from(i32::from_be_bytes(word(rest)?))),
        0xD3 => int(py, &[], i64::from_be_bytes(word(rest)?)),
        NIL | FALSE | TRUE if !rest.is_empty() => Err(damaged("it should have ended")),
        NIL => Ok(PyNone::get(py).to_owned().into_any()),
        FALSE | TRUE => Ok(PyBool::new(py, tag == TRUE).to_owned().into_any()),
        _ => compound(py, document),
    }
}

/// Where the content begins in a document of `document_bytes` that starts with `head` and holds a
/// bytes object; `None` for anything else.
pub fn bytes_head(head: &[u8], document_bytes: usize) -> Option<usize> {
    let (&tag, rest) = head.split_first()?;
    let size = match tag {
        BIN8 => u64::from(*rest.first()?),
        0xC5 => u64::from(u16::from_be_bytes(*rest.first_chunk()?)),
        0xC6 => u64::from(u32::from_be_bytes(*rest.first_chunk()?)),
        _ => return None,
    };
    let skip = 1 + (1 << (tag - BIN8));
    (document_bytes as u64 == skip as u64 + size).then_some(skip)
}

#[cold]
fn damaged(why: &str) -> PyErr {
    Kind::SegmentCorrupted.error(format!("the bytes of a value are damaged: {why}"))
}

fn word<const N: usize>(rest: &[u8]) -> PyResult<[u8; N]> {
    rest.try_into().map_err(|_| damaged("a number has a wrong length"))
}

#[inline]
fn int<'py>(py: Python<'py>, rest: &[u8], int: i64) -> PyResult<Bound<'py, PyAny>> {
    match rest.is_empty() {
        true => Ok(int.into_pyobject(py)?.into_any()),
        false => Err(damaged("it should have ended")),
    }
}

#[inline]
fn str<'py>(py: Python<'py>, rest: &[u8], size: usize) -> PyResult<Bound<'py, PyAny>> {
    if rest.len() != size {
        return Err(damaged("a str has a wrong length"));
    }
    match key::text(py, rest) {
        Ok(text) => Ok(text.into_any()),
        Err(_) => Err(damaged("a str is not UTF-8")),
    }
}

#[inline]
fn str_after<'py, const N: usize>(
    py: Python<'py>,
    split: Option<(&[u8; N], &[u8])>,
) -> PyResult<Bound<'py, PyAny>> {
    let (size, rest) = split.ok_or_else(|| damaged(TOO_SHORT))?;
    str(py, rest, big_endian(size))
}

#[inline]
fn bytes_after<'py, const N: usize>(
    py: Python<'py>,
    split: Option<(&[u8; N], &[u8])>,
) -> PyResult<Bound<'py, PyAny>> {
    let (size, rest) = split.ok_or_else(|| damaged(TOO_SHORT))?;
    match rest.len() == big_endian(size) {
        true => Ok(PyBytes::new(py, rest).into_any()),
        false => Err(damaged("bytes have a wrong length")),
    }
}

#[inline]
fn big_endian<const N: usize>(bytes: &[u8; N]) -> usize {
    bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

fn compound<'py>(py: Python<'py>, document: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let extended = Walk::check(document).map_err(damaged)?;
    let codec = Codec::get(py)?;
    let unpack = if extended { &codec.unpack_marked } else { &codec.unpack_plain };
    let unpacked = unpack.bind(py).call1((PyBytes::new(py, document),));
    unpacked.map_err(|error| {
        // These say something about this process, not about the bytes.
        let ours = !error.is_instance_of::<PyException>(py)
            || error.is_instance_of::<PyMemoryError>(py)
            || error.is_instance_of::<PyRecursionError>(py)
            || error.is_instance_of::<PyImportError>(py);
        match ours {
            true => error,
            false => {
                let text = format!("the bytes of a value are damaged: {error}");
                Kind::SegmentCorrupted.caused_by(py, text, error)
            }
        }
    })
}

/// A look at the structure of a document: complete, bounded in depth, only extension types of ours.
struct Walk<'a> {
    rest: &'a [u8],
    extended: bool,
}

impl Walk<'_> {
    /// Whether extension types occur, or what is wrong.
    fn check(document: &[u8]) -> Result<bool, &'static str> {
        let mut walk = Walk { rest: document, extended: false };
        walk.item(0, false)?;
        match walk.rest.is_empty() {
            true => Ok(walk.extended),
            false => Err("it should have ended"),
        }
    }

    fn skip(&mut self, size: usize) -> Result<(), &'static str> {
        self.rest = self.rest.get(size..).ok_or(TOO_SHORT)?;
        Ok(())
    }

    fn length<const N: usize>(&mut self) -> Result<usize, &'static str> {
        let (length, rest) = self.rest.split_first_chunk::<N>().ok_or(TOO_SHORT)?;
        self.rest = rest;
        Ok(big_endian(length))
    }

    /// `first`: it is the first item of an array.
    fn item(&mut self, depth: usize, first: bool) -> Result<(), &'static str> {
        let [tag] = *self.rest.first_chunk::<1>().ok_or(TOO_SHORT)?;
        self.rest = &self.rest[1..];
        let size = match tag {
            0..=0x7F | 0xE0.. | NIL | FALSE | TRUE => 0,
            0x80..=0x8F => return self.items(2 * usize::from(tag & 0xF), depth, false),
            0x90..=0x9F => return self.items(usize::from(tag & 0xF), depth, true),
            0xA0..=0xBF => usize::from(tag & 0x1F),
            0xC1 => return Err("it has an unknown tag"),
            BIN8 | STR8 => self.length::<1>()?,
            0xC5 | 0xDA => self.length::<2>()?,
            0xC6 | 0xDB => self.length::<4>()?,
            0xC7 => {
                let size = self.length::<1>()?;
                return self.extension(size, first);
            }
            0xC8 => {
                let size = self.length::<2>()?;
                return self.extension(size, first);
            }
            0xC9 => {
                let size = self.length::<4>()?;
                return self.extension(size, first);
            }
            0xCA => 4,
            FLOAT64 => 8,
            UINT8..=0xD3 => 1 << (tag & 3),
            0xD4..=0xD8 => return self.extension(1 << (tag - 0xD4), first),
            0xDC => {
                let count = self.length::<2>()?;
                return self.items(count, depth, true);
            }
            0xDD => {
                let count = self.length::<4>()?;
                return self.items(count, depth, true);
            }
            0xDE => {
                let count = self.length::<2>()?;
                return self.items(2 * count, depth, false);
            }
            0xDF => {
                let count = self.length::<4>()?;
                return self.items(2 * count, depth, false);
            }
        };
        self.skip(size)
    }

    fn items(&mut self, count: usize, depth: usize, array: bool) -> Result<(), &'static str> {
        if depth >= MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        for index in 0..count {
            self.item(depth + 1, array && index == 0)?;
        }
        Ok(())
    }

    fn extension(&mut self, size: usize, first: bool) -> Result<(), &'static str> {
        let (&code, rest) = self.rest.split_first().ok_or(TOO_SHORT)?;
        self.rest = rest;
        self.extended = true;
        match code {
            MARK if first => self.skip(size),
            MARK => Err("a mark is not the first item of an array"),
            2..=LAST_EXTENSION => self.skip(size),
            _ => Err("it has an unknown extension type (written by a newer vasmem?)"),
        }
    }
}

/// The bytes of `value` on media: one msgpack document.
#[pyfunction]
#[pyo3(signature = (value, /))]
fn encode_value<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut document = Vec::with_capacity(128);
    encode(value, &mut document)?;
    Ok(PyBytes::new(value.py(), &document))
}

/// The value of a document. Raises SegmentCorrupted if it is none of ours.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn decode_value<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, data)
}

/// Puts the public helpers into the module `_core`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(encode_value, module)?)?;
    module.add_function(wrap_pyfunction!(decode_value, module)?)
}
