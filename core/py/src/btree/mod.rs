//! `_core.BTree`: the operations of a dict, and those that know an order.

mod batch;
mod cursor;
mod iterate;
mod order;
mod typed;

pub use cursor::Cursor;
pub use iterate::Sorted;

use crate::map::Map;
use crate::map_methods;
use crate::segment::Segment;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple, PyType};
use std::sync::Arc;
use vasmem_structs::BTree as Structure;

/// A tree, and what it is a part of.
type Tree = Map<Structure>;
/// The bytes of a key and of its value.
type Item = (Vec<u8>, Vec<u8>);

/// A B-tree of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct BTree {
    map: Arc<Tree>,
}

map_methods!(BTree);

#[pymethods]
impl BTree {
    #[new]
    #[pyo3(signature = (segment, name, create, raw, typed=None))]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
        raw: bool,
        typed: Option<(Option<typed::MadeWith>, Bound<'_, PyAny>)>,
    ) -> PyResult<BTree> {
        let map = match typed {
            Some((made_with, types_of)) => {
                Tree::open_typed(py, segment, name, made_with, &types_of)?
            }
            None => Map::open(py, segment, name, create, raw)?,
        };
        Ok(BTree { map: Arc::new(map) })
    }
}
