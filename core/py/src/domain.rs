//! `_core.Domain` and `_core.Switch`: which threads may touch which segments.

use crate::error::Kind as Exception;
use crate::segment::Segment;
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks whether a protection key became free.
const PAUSE: Duration = Duration::from_millis(1);

/// Segments that only threads inside may touch.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Domain {
    inner: Arc<vasmem_memory::Domain>,
}

/// Whether processor and system have protection keys.
#[pyfunction]
pub fn has_keys() -> bool {
    vasmem_memory::has_keys()
}

impl Domain {
    fn enter_within(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let begin = Instant::now();
        while !self.inner.enter()? {
            if begin.elapsed().as_secs_f64() >= seconds {
                let text = "threads are inside of as many VASes as the processor has protection \
                            keys, and stay there: switch out of some";
                return Err(Exception::LockTimeout.error(text.to_owned()));
            }
            py.detach(|| std::thread::sleep(PAUSE));
            py.check_signals()?;
        }
        Ok(())
    }
}

#[pymethods]
impl Domain {
    #[new]
    fn new(by_keys: bool) -> Domain {
        let by_keys = by_keys && vasmem_memory::has_keys();
        Domain { inner: vasmem_memory::Domain::new(by_keys) }
    }

    /// Takes a segment in. Raises OSError.
    fn adopt(&self, segment: &Segment) -> PyResult<()> {
        Ok(segment.attached.join(&self.inner)?)
    }

    /// Whether this thread may touch its segments.
    fn is_inside(&self) -> bool {
        self.inner.is_inside()
    }

    /// Whether this thread entered it last.
    fn is_current(&self) -> bool {
        self.inner.is_current()
    }
}

/// A context manager whose block runs inside of a domain; any number of times.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Switch {
    domain: Py<Domain>,
    space: Py<PyAny>,
    timeout_s: f64,
}

#[pymethods]
impl Switch {
    #[new]
    fn new(domain: Py<Domain>, space: Py<PyAny>, timeout: f64) -> Switch {
        Switch { domain, space, timeout_s: timeout }
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.domain.get().enter_within(py, self.timeout_s)?;
        Ok(self.space.clone_ref(py))
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.domain.get().inner.leave() {
            return Ok(());
        }
        let text = "this thread is not switched in here, or in another VAS after it: leave them in \
                    the opposite order, and in the thread that entered";
        Err(Exception::VasmemError.error(text.to_owned()))
    }
}
