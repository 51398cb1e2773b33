//! Keys and values of a typed tree as bytes. Numbers and bytes are packed here; what other scalars
//! are, Python knows (`vasmem.dtypes.Type`).

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyFloat, PyInt};

/// A part of a key: how its bytes become ones that are in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Unsigned,
    Signed,
    Bytes,
}

/// Scalars of one dtype.
struct Scalar {
    /// The `Type` of Python.
    python: Py<PyAny>,
    dtype: Py<PyAny>,
    kind: char,
    bytes: usize,
}

impl Scalar {
    fn of(python: &Bound<'_, PyAny>) -> PyResult<Scalar> {
        let dtype = python.getattr("dtype")?;
        // A record is left to Python.
        let kind = dtype.getattr("kind")?.extract()?;
        let bytes = dtype.getattr("itemsize")?.extract()?;
        Ok(Scalar { python: python.clone().unbind(), dtype: dtype.unbind(), kind, bytes })
    }

    /// Adds the bytes of a scalar.
    fn pack(&self, object: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
        match self.kind {
            'u' if object.is_exact_instance_of::<PyInt>() => {
                if let Ok(number) = object.extract::<u64>()
                    && (self.bytes == 8 || number >> (self.bytes * 8) == 0)
                {
                    into.extend_from_slice(&number.to_le_bytes()[..self.bytes]);
                    return Ok(());
                }
            }
            'i' if object.is_exact_instance_of::<PyInt>() => {
                if let Ok(number) = object.extract::<i64>()
                    && number << (64 - self.bytes * 8) >> (64 - self.bytes * 8) == number
                {
                    into.extend_from_slice(&number.to_le_bytes()[..self.bytes]);
                    return Ok(());
                }
            }
            'f' if self.bytes == 8 && object.is_exact_instance_of::<PyFloat>() => {
                into.extend_from_slice(&object.extract::<f64>()?.to_le_bytes());
                return Ok(());
            }
            _ => {}
        }
        let packed = self.python.bind(object.py()).call_method1("pack", (object,))?;
        into.extend_from_slice(packed.cast::<PyBytes>()?.as_bytes());
        Ok(())
    }

    fn unpack<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let mut word = [0; 8];
        let known = bytes.len().min(8);
        word[..known].copy_from_slice(&bytes[..known]);
        match self.kind {
            'u' => Ok(u64::from_le_bytes(word).into_pyobject(py)?.into_any()),
            'i' => {
                let unused = 64 - known * 8;
                let number = i64::from_le_bytes(word) << unused >> unused;
                Ok(number.into_pyobject(py)?.into_any())
            }
            'f' if self.bytes == 8 => Ok(f64::from_le_bytes(word).into_pyobject(py)?.into_any()),
            _ => self.python.bind(py).call_method1("unpack", (PyBytes::new(py, bytes),)),
        }
    }

    /// The bytes of many scalars, one behind the other.
    fn pack_many<'py>(
        &self,
        what: &str,
        objects: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let array = self.python.bind(objects.py()).call_method1("pack_many", (what, objects))?;
        Ok(array.call_method0("tobytes")?.cast_into()?)
    }
}

/// The types of keys and values.
pub struct Types {
    key: Scalar,
    value: Scalar,
    /// Parts of a key, with their bytes.
    parts: Vec<(usize, Order)>,
    from_buffer: Py<PyAny>,
}

impl Types {
    /// Of the types of Python for keys and values, and the parts of a key: (bytes, kind).
    ///
    /// # Errors
    /// What Python raises.
    pub fn new(
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        parts: &[(usize, char)],
    ) -> PyResult<Types> {
        let order = |&(bytes, kind)| match kind {
            'u' => (bytes, Order::Unsigned),
            'i' => (bytes, Order::Signed),
            _ => (bytes, Order::Bytes),
        };
        let from_buffer = key.py().import("numpy")?.getattr("frombuffer")?.unbind();
        let parts = parts.iter().map(order).collect();
        Ok(Types { key: Scalar::of(key)?, value: Scalar::of(value)?, parts, from_buffer })
    }

    /// The types of Python.
    pub fn python<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, Bound<'py, PyAny>) {
        (self.key.python.bind(py).clone(), self.value.python.bind(py).clone())
    }

    /// Bytes of a key and of a value.
    pub fn sizes(&self) -> (usize, usize) {
        (self.key.bytes, self.value.bytes)
    }

    /// Whether keys are bytes, which may begin with others.
    pub fn has_bytes_keys(&self) -> bool {
        self.key.kind == 'S'
    }

    /// Bits by which keys of one eight-byte number differ from one that is in order, as
    /// `Columns::numbers`.
    pub fn numbers(&self) -> Option<u64> {
        match self.parts[..] {
            [(8, Order::Unsigned)] => Some(0),
            [(8, Order::Signed)] => Some(1 << 63),
            _ => None,
        }
    }

    /// Between the bytes of keys as numpy has them and those that are in order, both ways.
    fn turn(&self, keys: &mut [u8], back: bool) {
        if let Some(bits) = self.numbers() {
            let bits = if back { bits.swap_bytes() } else { bits };
            for key in keys.as_chunks_mut::<8>().0 {
                *key = (u64::from_le_bytes(*key) ^ bits).to_be_bytes();
            }
            return;
        }
        for key in keys.chunks_exact_mut(self.key.bytes) {
            let mut rest = key;
            for &(bytes, order) in &self.parts {
                let (part, others) = rest.split_at_mut(bytes);
                let sign = if order == Order::Signed { 0x80 } else { 0 };
                if back {
                    part[0] ^= sign;
                }
                if order != Order::Bytes {
                    part.reverse();
                }
                if !back {
                    part[0] ^= sign;
                }
                rest = others;
            }
        }
    }

    /// Adds the bytes of a key, in order.
    ///
    /// # Errors
    /// `WrongType`, `ValueError`.
    pub fn pack_key(&self, key: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
        let at = into.len();
        self.key.pack(key, into)?;
        self.turn(&mut into[at..], false);
        Ok(())
    }

    /// The key that these bytes stand for.
    ///
    /// # Errors
    /// What Python raises.
    pub fn unpack_key<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let mut key = bytes.to_vec();
        self.turn(&mut key, true);
        self.key.unpack(py, &key)
    }

    /// Adds the bytes of a value.
    ///
    /// # Errors
    /// `WrongType`, `ValueError`.
    pub fn pack_value(&self, value: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> PyResult<()> {
        self.value.pack(value, into)
    }

    /// The value that these bytes stand for.
    ///
    /// # Errors
    /// What Python raises.
    pub fn unpack_value<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        self.value.unpack(py, bytes)
    }

    /// The bytes of many keys, in order, one behind the other.
    ///
    /// # Errors
    /// `WrongType`, `ValueError`.
    pub fn pack_keys(&self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let mut keys = self.key.pack_many("keys", keys)?.as_bytes().to_vec();
        self.turn(&mut keys, false);
        Ok(keys)
    }

    /// The bytes of many values, one behind the other.
    ///
    /// # Errors
    /// `WrongType`, `ValueError`.
    pub fn pack_values<'py>(&self, values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        self.value.pack_many("values", values)
    }

    /// The array of keys that have these bytes, or are these [numbers](Types::numbers).
    ///
    /// # Errors
    /// What numpy raises.
    pub fn key_array<'py>(
        &self,
        py: Python<'py>,
        mut keys: Vec<u8>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.numbers().is_none() {
            self.turn(&mut keys, true);
        }
        self.from_buffer.bind(py).call1((PyByteArray::new(py, &keys), &self.key.dtype))
    }

    /// The array of values that have these bytes.
    ///
    /// # Errors
    /// What numpy raises.
    pub fn value_array<'py>(&self, py: Python<'py>, values: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        self.from_buffer.bind(py).call1((PyByteArray::new(py, values), &self.value.dtype))
    }
}
