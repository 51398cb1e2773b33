//! Memory operations for structures of one's own, and the bytes of a segment as they are.

use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::segment::Segment;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vasmem_engine::{Error, Invariant};
use vasmem_memory::{Mapped, Memory, Ordering};

/// More is not copied out at once: 1 GiB.
const COPIED_MAX: u64 = 1 << 30;

fn inside(attached: &Attached, at: u64, len: u64) -> PyResult<&Mapped> {
    attached.ensure_open()?;
    let memory = &attached.engine.memory;
    let end = attached.engine.backed();
    if at.checked_add(len).is_none_or(|last| last > end) {
        let text = format!("{len} bytes at {at} of segment {:?}: it has {end}", attached.name);
        return Err(PyIndexError::new_err(text));
    }
    Ok(memory)
}

fn writable(attached: &Attached, at: u64, len: u64) -> PyResult<&Mapped> {
    let memory = inside(attached, at, len)?;
    if !memory.writable() {
        let text = format!("segment {:?} is attached read-only", attached.name);
        return Err(Exception::PermissionDenied.error(text));
    }
    Ok(memory)
}

fn aligned(at: u64) -> PyResult<()> {
    if !at.is_multiple_of(8) {
        return Err(PyValueError::new_err(format!("offset {at}: words begin at multiples of 8")));
    }
    Ok(())
}

fn intact(attached: &Attached) -> PyResult<()> {
    match attached.ensure_intact() {
        Ok(()) => Ok(()),
        Err(_) => Err(attached.raise(Error::corrupted(Invariant::Mapping, 0), None)),
    }
}

fn plain_bytes(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    PyBuffer::<u8>::get(data)?.to_vec(py)
}

#[pymethods]
impl Segment {
    /// The word at an offset, acquired.
    fn load_word(&self, at: u64) -> PyResult<u64> {
        aligned(at)?;
        let word = inside(&self.attached, at, 8)?.load(at, Ordering::Acquire);
        intact(&self.attached).map(|()| word)
    }

    /// Bytes from an offset on; words are whole, all together need not be of one moment.
    fn load_bytes<'py>(&self, py: Python<'py>, at: u64, len: u64) -> PyResult<Bound<'py, PyBytes>> {
        if len > COPIED_MAX {
            return Err(PyValueError::new_err(format!("{len} bytes are too many at once")));
        }
        let memory = inside(&self.attached, at, len)?;
        let bytes = PyBytes::new_with(py, len as usize, |into| {
            memory.copy_out(at, into);
            Ok(())
        })?;
        intact(&self.attached).map(|()| bytes)
    }

    /// One store of 8 bytes, released.
    fn store_word(&self, at: u64, value: u64) -> PyResult<()> {
        aligned(at)?;
        let memory = writable(&self.attached, at, 8)?;
        let writing = memory.writing();
        memory.store(at, value, Ordering::Release);
        drop(writing);
        intact(&self.attached)
    }

    /// Bytes, word after word from low to high; past the caches, in any order, and flushed with
    /// `streamed`.
    fn store_bytes(
        &self,
        py: Python<'_>,
        at: u64,
        data: &Bound<'_, PyAny>,
        streamed: bool,
    ) -> PyResult<()> {
        let data = plain_bytes(py, data)?;
        let memory = writable(&self.attached, at, data.len() as u64)?;
        let writing = memory.writing();
        match streamed {
            true => memory.copy_in_flushed(at, &data),
            false => memory.copy_in(at, &data),
        }
        drop(writing);
        intact(&self.attached)
    }

    /// Writes `new` if the word is `old`; the word found.
    fn cas_word(&self, at: u64, old: u64, new: u64) -> PyResult<u64> {
        aligned(at)?;
        let order = Ordering::SeqCst;
        let memory = writable(&self.attached, at, 8)?;
        let writing = memory.writing();
        let found = memory.cas(at, old, new, order, order);
        drop(writing);
        intact(&self.attached).map(|()| found.unwrap_or_else(|found| found))
    }

    /// Flushes the lines of `len` bytes from an offset on.
    fn flush_lines(&self, at: u64, len: u64) -> PyResult<()> {
        writable(&self.attached, at, len)?.flush(at, len);
        Ok(())
    }

    /// Waits for what was flushed.
    fn drain(&self) -> PyResult<()> {
        self.attached.ensure_open()?;
        self.attached.engine.memory.drain();
        Ok(())
    }

    /// Whether its medium asks for flushes and fences.
    #[getter]
    fn needs_flush(&self) -> bool {
        self.attached.engine.memory.needs_flush()
    }

    /// All bytes, as they are now.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.attached.engine.backed();
        self.load_bytes(py, 0, bytes)
    }
}
