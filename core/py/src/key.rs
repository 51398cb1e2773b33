//! Keys as bytes whose `memcmp` order is the order of the Python objects.
//!
//! ```text
//! key     = None | number | str | bytes | tuple                    in this order
//! None    = 08
//! number  = 10                          -inf
//!         | 11 ~size ~magnitude         int < -(2^64 - 1)
//!         | 12..19 ~magnitude           negative int of 8..1 bytes  (tag = 1A - bytes)
//!         | 1A                          0
//!         | 1B..22 magnitude            positive int of 1..8 bytes  (tag = 1A + bytes)
//!         | 23 size magnitude           int > 2^64 - 1
//!         | 24                          inf
//!         | int FF fraction             a float that is no integer; int is its floor
//! str     = 40 UTF-8                    surrogates as three bytes each ("surrogatepass")
//! bytes   = 48 bytes
//! tuple   = 50 item*
//! size    = 09..FE                      bytes of magnitude
//!         | FF u32                      from FF bytes on
//! ```
//!
//! Words are big-endian, a magnitude has no leading zero byte, `~` inverts every bit. Inside a
//! tuple, str and bytes have 00 written as 00 FF and end in 00, and a tuple ends in 00; the
//! outermost key ends where its bytes end. No tag is 00 or FF, therefore:
//!
//! - of two tuples, one the beginning of the other, the shorter sorts first;
//! - the FF of a fraction is above whatever else can follow its floor: `5 < 5.5 < 6`, in tuples
//!   too. Apart from that no item is the beginning of another one.
//!
//! `fraction` is a big-endian IEEE double in (0, 1): what a positive float has above its floor; for
//! a negative one what it has below its ceiling, inverted. Both are exact, where the distance of
//! `-5e-324` to its floor is not. Every key has one encoding and decoding accepts no other, so keys
//! are equal exactly when their bytes are. Numbers that compare equal are one key; one with an
//! integral value comes back as int.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyNone, PyString, PyTuple};

use crate::error::Kind;

const NONE: u8 = 0x08;
const MINUS_INFINITY: u8 = 0x10;
const BIG_NEGATIVE: u8 = 0x11;
const ZERO: u8 = 0x1A;
const BIG_POSITIVE: u8 = 0x23;
const INFINITY: u8 = 0x24;
const STR: u8 = 0x40;
const BYTES: u8 = 0x48;
const TUPLE: u8 = 0x50;

const END: u8 = 0x00;
const ESCAPED: u8 = 0xFF;
const FRACTION: u8 = 0xFF;
const LONG_SIZE: u8 = 0xFF;

/// How deep tuples may be nested, so that neither direction can exhaust the stack.
const MAX_DEPTH: usize = 64;
/// First integer that needs more than eight bytes, as a float.
const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;

/// Appends the encoding of `key` to `into`; after an error `into` holds a part of it.
///
/// # Errors
/// `WrongType` for an object that cannot be a key, NaN included.
#[inline]
pub fn encode(key: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
    put(key, into, 0)
}

/// As `encode`, of an int of 64 bits.
#[inline]
pub fn encode_int(negative: bool, magnitude: u64, into: &mut Vec<u8>) {
    put_word(negative, magnitude, into);
}

/// `depth` is the number of tuples around `key`.
fn put(key: &Bound<'_, PyAny>, into: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    if let Ok(text) = key.cast::<PyString>() {
        into.push(STR);
        match text.to_str() {
            Ok(utf8) => put_text(utf8.as_bytes(), into, depth),
            Err(_) => put_text(surrogates(text)?.as_bytes(), into, depth),
        }
    } else if let Ok(int) = key.cast::<PyInt>() {
        if !put_small_int(key, into) {
            return put_big_int(int, into);
        }
    } else if let Ok(bytes) = key.cast::<PyBytes>() {
        into.push(BYTES);
        put_text(bytes.as_bytes(), into, depth);
    } else if let Ok(tuple) = key.cast::<PyTuple>() {
        return put_tuple(tuple, into, depth);
    } else if let Ok(float) = key.cast::<PyFloat>() {
        return put_float(float.value(), into);
    } else if key.is_none() {
        into.push(NONE);
    } else {
        return put_numpy(key, into);
    }
    Ok(())
}

#[inline]
fn put_text(bytes: &[u8], into: &mut Vec<u8>, depth: usize) {
    if depth == 0 {
        into.extend_from_slice(bytes);
        return;
    }
    let mut pieces = bytes.split(|&byte| byte == END);
    into.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        into.extend_from_slice(&[END, ESCAPED]);
        into.extend_from_slice(piece);
    }
    into.push(END);
}

/// The bytes of a str that is not valid UTF-8 because it contains surrogates.
pub fn surrogates<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    let encode = text.py().get_type::<PyString>().getattr("encode")?;
    Ok(encode.call1((text, "utf-8", "surrogatepass"))?.cast_into::<PyBytes>()?)
}

fn put_tuple(tuple: &Bound<'_, PyTuple>, into: &mut Vec<u8>, depth: usize) -> PyResult<()> {
    if depth >= MAX_DEPTH {
        return Err(Kind::WrongType.error(format!(
            "a key cannot have tuples nested deeper than {MAX_DEPTH} levels: use a flatter tuple"
        )));
    }
    into.push(TUPLE);
    for item in tuple.iter_borrowed() {
        put(&item, into, depth + 1)?;
    }
    if depth > 0 {
        into.push(END);
    }
    Ok(())
}

/// Puts an int of 64 bits; says no to any other object.
#[inline]
fn put_small_int(int: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> bool {
    if let Ok(word) = int.extract::<i64>() {
        put_word(word < 0, word.unsigned_abs(), into);
        return true;
    }
    int.extract::<u64>().map(|word| put_word(false, word, into)).is_ok()
}

#[inline]
fn put_word(negative: bool, magnitude: u64, into: &mut Vec<u8>) {
    if magnitude == 0 {
        into.push(ZERO);
        return;
    }
    let size = 8 - magnitude.leading_zeros() / 8;
    let (tag, word) = match negative {
        true => (ZERO - size as u8, !magnitude),
        false => (ZERO + size as u8, magnitude),
    };
    let mut item = [tag; 9];
    item[1..].copy_from_slice(&(word << (64 - 8 * size)).to_be_bytes());
    // A copy of constant length that is then cut is faster than one of the length needed.
    into.extend_from_slice(&item);
    into.truncate(into.len() - (8 - size as usize));
}

/// `magnitude` is what is left when trailing zero bytes, `zeros` of them, are taken away.
fn put_big(negative: bool, magnitude: &[u8], zeros: usize, into: &mut Vec<u8>) -> PyResult<()> {
    let size = magnitude.len() + zeros;
    let Ok(long_size) = u32::try_from(size) else {
        let text = format!("an int of {size} bytes cannot be a key: the limit is {}", u32::MAX);
        return Err(Kind::WrongType.error(text));
    };
    into.push(if negative { BIG_NEGATIVE } else { BIG_POSITIVE });
    let start = into.len();
    if size < LONG_SIZE as usize {
        into.push(size as u8);
    } else {
        into.push(LONG_SIZE);
        into.extend_from_slice(&long_size.to_be_bytes());
    }
    into.extend_from_slice(magnitude);
    into.resize(into.len() + zeros, 0);
    if negative {
        into[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

#[cold]
fn put_big_int(int: &Bound<'_, PyInt>, into: &mut Vec<u8>) -> PyResult<()> {
    // Methods of int itself: a subclass may have its own.
    let class = int.py().get_type::<PyInt>();
    let negative = class.call_method1("__lt__", (int, 0))?.is_truthy()?;
    let magnitude = class.call_method1("__abs__", (int,))?;
    let bits: usize = magnitude.call_method0("bit_length")?.extract()?;
    let bytes = magnitude.call_method1("to_bytes", (bits.div_ceil(8), "big"))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    match bytes.try_into() {
        Ok(word) => put_word(negative, u64::from_be_bytes(word), into),
        Err(_) => put_big(negative, bytes, 0, into)?,
    }
    Ok(())
}

fn put_float(value: f64, into: &mut Vec<u8>) -> PyResult<()> {
    if value.is_nan() {
        return Err(Kind::WrongType.error(
            "NaN cannot be a key: it equals nothing, so it could not be found again; use None",
        ));
    }
    let size = value.abs();
    if size.is_infinite() {
        into.push(if value < 0.0 { MINUS_INFINITY } else { INFINITY });
    } else if size < TWO_TO_64 {
        let (floor, fraction) = (value.floor(), size.fract());
        put_word(floor < 0.0, floor.abs() as u64, into);
        if fraction != 0.0 {
            into.push(FRACTION);
            let bits = fraction.to_bits();
            into.extend_from_slice(&if value < 0.0 { !bits } else { bits }.to_be_bytes());
        }
    } else {
        // 2^64 and more: 53 bits of significand, shifted left by 12 and more.
        let significand = (value.to_bits() & ((1 << 52) - 1)) | (1 << 52);
        let shift = ((value.to_bits() >> 52) & 0x7FF) as usize - 1075;
        let head = (significand << (shift % 8)).to_be_bytes();
        let leading = (significand << (shift % 8)).leading_zeros() as usize / 8;
        put_big(value < 0.0, &head[leading..], shift / 8, into)?;
    }
    Ok(())
}

/// The scalar classes of numpy that are numbers and not subclasses of Python's.
struct Numpy {
    bool_: Py<PyAny>,
    integer: Py<PyAny>,
    floating: Py<PyAny>,
    timedelta64: Py<PyAny>,
}

/// numpy, if anyone has imported it: otherwise no object can be of its classes.
fn numpy(py: Python<'_>) -> Option<&Numpy> {
    static FOUND: PyOnceLock<Numpy> = PyOnceLock::new();
    if let Some(found) = FOUND.get(py) {
        return Some(found);
    }
    let module = py.import("sys").ok()?.getattr("modules").ok()?.get_item("numpy").ok()?;
    let class = |name| Some(module.getattr(name).ok()?.unbind());
    let found = Numpy {
        bool_: class("bool_")?,
        integer: class("integer")?,
        floating: class("floating")?,
        timedelta64: class("timedelta64")?,
    };
    Some(FOUND.get_or_init(py, || found))
}

#[cold]
fn put_numpy(key: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
    let py = key.py();
    let Some(numpy) = numpy(py) else {
        return Err(refused(key));
    };
    if key.is_instance(numpy.integer.bind(py))? && !key.is_instance(numpy.timedelta64.bind(py))? {
        return if put_small_int(key, into) { Ok(()) } else { Err(refused(key)) };
    }
    if key.is_instance(numpy.bool_.bind(py))? {
        put_word(false, u64::from(key.is_truthy()?), into);
        return Ok(());
    }
    if key.is_instance(numpy.floating.bind(py))? {
        let value: f64 = key.extract()?;
        // A long double can lie between two floats.
        if value.is_nan() || key.eq(value)? {
            return put_float(value, into);
        }
    }
    Err(refused(key))
}

#[cold]
fn refused(key: &Bound<'_, PyAny>) -> PyErr {
    match key.get_type().fully_qualified_name() {
        Ok(name) => Kind::WrongType.error(format!(
            "{name} cannot be a key: use None, bool, int, float, str, bytes, or a tuple of these"
        )),
        Err(failure) => failure,
    }
}

/// The key that `bytes` encode.
///
/// # Errors
/// `SegmentCorrupted` for bytes that no key encodes to.
pub fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = Reader { py, bytes, at: 1.min(bytes.len()) };
    match bytes.first() {
        Some(&STR) => reader.str(&bytes[1..]),
        Some(&BYTES) => Ok(PyBytes::new(py, &bytes[1..]).into_any()),
        Some(&TUPLE) => reader.tuple(1),
        Some(&tag) => {
            let key = reader.item(tag, 0)?;
            if reader.at < bytes.len() {
                return Err(reader.damaged("it should have ended"));
            }
            Ok(key)
        }
        None => Err(reader.damaged("it is empty")),
    }
}

struct Reader<'a, 'py> {
    py: Python<'py>,
    bytes: &'a [u8],
    at: usize,
}

impl<'a, 'py> Reader<'a, 'py> {
    #[cold]
    fn damaged(&self, why: &str) -> PyErr {
        Kind::SegmentCorrupted
            .error(format!("the bytes of a key are damaged: {why} (at byte {})", self.at))
    }

    fn take(&mut self, size: usize) -> PyResult<&'a [u8]> {
        match self.bytes[self.at..].get(..size) {
            Some(taken) => {
                self.at += size;
                Ok(taken)
            }
            None => Err(self.damaged("it ends too early")),
        }
    }

    /// The next `N` bytes, inverted if `negative`.
    fn word<const N: usize>(&mut self, negative: bool) -> PyResult<[u8; N]> {
        let mut word = [0; N];
        word.copy_from_slice(self.take(N)?);
        Ok(if negative { word.map(|byte| !byte) } else { word })
    }

    /// What follows `tag`, an item of a tuple unless `depth` is 0.
    fn item(&mut self, tag: u8, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        match tag {
            NONE => Ok(PyNone::get(self.py).to_owned().into_any()),
            MINUS_INFINITY => Ok(PyFloat::new(self.py, f64::NEG_INFINITY).into_any()),
            INFINITY => Ok(PyFloat::new(self.py, f64::INFINITY).into_any()),
            BIG_NEGATIVE | BIG_POSITIVE => self.big_int(tag == BIG_NEGATIVE),
            STR => {
                let text = self.text()?;
                self.str(&text)
            }
            BYTES => Ok(PyBytes::new(self.py, &self.text()?).into_any()),
            TUPLE if depth < MAX_DEPTH => self.tuple(depth + 1),
            TUPLE => Err(self.damaged("its tuples are nested too deep")),
            _ if tag > BIG_NEGATIVE && tag < BIG_POSITIVE => self.number(tag),
            _ => Err(self.damaged("it has an unknown tag")),
        }
    }

    fn number(&mut self, tag: u8) -> PyResult<Bound<'py, PyAny>> {
        let (negative, size) = (tag < ZERO, usize::from(tag.abs_diff(ZERO)));
        let mut word = [if negative { 0xFF } else { 0 }; 8];
        word[8 - size..].copy_from_slice(self.take(size)?);
        let word = u64::from_be_bytes(word);
        let magnitude = if negative { !word } else { word };
        if size != 8 - magnitude.leading_zeros() as usize / 8 {
            return Err(self.damaged("an int has a leading zero byte"));
        }
        if self.bytes.get(self.at) == Some(&FRACTION) {
            return self.float(negative, magnitude);
        }
        if !negative {
            return Ok(magnitude.into_pyobject(self.py)?.into_any());
        }
        match 0_i64.checked_sub_unsigned(magnitude) {
            Some(int) => Ok(int.into_pyobject(self.py)?.into_any()),
            None => Ok((-i128::from(magnitude)).into_pyobject(self.py)?.into_any()),
        }
    }

    /// `magnitude` is that of the floor.
    fn float(&mut self, negative: bool, magnitude: u64) -> PyResult<Bound<'py, PyAny>> {
        self.at += 1;
        let fraction = f64::from_bits(u64::from_be_bytes(self.word(negative)?));
        let whole = magnitude - u64::from(negative);
        let size = whole as f64 + fraction;
        // Only the one way in which `put_float` takes a float apart; NaN fails both comparisons.
        if !(size.trunc() as u64 == whole && size.fract() == fraction && fraction > 0.0) {
            return Err(self.damaged("a fraction does not fit its float"));
        }
        Ok(PyFloat::new(self.py, if negative { -size } else { size }).into_any())
    }

    fn big_int(&mut self, negative: bool) -> PyResult<Bound<'py, PyAny>> {
        let size = match self.word::<1>(negative)? {
            [LONG_SIZE] => match u32::from_be_bytes(self.word(negative)?) as usize {
                long if long >= LONG_SIZE as usize => long,
                _ => return Err(self.damaged("the size of an int is not in its short form")),
            },
            [short] => usize::from(short),
        };
        let bytes = self.take(size)?;
        let zero = if negative { 0xFF } else { 0 };
        if size <= 8 || bytes[0] == zero {
            return Err(self.damaged("an int is not in its short form"));
        }
        let class = self.py.get_type::<PyInt>();
        if !negative {
            return class.call_method1("from_bytes", (PyBytes::new(self.py, bytes), "big"));
        }
        let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        class.call_method1("from_bytes", (PyBytes::new(self.py, &inverted), "big"))?.neg()
    }

    /// The escaped bytes up to their end, which is consumed.
    fn text(&mut self) -> PyResult<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let rest = &self.bytes[self.at..];
            let Some(size) = rest.iter().position(|&byte| byte == END) else {
                return Err(self.damaged("a str or bytes does not end"));
            };
            text.extend_from_slice(&rest[..size]);
            self.at += size + 1;
            if rest.get(size + 1) != Some(&ESCAPED) {
                return Ok(text);
            }
            text.push(END);
            self.at += 1;
        }
    }

    fn str(&self, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        match text(self.py, bytes) {
            Ok(text) => Ok(text.into_any()),
            Err(_) => Err(self.damaged("a str is not UTF-8")),
        }
    }

    /// `depth` counts this tuple; the outermost one ends with the bytes.
    fn tuple(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let mut items = Vec::new();
        loop {
            match self.bytes.get(self.at) {
                Some(&END) if depth > 1 => {
                    self.at += 1;
                    break;
                }
                None if depth == 1 => break,
                None => return Err(self.damaged("a tuple does not end")),
                Some(&tag) => {
                    self.at += 1;
                    items.push(self.item(tag, depth)?);
                }
            }
        }
        Ok(PyTuple::new(self.py, items)?.into_any())
    }
}

/// A str from UTF-8, or from what `surrogates` made.
pub fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, bytes).or_else(|_| {
        let bytes = PyBytes::new(py, bytes);
        let text = bytes.call_method1("decode", ("utf-8", "surrogatepass"))?;
        Ok(text.cast_into::<PyString>()?)
    })
}

/// The bytes of `key` on media; they sort as keys do.
#[pyfunction]
#[pyo3(signature = (key, /))]
fn encode_key<'py>(key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut bytes = Vec::with_capacity(64);
    encode(key, &mut bytes)?;
    Ok(PyBytes::new(key.py(), &bytes))
}

/// The key whose bytes on media these are. Raises SegmentCorrupted if they are no key's.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn decode_key<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, data)
}

/// Puts the public helpers into the module `_core`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(encode_key, module)?)?;
    module.add_function(wrap_pyfunction!(decode_key, module)?)
}
