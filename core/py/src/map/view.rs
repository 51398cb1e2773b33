//! `view`: a value where it is, without a copy.

use super::{Buffers, Map, with_buffers};
use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::wait::Waiter;
use crate::{reading, value};
use pyo3::exceptions::{PyBufferError, PyKeyError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use std::ffi::c_int;
use std::sync::Arc;
use vasmem_engine::{Offset, Pin};
use vasmem_memory::Memory;
use vasmem_structs::Keyed;
use vasmem_structs::record::Located;

/// A pinned value, or the rows of an array; what looks at it keeps it, and it keeps the mapping.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Pinned {
    /// Keeps the mapping.
    pub attached: Arc<Attached>,
    /// Keeps the block.
    pub pin: Pin,
    /// First byte, checked to lie in the backed heap with all others.
    pub from: Offset,
    /// How many there are.
    pub bytes: usize,
    /// Whether those who look may write.
    pub writable: bool,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let unpin = || self.attached.engine.unpin(&self.pin, !self.attached.is_closed());
        self.attached.visit(unpin);
    }
}

#[pymethods]
impl Pinned {
    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(
        this: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no place for the buffer"));
        }
        let pinned = this.get();
        let start = pinned.attached.engine.memory.base_address() + pinned.from as usize;
        // SAFETY: `view` is a Py_buffer to be filled in. The range was checked to lie in the
        // mapping, which lives as long as `pinned`, which the filled in buffer owns. Values are
        // read-only, and no honest process changes them while they are pinned. Rows are writable,
        // as the mapping is then, and change as any memory that is shared; nothing borrows them.
        let done = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                this.as_ptr(),
                start as *mut std::ffi::c_void,
                pinned.bytes as ffi::Py_ssize_t,
                (!pinned.writable).into(),
                flags,
            )
        };
        if done == 0 { Ok(()) } else { Err(PyErr::fetch(this.py())) }
    }
}

impl<S: Keyed> Map<S> {
    fn pinned<'py>(
        &self,
        py: Python<'py>,
        key: &[u8],
        record: &mut Vec<u8>,
    ) -> PyResult<Option<Bound<'py, Pinned>>> {
        let attached = &self.attached;
        let map = self.structure;
        let mut find = reading!(<S: Keyed> map: S, key: &'a [u8], record: &'a mut Vec<u8>;
        Option<(Offset, Located)>; |access| {
            Ok(map.locate(access, key, record)?.map(|found| (found.block, found)))
        });
        let mut waiter = Waiter::new(py, attached.timeout_s());
        let done = attached.engine.pin(&mut waiter, &mut find);
        let done = done.and_then(|found| attached.ensure_intact().map(|()| found));
        let found = done.map_err(|error| attached.raise(error, waiter.raised.take()))?;
        let Some((pin, Located { from, bytes, .. })) = found else { return Ok(None) };
        let pinned = Pinned {
            attached: attached.clone(),
            pin,
            from,
            bytes: bytes as usize,
            writable: false,
        };
        let pinned = if self.raw { pinned } else { self.without_head(pinned)? };
        Bound::new(py, pinned).map(Some)
    }

    /// The bytes object in a document, of which there is nothing else.
    fn without_head(&self, mut pinned: Pinned) -> PyResult<Pinned> {
        let mut head = [0; 5];
        let known = pinned.bytes.min(head.len());
        pinned.attached.engine.memory.copy_out(pinned.from, &mut head[..known]);
        let Some(skip) = value::bytes_head(&head[..known], pinned.bytes) else {
            return Err(self.no_bytes());
        };
        pinned.from += skip as u64;
        pinned.bytes -= skip;
        Ok(pinned)
    }

    #[cold]
    fn no_bytes(&self) -> PyErr {
        Exception::WrongType.error(format!(
            "view() shows values of type bytes, this one in {} {:?} is of another: read it with \
             [...]",
            S::NOUN,
            self.name
        ))
    }
}

impl<S: Keyed> Map<S> {
    /// The value, which is bytes, as a read-only memoryview of the segment itself.
    pub fn view<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyMemoryView>> {
        let py = key.py();
        self.attached.ensure_open()?;
        if self.types.is_some() {
            let text = format!(
                "values of typed {} {:?} stand in its nodes, which change: read them with [...]",
                S::NOUN,
                self.name
            );
            return Err(Exception::WrongType.error(text));
        }
        let engine = &self.attached.engine;
        let writes = engine.host.is_some() && engine.geometry.has_pins();
        if writes && !self.attached.is_inside(py)? {
            let pinned = with_buffers(|Buffers { key: encoded, record, .. }| {
                let bytes = self.key(key, encoded)?;
                self.pinned(py, bytes, record)
            })?;
            if let Some(pinned) = pinned {
                return PyMemoryView::from(pinned.as_any());
            }
        }
        let Some(value) = self.find(key)? else {
            return Err(PyKeyError::new_err(key.clone().unbind()));
        };
        if !value.is_exact_instance_of::<PyBytes>() {
            return Err(self.no_bytes());
        }
        PyMemoryView::from(&value)
    }
}
