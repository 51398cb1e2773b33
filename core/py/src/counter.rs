//! `_core.Counter`: a number that several processes count with.

use crate::attached::Attached;
use crate::segment::Segment;
use crate::{reading, small};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use std::sync::Arc;
use vasmem_engine::Kind;
use vasmem_structs::Counter as Structure;

/// A counter of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct Counter {
    attached: Arc<Attached>,
    structure: Structure,
    name: String,
}

impl Counter {
    fn number(&self, py: Python<'_>) -> PyResult<i64> {
        let counter = self.structure;
        self.attached.read(py, reading!(counter: Structure; i64; |access| counter.get(access)))
    }

    fn add(&self, py: Python<'_>, by: i128) -> PyResult<i64> {
        let sum = |old: i64| i64::try_from(i128::from(old) + by).ok();
        let new = self.attached.write(py, |tx| self.structure.renew(tx, sum))?;
        new.ok_or_else(|| {
            PyOverflowError::new_err(format!(
                "counter {:?} in segment {:?} and {by} make more than 64 bits hold: it was not \
                 changed",
                self.name, self.attached.name
            ))
        })
    }
}

#[pymethods]
impl Counter {
    #[new]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
    ) -> PyResult<Counter> {
        let attached = segment.get().attached.clone();
        let (root, _) = small::open(py, &attached, (&name, Kind::COUNTER, 0), create, |tx, id| {
            Structure::create(tx, &name, id, 0)
        })?;
        Ok(Counter { attached, structure: root.into(), name })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<i64> {
        self.number(py)
    }

    fn __int__(&self, py: Python<'_>) -> PyResult<i64> {
        self.number(py)
    }

    /// Adds `by`; the sum.
    #[pyo3(signature = (by=1, /))]
    fn incr(&self, py: Python<'_>, by: i64) -> PyResult<i64> {
        self.add(py, by.into())
    }

    /// Subtracts `by`; the difference.
    #[pyo3(signature = (by=1, /))]
    fn decr(&self, py: Python<'_>, by: i64) -> PyResult<i64> {
        self.add(py, -i128::from(by))
    }

    /// Makes it this number.
    #[pyo3(signature = (value, /))]
    fn set(&self, py: Python<'_>, value: i64) -> PyResult<()> {
        self.attached.write(py, |tx| self.structure.renew(tx, |_| Some(value))).map(|_| ())
    }

    /// Makes it `new` if it is `old`; whether it was.
    #[pyo3(signature = (old, new, /))]
    fn compare_and_set(&self, py: Python<'_>, old: i64, new: i64) -> PyResult<bool> {
        let set = |number| (number == old).then_some(new);
        Ok(self.attached.write(py, |tx| self.structure.renew(tx, set))?.is_some())
    }
}
