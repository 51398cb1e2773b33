//! The emulated medium of a segment: its counters, its wear, and its power failures.

use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::raise::exception;
use crate::segment::{Segment, map};
use crate::wait::Detached;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::os::fd::{AsFd, BorrowedFd};
use vasmem_engine::layout::HEADER_BYTES;
use vasmem_engine::{Geometry, format};
use vasmem_memory::{Access, COUNTS, Latency, Mapped, Media, Survival};

/// Nanoseconds of a fence, and of a line more; bytes a second.
pub type Model = (u64, u64, u64);

/// Lets the flushed lines of `memory`, the mapping of `fd`, go to the companion `media_fd`.
///
/// # Errors
/// `VasmemError` for a file that cannot be its companion.
pub fn emulate(
    memory: &mut Mapped,
    geometry: &Geometry,
    fd: BorrowedFd<'_>,
    media_fd: i32,
    model: Option<Model>,
) -> PyResult<()> {
    let writable = memory.writable();
    let access = if writable { Access::ReadWrite } else { Access::ReadOnly };
    let media_fd = crate::descriptor::duplicate(media_fd)?;
    let log = geometry.lanes_at..geometry.heap_at;
    let media = Media::map(media_fd.as_fd(), fd, memory.reserved(), access, log)
        .map_err(|error| Exception::VasmemError.error(format!("the emulated medium: {error}")))?;
    if let Some((fence_ns, line_ns, write_bytes_per_s)) = model.filter(|_| writable) {
        media.set_latency(Latency { fence_ns, line_ns, write_bytes_per_s });
    }
    memory.emulate(media);
    Ok(())
}

/// Whether the file of `fd` is accessed directly, as the system says, and whether it grants
/// MAP_SYNC.
#[pyfunction]
pub fn is_dax(fd: i32) -> PyResult<(bool, bool)> {
    let fd = crate::descriptor::duplicate(fd)?;
    Ok(vasmem_memory::is_dax(fd.as_fd())?)
}

/// Makes `media_fd`, an empty file, the companion of the segment in `fd`, as it is now.
#[pyfunction(name = "emulate")]
pub fn make_media(fd: i32, media_fd: i32) -> PyResult<()> {
    let fd = crate::descriptor::duplicate(fd)?;
    let access = Access::ReadWrite;
    let probe = map(fd.as_fd(), HEADER_BYTES, access)?;
    let geometry = format::open(&probe, probe.file_size()?, true)
        .map_err(|error| exception("", None, error, None))?;
    drop(probe);
    let mut memory = map(fd.as_fd(), geometry.size_limit, access)?;
    emulate(&mut memory, &geometry, fd.as_fd(), media_fd, None)
}

impl Segment {
    fn media(&self) -> PyResult<&Media> {
        self.attached.ensure_open()?;
        self.attached.engine.memory.media().ok_or_else(|| {
            let name = &self.attached.name;
            Exception::VasmemError.error(format!(
                "segment {name:?} is not emulated: only a segment made with emulate= has this"
            ))
        })
    }
}

#[pymethods]
impl Segment {
    /// Counters and latency model of the emulated medium.
    fn nvm<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let media = self.media()?;
        let found = PyDict::new(py);
        for (name, count) in COUNTS.iter().zip(media.counts()) {
            found.set_item(name, count)?;
        }
        let latency = media.latency();
        found.set_item("fence_ns", latency.fence_ns)?;
        found.set_item("line_ns", latency.line_ns)?;
        found.set_item("write_bytes_per_s", latency.write_bytes_per_s)?;
        Ok(found)
    }

    /// Lines that were ever written (u8 each), and the number of times (u4 each), as bytes.
    fn wear<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let wear = self.media()?.wear()?;
        let lines: Vec<u8> = wear.iter().flat_map(|(line, _)| line.to_ne_bytes()).collect();
        let times: Vec<u8> = wear.iter().flat_map(|(_, times)| times.to_ne_bytes()).collect();
        Ok((PyBytes::new(py, &lines), PyBytes::new(py, &times)))
    }

    /// Lets the power fail: lines that were not fenced survive or not. Ends this attachment.
    fn crash(&self, py: Python<'_>, model: &str, seed: u64) -> PyResult<(u64, u64)> {
        let survival = match model {
            "px86" => Survival::Each,
            "none" => Survival::None,
            "all" => Survival::All,
            _ => {
                let text = format!("no crash model {model:?}: there are 'px86', 'none' and 'all'");
                return Err(PyValueError::new_err(text));
            }
        };
        self.media()?;
        let attached = &self.attached;
        let mut waiter = Detached::new(attached.timeout_s());
        py.detach(|| attached.crash(&mut waiter, survival, seed))
            .map_err(|error| attached.raise(error, waiter.raised.take()))?
            .ok_or_else(|| in_use(attached))
    }
}

fn in_use(attached: &Attached) -> PyErr {
    let own = std::process::id();
    let pids = attached.engine.host.as_ref().map(|host| host.attached()).unwrap_or_default();
    let others: Vec<String> = pids.iter().filter(|&&pid| pid != own).map(u32::to_string).collect();
    let whom = match others.as_slice() {
        [] => "once more".to_owned(),
        pids => format!("by pid {}", pids.join(", ")),
    };
    Exception::VasmemError.error(format!(
        "segment {:?} is attached {whom}: power fails for all at once, so end these attachments \
         first",
        attached.name
    ))
}
