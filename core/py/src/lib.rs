//! `vasmem._core`: conversion between Python objects and the structures, and nothing else.

mod array;
mod attached;
mod btree;
mod copied;
mod counter;
mod descriptor;
mod domain;
mod emulation;
mod error;
mod hashmap;
mod info;
mod key;
mod lab;
mod leaving;
mod lock;
mod map;
mod nap;
mod queue;
mod raise;
mod salvage;
mod salvage_small;
mod segment;
mod small;
mod transaction;
mod typed;
mod value;
mod wait;

use pyo3::prelude::*;

/// Optional parts of this build.
fn features() -> Vec<&'static str> {
    if cfg!(feature = "untapped") { vec!["untapped"] } else { vec![] }
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    module.add("build_profile", profile)?;
    module.add("features", pyo3::types::PyTuple::new(module.py(), features())?)?;
    // Every attach makes a context variable: the first must not look for the module.
    module.py().import("contextvars")?;
    error::register(module)?;
    key::register(module)?;
    value::register(module)?;
    module.add_class::<segment::Segment>()?;
    module.add_class::<array::Array>()?;
    module.add_class::<hashmap::HashMap>()?;
    module.add_class::<btree::BTree>()?;
    module.add_class::<btree::Sorted>()?;
    module.add_class::<btree::Cursor>()?;
    module.add_class::<hashmap::Set>()?;
    module.add_class::<counter::Counter>()?;
    module.add_class::<lock::Lock>()?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<hashmap::Items>()?;
    module.add_class::<typed::TypedMap>()?;
    module.add_class::<map::Pinned>()?;
    module.add_class::<domain::Domain>()?;
    module.add_class::<domain::Switch>()?;
    module.add_class::<lab::Bench>()?;
    module.add_class::<lab::Tape>()?;
    module.add_class::<salvage::Damaged>()?;
    module.add("flush_method", vasmem_memory::flush_method())?;
    module.add_function(wrap_pyfunction!(domain::has_keys, module)?)?;
    module.add_function(wrap_pyfunction!(copied::adopt, module)?)?;
    module.add_function(wrap_pyfunction!(emulation::is_dax, module)?)?;
    module.add_function(wrap_pyfunction!(emulation::make_media, module)?)?;
    module.add_function(wrap_pyfunction!(leaving::leave_all, module)?)?;
    Ok(())
}
