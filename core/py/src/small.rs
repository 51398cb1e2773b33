//! Opening small structures by name, whichever they are.

use crate::attached::{Attached, Tx};
use crate::reading;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use vasmem_engine::{Kind, Result};
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
    mut make: impl FnMut(&mut Tx<'_>, u64) -> Result<Root>,
) -> PyResult<(Root, u8)> {
    let first = attached.engine.geometry.directory_at;
    let open = reading!(name: &'a str, first: u64, kind: Kind; Option<(Root, u8)>; |access| {
        Root::open(access, *first, name, *kind)
    });
    let make = create.then_some(|tx: &mut Tx<'_>, id| make(tx, id).map(|root| (root, flags)));
    attached.open_or_make(py, open, make)?.ok_or_else(|| PyKeyError::new_err(name.to_owned()))
}
