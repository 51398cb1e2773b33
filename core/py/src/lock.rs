//! `_core.Lock`: a lock between processes that outlives whoever has it.

use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::nap::{Nap, thread};
use crate::raise::command;
use crate::segment::Segment;
use crate::{reading, small};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vasmem_engine::{Error, Holder, Kind, Owner};
use vasmem_structs::Lock as Structure;
use vasmem_structs::lock::Attempt;

/// A lock of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct Lock {
    attached: Arc<Attached>,
    structure: Structure,
    name: String,
    abandoned: AtomicBool,
}

impl Lock {
    fn owner(&self, py: Python<'_>) -> PyResult<Option<Owner>> {
        let lock = self.structure;
        let owner = self
            .attached
            .read(py, reading!(lock: Structure; Option<Owner>; |access| lock.owner(access)))?;
        let Some(owner) = owner else { return Ok(None) };
        let gone = self.attached.engine.is_gone(owner);
        let gone = gone.map_err(|error| self.attached.raise(error, None))?;
        Ok((!gone).then_some(owner))
    }

    fn ensure_outside(&self, py: Python<'_>, what: &str) -> PyResult<()> {
        if !self.attached.is_inside(py)? {
            return Ok(());
        }
        Err(Exception::VasmemError.error(format!(
            "lock {:?} cannot be {what} inside a transaction, which others see only when it has \
             committed: take it before, and release it after",
            self.name
        )))
    }

    /// One attempt; who has it, if it is not this thread now.
    fn attempt(&self, py: Python<'_>) -> PyResult<Option<Owner>> {
        match self.attached.write(py, |tx| self.structure.acquire(tx, thread()))? {
            Attempt::Taken { abandoned } => {
                self.abandoned.store(abandoned, Relaxed);
                Ok(None)
            }
            Attempt::Held(owner) => Ok(Some(owner)),
            Attempt::Mine => Err(Exception::VasmemError.error(format!(
                "this thread has lock {:?} of segment {:?} already: it cannot be taken twice",
                self.name, self.attached.name
            ))),
        }
    }
}

#[pymethods]
impl Lock {
    #[new]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        create: bool,
    ) -> PyResult<Lock> {
        let attached = segment.get().attached.clone();
        let (root, _) = small::open(py, &attached, (&name, Kind::LOCK, 0), create, |tx, id| {
            Structure::create(tx, &name, id)
        })?;
        Ok(Lock { attached, structure: root.into(), name, abandoned: AtomicBool::new(false) })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Takes the lock; false if `timeout` seconds were not enough, or it was not to wait.
    #[pyo3(signature = (blocking=true, timeout=None))]
    fn acquire(&self, py: Python<'_>, blocking: bool, timeout: Option<f64>) -> PyResult<bool> {
        self.ensure_outside(py, "taken")?;
        let timeout_s = match (blocking, timeout) {
            (false, Some(_)) => {
                let text = "a timeout for a call that does not wait: give one of both";
                return Err(PyValueError::new_err(text));
            }
            (false, None) => Some(0.0),
            (true, Some(-1.0)) => None,
            (true, None) => Some(self.attached.timeout_s()),
            (true, timeout) => timeout,
        };
        let mut nap = Nap::new(timeout_s)?;
        loop {
            let node = self.structure.node();
            let seen = (node, self.attached.version_of(node));
            let Some(owner) = self.attempt(py)? else { return Ok(true) };
            if !nap.sleep(py, &self.attached, seen)? {
                if blocking && timeout.is_none() {
                    let waited_for = Holder::Keeper(owner.lane);
                    return Err(self.attached.raise(Error::Timeout { waited_for }, None));
                }
                return Ok(false);
            }
        }
    }

    /// Gives the lock back, which this thread must have.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.ensure_outside(py, "released")?;
        if !self.attached.write(py, |tx| self.structure.release(tx, thread()))? {
            return Err(Exception::VasmemError.error(format!(
                "this thread does not have lock {:?} of segment {:?}: only who took it can \
                 release it",
                self.name, self.attached.name
            )));
        }
        self.attached.wake(py, self.structure.node(), 1)
    }

    /// Whether somebody has it who is alive.
    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.owner(py)?.is_some())
    }

    /// pid and command of the process that has it.
    #[getter]
    fn holder(&self, py: Python<'_>) -> PyResult<Option<(u32, Option<String>)>> {
        let pid = self.owner(py)?.map(|owner| self.attached.engine.owner_pid(owner.lane));
        Ok(pid.map(|pid| (pid, command(pid))))
    }

    /// Whether the last one to have it before this process died with it.
    #[getter]
    fn abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }
}
