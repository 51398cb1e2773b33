//! Opening small structures by name, whichever they are.

use crate::attached::Attached;
use crate::reading;
use crate::segment::random_id;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use vasmem_engine::os::OsHost;
use vasmem_engine::{Kind, Result, Transaction};
use vasmem_memory::Mapped;
use vasmem_structs::Root;

/// Opens the structure of that name and kind, or has it made if there is none and `create` is
/// true; `make` takes a random id. Returns its flags, too.
///
/// # Errors
/// `KeyError`; `WrongType` if it is of another kind.
pub fn open(
    py: Python<'_>,
    attached: &Attached,
    (name, kind, flags): (&str, Kind, u8),
    create: bool,
    mut make: impl FnMut(&mut Transaction<'_, Mapped, OsHost>, u64) -> Result<Root>,
) -> PyResult<(Root, u8)> {
    let first = attached.engine.geometry.directory_at;
    let mut found = attached.read(
        py,
        reading!(name: &'a str, first: u64, kind: Kind; Option<(Root, u8)>; |access| {
            Root::open(access, *first, name, *kind)
        }),
    )?;
    if found.is_none() && create {
        let id = random_id()?;
        found = attached.write(py, |tx| match Root::open(tx, first, name, kind)? {
            Some(found) => Ok(Some(found)),
            None => Ok(Some((make(tx, id)?, flags))),
        })?;
    }
    found.ok_or_else(|| PyKeyError::new_err(name.to_owned()))
}
