//! `_core.HashMap`: the operations of a dict, native slots without a Python frame.

mod batch;
mod iterate;
mod popping;
mod set;

pub use iterate::Items;
pub use set::Set;

use crate::map::Map;
use crate::map_methods;
use crate::segment::Segment;
use iterate::What;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple, PyType};
use vasmem_structs::HashMap as Structure;

/// A hash map of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct HashMap {
    map: Map<Structure>,
    popping: popping::Popping,
}

impl HashMap {
    fn iterate(&self, what: What) -> Items {
        Items::new(self.map.attached.clone(), self.map.structure, self.map.raw, what)
    }
}

map_methods!(HashMap);

#[pymethods]
impl HashMap {
    #[new]
    #[pyo3(signature = (segment, name, create, raw))]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
        raw: bool,
    ) -> PyResult<HashMap> {
        let map = Map::open(py, segment, name, create, raw)?;
        Ok(HashMap { map, popping: popping::Popping::default() })
    }

    fn __iter__(&self) -> Items {
        self.iterate(What::Keys)
    }

    /// Iterates over the values.
    fn iter_values(&self) -> Items {
        self.iterate(What::Values)
    }

    /// Iterates over pairs of key and value, each pair as it was at one time.
    fn iter_items(&self) -> Items {
        self.iterate(What::Items)
    }
}
