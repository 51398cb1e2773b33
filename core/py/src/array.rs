//! `_core.Array`: rows as bytes. What a row is, and which bytes an index means, is told by Python.

use crate::attached::{Attached, Tx};
use crate::error::Kind as Exception;
use crate::map::Pinned;
use crate::reading;
use crate::segment::Segment;
use crate::wait::Waiter;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use std::ops::Range;
use std::sync::Arc;
use vasmem_engine::access::Peek;
use vasmem_engine::{Error, Holder, Offset, Patience, Reading, Result};
use vasmem_structs::Array as Structure;

/// From so many bytes on, other threads run meanwhile.
const LONG_BYTES: usize = 256 << 10;
/// Attempts to read many bytes before writers are kept out.
const TRIES: u32 = 8;

/// An array of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct Array {
    attached: Arc<Attached>,
    array: Structure,
    #[pyo3(get)]
    name: String,
}

impl Array {
    /// Copies ranges out; `None` if they are not all there, or not so many rows.
    fn copy<'py>(
        &self,
        py: Python<'py>,
        ranges: &[Range<u64>],
        length: Option<u64>,
    ) -> PyResult<Option<Bound<'py, PyByteArray>>> {
        let total: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let engine = &self.attached.engine;
        if total > engine.geometry.size_limit {
            return Ok(None);
        }
        let array = self.array;
        let mut there = false;
        let rows = PyByteArray::new_with(py, total as usize, |into| {
            let long = into.len() >= LONG_BYTES && !self.attached.is_inside(py)?;
            let mut body = reading!(array: Structure, ranges: &'a [Range<u64>],
                length: Option<u64>, into: &'a mut [u8]; bool;
                |access| array.read(access, ranges, *length, into));
            there =
                if long { self.read_long(py, &mut body)? } else { self.attached.read(py, body)? };
            Ok(())
        })?;
        Ok(there.then_some(rows))
    }

    /// Reads while other threads run. What takes long never ends while others write all the time:
    /// after some attempts they wait.
    fn read_long<T: Send>(
        &self,
        py: Python<'_>,
        body: &mut (impl Reading<T> + Send),
    ) -> PyResult<T> {
        self.attached.detached(py, |engine, patience| {
            for _ in 0..TRIES {
                match body.run(&mut Peek::new(engine)) {
                    Err(Error::Conflict) => {}
                    done => return done,
                }
            }
            if engine.host.is_none() {
                return engine.consult(patience, body);
            }
            let mut round = 0;
            loop {
                match engine.exclusively(patience, || body.run(&mut Peek::new(engine))) {
                    Err(Error::Conflict) => patience.pause(round, Holder::Conflicts)?,
                    done => return done,
                };
                round += 1;
            }
        })
    }

    fn change<T: Send>(
        &self,
        py: Python<'_>,
        bytes: usize,
        mut body: impl FnMut(&mut Tx<'_>) -> Result<T> + Send,
    ) -> PyResult<T> {
        if bytes < LONG_BYTES || self.attached.is_inside(py)? {
            return self.attached.write(py, body);
        }
        self.attached.detached(py, |engine, patience| engine.write(patience, &mut body))
    }
}

/// 64-bit numbers, little-endian.
fn numbers<'a>(bytes: &'a Bound<'_, PyBytes>) -> impl ExactSizeIterator<Item = u64> + 'a {
    let (numbers, _) = bytes.as_bytes().as_chunks::<8>();
    numbers.iter().map(|number| u64::from_le_bytes(*number))
}

#[pymethods]
impl Array {
    /// Opens the array of that name. Makes it if there is none and `made_with` says of how many
    /// rows, of how many bytes, which are what.
    #[new]
    #[pyo3(signature = (segment, name, made_with))]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        made_with: Option<(u64, u64, Vec<u8>)>,
    ) -> PyResult<Array> {
        let attached = segment.get().attached.clone();
        let first = attached.engine.geometry.directory_at;
        let wanted = name.as_str();
        let open = reading!(wanted: &'a str, first: u64; Option<Structure>;
            |access| Structure::open(access, *first, wanted));
        let possible = made_with.as_ref().filter(|(_, row_bytes, _)| *row_bytes > 0);
        let make = possible.map(|(length, row_bytes, description)| {
            |tx: &mut Tx<'_>, id| {
                Structure::create(tx, wanted, id, (*length, *row_bytes), description)
            }
        });
        match attached.open_or_make(py, open, make)? {
            Some(array) => Ok(Array { attached, array, name }),
            None if made_with.is_some() => Err(PyValueError::new_err("rows of no bytes")),
            None => Err(PyKeyError::new_err(name)),
        }
    }

    /// What the rows are, as it was said when the array was made.
    #[getter]
    fn description<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let array = self.array;
        let bytes = self
            .attached
            .read(py, reading!(array: Structure; Vec<u8>; |access| array.description(access)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[getter]
    fn row_bytes(&self) -> u64 {
        self.array.row_bytes()
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.place(py)?.1 as usize)
    }

    /// Where the rows are, and how many.
    fn place(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let array = self.array;
        self.attached
            .read(py, reading!(array: Structure; (Offset, u64); |access| array.locate(access)))
    }

    /// A range of bytes of the rows; None if it is not there, or if there are not `length` rows.
    #[pyo3(signature = (start, stop, length=None))]
    fn read_bytes<'py>(
        &self,
        py: Python<'py>,
        start: u64,
        stop: u64,
        length: Option<u64>,
    ) -> PyResult<Option<Bound<'py, PyByteArray>>> {
        self.copy(py, std::slice::from_ref(&(start..stop)), length)
    }

    /// Rows by number, one behind the other; None if they are not all there.
    fn gather<'py>(
        &self,
        py: Python<'py>,
        rows: &Bound<'py, PyBytes>,
    ) -> PyResult<Option<Bound<'py, PyByteArray>>> {
        let width = self.array.row_bytes();
        let range =
            |row: u64| row.saturating_mul(width)..row.saturating_add(1).saturating_mul(width);
        let ranges: Vec<_> = numbers(rows).map(range).collect();
        self.copy(py, &ranges, None)
    }

    /// Overwrites bytes from `start` on; false if they are not all there.
    fn write_range(&self, py: Python<'_>, start: u64, data: &Bound<'_, PyBytes>) -> PyResult<bool> {
        let data = data.as_bytes();
        let range = start..start.saturating_add(data.len() as u64);
        let ranges = std::slice::from_ref(&range);
        self.change(py, data.len(), |tx| self.array.write(tx, ranges, data))
    }

    /// Overwrites ranges of bytes, in ascending order and apart; false if they are not all there.
    fn write_bytes(
        &self,
        py: Python<'_>,
        starts: &Bound<'_, PyBytes>,
        lengths: &Bound<'_, PyBytes>,
        data: &Bound<'_, PyBytes>,
    ) -> PyResult<bool> {
        let pairs = numbers(starts).zip(numbers(lengths));
        let ranges: Vec<_> = pairs.map(|(at, len)| at..at.saturating_add(len)).collect();
        let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let data = data.as_bytes();
        if total != data.len() as u64 || !ranges.is_sorted_by(|a, b| a.end <= b.start) {
            return Err(PyValueError::new_err("the ranges do not ascend, or not fit their bytes"));
        }
        self.change(py, data.len(), |tx| self.array.write(tx, &ranges, data))
    }

    /// Appends rows; the number of the first.
    fn extend_bytes(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<u64> {
        let data = data.as_bytes();
        if !(data.len() as u64).is_multiple_of(self.array.row_bytes()) {
            return Err(PyValueError::new_err("not whole rows"));
        }
        self.change(py, data.len(), |tx| self.array.extend(tx, data))
    }

    /// Cuts rows off, or appends zeros.
    fn resize_rows(&self, py: Python<'_>, length: u64) -> PyResult<()> {
        let bytes = length.saturating_mul(self.array.row_bytes());
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.change(py, bytes, |tx| self.array.resize(tx, length))
    }

    /// The rows where they are, and the place that they have; None where only copies are possible:
    /// on a read-only attachment, and in a transaction.
    fn pinned<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, Pinned>, u64, u64)>> {
        let attached = &self.attached;
        attached.ensure_open()?;
        let engine = &attached.engine;
        if engine.host.is_none() || !engine.geometry.has_pins() || attached.is_inside(py)? {
            return Ok(None);
        }
        let array = self.array;
        let mut find = reading!(array: Structure; Option<(Offset, (Offset, u64))>;
            |access| array.locate(access).map(|place| Some((place.0, place))));
        let mut waiter = Waiter::new(py, attached.timeout_s());
        let done = engine.pin(&mut waiter, &mut find);
        let done = done.and_then(|found| attached.ensure_intact().map(|()| found));
        let found = done.map_err(|error| attached.raise(error, waiter.raised.take()))?;
        let Some((pin, (from, length))) = found else {
            return Err(Exception::VasmemError.error(format!(
                "too many views of values in segment {:?} are in use: drop some, or read()",
                attached.name
            )));
        };
        let bytes = (length * array.row_bytes()) as usize;
        let writable = !engine.memory.is_shut();
        let pinned = Pinned { attached: attached.clone(), pin, from, bytes, writable };
        Ok(Some((Bound::new(py, pinned)?, from, length)))
    }
}
