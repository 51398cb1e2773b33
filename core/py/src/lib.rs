//! `vasmem._core`: conversion between Python objects and the structures, and nothing else.

mod error;
mod key;
mod value;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    error::register(module)?;
    key::register(module)?;
    value::register(module)?;
    Ok(())
}
