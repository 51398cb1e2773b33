//! A segment's file that was copied: whether it is one, and whether it may be used where it is.

use crate::error::Kind as Exception;
use crate::raise::exception;
use crate::segment::map;
use pyo3::prelude::*;
use std::os::fd::AsFd;
use vasmem_engine::layout::HEADER_BYTES;
use vasmem_engine::{Error, format};
use vasmem_memory::{Access, Memory};

/// Whether the segment in `fd` was copied there: another file is its home. Gives it space for all
/// of its bytes then, which a sparse copy lacks.
///
/// # Errors
/// `FormatMismatch` and `SegmentCorrupted` for a file that is none; `NeedsRecovery` for a copy that
/// was made while the segment was in use; `OSError` where there is no space.
#[pyfunction]
pub fn adopt(fd: i32, name: &str) -> PyResult<bool> {
    let fd = crate::descriptor::duplicate(fd)?;
    let raise = |error: Error| exception(name, None, error, None);
    let probe = map(fd.as_fd(), HEADER_BYTES, Access::ReadOnly)?;
    let geometry = format::open(&probe, probe.file_size()?, true).map_err(raise)?;
    if !format::is_away(&probe, probe.inode()?) {
        return Ok(false);
    }
    drop(probe);
    let memory = map(fd.as_fd(), geometry.size_limit, Access::ReadWrite)?;
    memory.raise_limit(geometry.size_limit);
    if !format::is_still(&memory, &geometry) {
        return Err(Exception::NeedsRecovery.error(format!(
            "{name} was copied while the original was in use, so it may be torn: copy it again \
             when all have closed it, or copy what can be read with vasmem.salvage"
        )));
    }
    let backed = format::backed(&memory);
    for (at, end) in [(0, HEADER_BYTES), (geometry.heap_at, backed)] {
        Memory::allocate(&memory, at, end - at)?;
    }
    Ok(true)
}
