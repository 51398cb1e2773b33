//! `_core.Queue`: items that processes hand to each other, each to one.

use crate::attached::Attached;
use crate::error::Kind as Exception;
use crate::nap::{Nap, thread};
use crate::segment::{RAW, Segment};
use crate::{reading, small, value};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyType};
use std::sync::Arc;
use vasmem_engine::{Kind, Owner};
use vasmem_structs::Queue as Structure;
use vasmem_structs::queue::{SIZE_MAX, Take, Taken};

/// Items of one transaction of a call for many.
const ITEMS_MAX: usize = 256;

/// A queue of an attached segment.
#[pyclass(frozen, subclass, module = "vasmem._core")]
pub struct Queue {
    attached: Arc<Attached>,
    structure: Structure,
    name: String,
    raw: bool,
}

/// An item that was taken, and its position.
type Item<'py> = (Bound<'py, PyAny>, u64);

impl Queue {
    fn encode(&self, item: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        if !self.raw {
            let mut document = Vec::new();
            value::encode(item, &mut document)?;
            return Ok(document);
        }
        match item.cast::<PyBytes>() {
            Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
            Err(_) => Err(Exception::WrongType.error(format!(
                "an item of a raw queue must be bytes, not {}: pass bytes(...), or open one that \
                 is not raw",
                item.get_type().name()?
            ))),
        }
    }

    fn decode<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if self.raw { Ok(PyBytes::new(py, bytes).into_any()) } else { value::decode(py, bytes) }
    }

    /// `queue.Full` or `queue.Empty`.
    fn none(&self, py: Python<'_>, class: &str, text: &str) -> PyResult<PyErr> {
        let class = py.import("queue")?.getattr(class)?.cast_into::<PyType>()?;
        let text = format!("queue {:?} of segment {:?} {text}", self.name, self.attached.name);
        Ok(PyErr::from_type(class, text))
    }

    /// Puts all of these, or as many as there is room for until the time is up; how many.
    fn put_all(
        &self,
        py: Python<'_>,
        items: &[Vec<u8>],
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        let mut nap = Nap::new(timeout)?;
        let queue = self.structure;
        let mut done = 0;
        loop {
            let seen = (queue.departures(), self.attached.version_of(queue.departures()));
            let some = &items[done..items.len().min(done + ITEMS_MAX)];
            let count = self.attached.write(py, |tx| {
                for (count, item) in some.iter().enumerate() {
                    if !queue.put(tx, item)? {
                        return Ok(count);
                    }
                }
                Ok(some.len())
            })?;
            done += count;
            if count != 0 {
                self.attached.wake(py, queue.arrivals(), count as u32)?;
            }
            let is_full = count < some.len();
            if done == items.len() || is_full && !block {
                return Ok(done);
            }
            if is_full && !nap.sleep(py, &self.attached, seen)? {
                return Ok(done);
            }
            py.check_signals()?;
        }
    }

    /// Takes up to `max` items, at least one of them or `queue.Empty`.
    fn take_some<'py>(
        &self,
        py: Python<'py>,
        max: usize,
        (block, timeout, ack): (bool, Option<f64>, bool),
    ) -> PyResult<Vec<Item<'py>>> {
        let how = if ack { Take::OnLease { thread: thread() } } else { Take::AtOnce };
        if ack && self.attached.is_inside(py)? {
            return Err(Exception::VasmemError.error(
                "a lease cannot begin inside a transaction, which gives back what it took if it is \
                 undone: give ack=False",
            ));
        }
        let mut nap = Nap::new(timeout)?;
        let queue = self.structure;
        loop {
            let seen = (queue.arrivals(), self.attached.version_of(queue.arrivals()));
            let mut bytes = Vec::new();
            let buffer = &mut bytes;
            let found: Vec<Taken> = self.attached.write(py, |tx| {
                buffer.clear();
                let mut found = Vec::new();
                while found.len() < max.min(ITEMS_MAX) {
                    let Some(taken) = queue.take(tx, how, buffer)? else { break };
                    found.push(taken);
                }
                Ok(found)
            })?;
            if !found.is_empty() {
                self.attached.wake(py, queue.departures(), found.len() as u32)?;
                let item =
                    |Taken { position, item }| Ok((self.decode(py, &bytes[item])?, position));
                return found.into_iter().map(item).collect();
            }
            if !block || !nap.sleep(py, &self.attached, seen)? {
                return Err(self.none(py, "Empty", "has no item")?);
            }
        }
    }

    fn counts(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let queue = self.structure;
        let (mut ready, owners) = self.attached.read(
            py,
            reading!(queue: Structure; (u64, Vec<Option<Owner>>); |access| queue.counts(access)),
        )?;
        let mut leased = 0;
        for owner in owners {
            let gone = owner.map_or(Ok(true), |owner| self.attached.engine.is_gone(owner));
            match gone.map_err(|error| self.attached.raise(error, None))? {
                true => ready += 1,
                false => leased += 1,
            }
        }
        Ok((ready, leased))
    }
}

#[pymethods]
impl Queue {
    #[new]
    fn new(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        maxsize: Option<u64>,
        raw: bool,
        create: bool,
    ) -> PyResult<Queue> {
        if maxsize.is_some_and(|size| !(1..=SIZE_MAX).contains(&size)) {
            let text = format!("maxsize of a queue is a number from 1 to {SIZE_MAX}");
            return Err(PyValueError::new_err(text));
        }
        let attached = segment.get().attached.clone();
        let wants = if raw { RAW } else { 0 };
        let (size, place) = (maxsize.unwrap_or(0), (name.as_str(), Kind::QUEUE_HEADER, wants));
        let may_create = create && maxsize.is_some();
        let (root, flags) = small::open(py, &attached, place, may_create, |tx, id| {
            Structure::create(tx, (&name, wants), id, size)
        })?;
        let structure = attached.read(
            py,
            reading!(root: vasmem_structs::Root; Structure; |access| Structure::at(access, *root)),
        )?;
        if flags != wants {
            let (is, option) = if raw { ("not raw", "False") } else { ("raw", "True") };
            return Err(Exception::WrongType.error(format!(
                "queue {name:?} in segment {:?} is {is}: open it with raw={option}",
                attached.name
            )));
        }
        if maxsize.is_some_and(|size| size != structure.size) {
            return Err(PyValueError::new_err(format!(
                "queue {name:?} in segment {:?} is there with maxsize {}: open it with that, or \
                 without one",
                attached.name, structure.size
            )));
        }
        Ok(Queue { attached, structure, name, raw })
    }

    #[classmethod]
    fn __class_getitem__(cls: &Bound<'_, PyType>, item: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let alias = cls.py().import("types")?.getattr("GenericAlias")?;
        Ok(alias.call1((cls, item))?.unbind())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn raw(&self) -> bool {
        self.raw
    }

    #[getter]
    fn maxsize(&self) -> u64 {
        self.structure.size
    }

    #[pyo3(signature = (item, block=true, timeout=None))]
    fn put(
        &self,
        py: Python<'_>,
        item: &Bound<'_, PyAny>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        match self.put_all(py, &[self.encode(item)?], block, timeout)? {
            0 => Err(self.none(py, "Full", "is full")?),
            _ => Ok(()),
        }
    }

    /// Puts items in their order; how many were put.
    #[pyo3(signature = (items, block=true, timeout=None))]
    fn put_many(
        &self,
        py: Python<'_>,
        items: &Bound<'_, PyAny>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        let items: PyResult<Vec<_>> = items.try_iter()?.map(|item| self.encode(&item?)).collect();
        let items = items?;
        match self.put_all(py, &items, block, timeout)? {
            0 if !items.is_empty() => Err(self.none(py, "Full", "is full")?),
            count => Ok(count),
        }
    }

    #[pyo3(signature = (block=true, timeout=None, *, ack=true))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        block: bool,
        timeout: Option<f64>,
        ack: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.take_some(py, 1, (block, timeout, ack))?.swap_remove(0).0)
    }

    /// Takes one item or more.
    #[pyo3(signature = (max, block=true, timeout=None, *, ack=true))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        max: usize,
        block: bool,
        timeout: Option<f64>,
        ack: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        if max == 0 {
            return Err(PyValueError::new_err("get_many() takes one item or more, max is 0"));
        }
        let items = self.take_some(py, max, (block, timeout, ack))?;
        PyList::new(py, items.into_iter().map(|(item, _)| item))
    }

    /// Takes an item on lease; the item and the number of the lease.
    fn lease<'py>(
        &self,
        py: Python<'py>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<Item<'py>> {
        Ok(self.take_some(py, 1, (block, timeout, true))?.swap_remove(0))
    }

    /// Ends that lease of this thread, or its oldest one; false if there is none.
    #[pyo3(signature = (lease=None))]
    fn done(&self, py: Python<'_>, lease: Option<u64>) -> PyResult<bool> {
        self.attached.write(py, |tx| self.structure.done(tx, thread(), lease))
    }

    /// Gives the item of that lease of this thread back, or of its oldest one; false if there is
    /// none.
    #[pyo3(signature = (lease=None))]
    fn give_back(&self, py: Python<'_>, lease: Option<u64>) -> PyResult<bool> {
        let given = self.attached.write(py, |tx| self.structure.give_back(tx, thread(), lease))?;
        if given {
            self.attached.wake(py, self.structure.arrivals(), 1)?;
        }
        Ok(given)
    }

    /// Items that wait for somebody.
    fn qsize(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.counts(py)?.0)
    }

    /// Whether there is no room for an item.
    fn full(&self, py: Python<'_>) -> PyResult<bool> {
        let queue = self.structure;
        self.attached.read(
            py,
            reading!(queue: Structure; bool; |access| Ok(queue.counts(access)?.0 == queue.size)),
        )
    }

    /// Items that somebody has on lease.
    #[getter]
    fn leased(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.counts(py)?.1)
    }

    /// All items in their order, those on lease first.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let queue = self.structure;
        let items = self
            .attached
            .read(py, reading!(queue: Structure; Vec<Vec<u8>>; |access| queue.items(access)))?;
        let items: PyResult<Vec<_>> = items.iter().map(|item| self.decode(py, item)).collect();
        PyList::new(py, items?)
    }
}
