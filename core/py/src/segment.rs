//! `_core.Segment`: formatting, attaching, and what concerns all structures.

use crate::attached::{Attached, Engine};
use crate::emulation::{Model, emulate};
use crate::error::Kind as Exception;
use crate::lab::Tape;
use crate::raise::{Room, exception};
use crate::reading;
use crate::transaction::Way;
use crate::wait::{Detached, Waiter};
use crate::{info, leaving};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use vasmem_engine::directory::Named;
use vasmem_engine::layout::HEADER_BYTES;
use vasmem_engine::os::{OsHost, boot_id};
use vasmem_engine::{
    Error, Geometry, Holder, Invariant, Kind as EngineKind, Patience, Result as EngineResult,
    Segment as EngineSegment, directory, error, format,
};
use vasmem_memory::{Access, LockFile, MapError, Mapped, Medium, Memory};
use vasmem_structs::{Array, BTree, Counter, HashMap, Lock, Queue, TypedMap};

/// Flag of a hash map: bytes to bytes, nothing encoded.
pub const RAW: u8 = 1;
/// Flag of a hash map: keys alone, a set.
pub const SET: u8 = 2;
/// Lanes of a small segment.
const SMALL_LANES: u64 = 8;
/// Trees of more keys than this go some leaves at a time.
const AT_ONCE_MAX: u64 = 1 << 20;
/// Bytes to which a segment may be allowed to grow.
pub const MAX_SIZE_MAX: u64 = vasmem_engine::layout::SIZE_MAX / 2;

/// An attached segment.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Segment {
    /// What its handles share.
    pub attached: Arc<Attached>,
}

/// A duplicate of a descriptor that Python gave by number.
fn duplicate(fd: i32) -> PyResult<OwnedFd> {
    crate::descriptor::duplicate(fd).map_err(PyErr::from)
}

/// Maps `bytes` of a file.
///
/// # Errors
/// `VasmemError` where the system has no addresses for it.
pub fn map(fd: BorrowedFd<'_>, bytes: u64, access: Access) -> PyResult<Mapped> {
    map_as(fd, bytes, access, Medium::Volatile, false)
}

fn map_as(
    fd: BorrowedFd<'_>,
    bytes: u64,
    access: Access,
    medium: Medium,
    huge: bool,
) -> PyResult<Mapped> {
    let map = if huge { Mapped::map_huge } else { Mapped::map };
    map(fd, bytes, access, medium).map_err(unmapped)
}

fn unmapped(error: MapError) -> PyErr {
    Exception::VasmemError.error(format!("{error}: lower max_size, or ulimit -v"))
}

fn medium(flush: bool, eadr: bool) -> Medium {
    match (flush, eadr) {
        (false, _) => Medium::Volatile,
        (true, false) => Medium::CacheLine,
        (true, true) => Medium::Cache,
    }
}

/// Boot of the last writer: recovers where it was another one, and notes the present one.
fn enter(engine: &Engine, waiter: &mut Waiter<'_>) -> vasmem_engine::Result<()> {
    let boot = boot_id()?;
    let host = engine.host()?;
    let mut round = 0;
    while format::is_other_boot(&engine.memory, boot) {
        if host.attach(true)? {
            if format::is_other_boot(&engine.memory, boot) {
                engine.ensure_clean()?;
                engine.recover_power_failure()?;
                format::set_boot(&engine.memory, boot);
                if engine.marked {
                    engine.memory.sync()?;
                }
            }
            break;
        }
        waiter.pause(round, Holder::Attaching)?;
        round += 1;
    }
    while !host.attach(false)? {
        waiter.pause(round, Holder::Attaching)?;
        round += 1;
    }
    Ok(())
}

#[pymethods]
impl Segment {
    #[new]
    // Keywords of one call from Python.
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (fd, lock_fd, *, name, readonly, flush, marked, huge,
        eadr=false, media_fd=None, model=None, tape=None, guard=false))]
    fn new(
        py: Python<'_>,
        fd: i32,
        lock_fd: Option<i32>,
        name: String,
        readonly: bool,
        flush: bool,
        marked: bool,
        huge: bool,
        eadr: bool,
        media_fd: Option<i32>,
        model: Option<Model>,
        tape: Option<&Bound<'_, Tape>>,
        guard: bool,
    ) -> PyResult<Segment> {
        let fd = duplicate(fd)?;
        let raise = |error| exception(&name, None, error, None);
        let access = if readonly { Access::ReadOnly } else { Access::ReadWrite };
        let probe = map(fd.as_fd(), HEADER_BYTES, access)?;
        let geometry = loop {
            let bytes = probe.file_size()?;
            match format::open(&probe, bytes, !readonly) {
                // Others may have grown it since its size was asked for.
                Err(Error::Corrupted { invariant: Invariant::Mapping, .. })
                    if probe.file_size()? > bytes => {}
                done => break done.map_err(raise)?,
            }
        };
        drop(probe);
        let medium = medium(flush, eadr);
        let mut memory = map_as(fd.as_fd(), geometry.size_limit, access, medium, huge)?;
        if guard {
            memory.shut().map_err(unmapped)?;
        }
        if let Some(media_fd) = media_fd {
            emulate(&mut memory, &geometry, fd.as_fd(), media_fd, model)?;
        }
        if let Some(tape) = tape {
            memory.tap(Some(tape.get().recorder.clone()));
        }
        let mut host = None;
        match lock_fd {
            Some(lock_fd) if !readonly => {
                host = Some(OsHost::new(LockFile::open_through(duplicate(lock_fd)?.as_fd())?));
            }
            None if !readonly => {
                return Err(PyValueError::new_err("a writer needs the lock file: give lock_fd"));
            }
            _ => {}
        }
        let mut engine = EngineSegment::new(memory, host, geometry);
        engine.marked = marked;
        if readonly {
            if format::is_other_boot(&engine.memory, boot_id().map_err(raise)?) {
                engine.ensure_clean().map_err(raise)?;
                return Err(raise(Error::NeedsRecovery));
            }
        } else {
            let mut waiter = Waiter::new(py, 10.0);
            enter(&engine, &mut waiter)
                .map_err(|error| exception(&name, Some(&engine), error, waiter.raised.take()))?;
            format::set_home(&engine.memory, engine.memory.inode()?);
        }
        let attached = Arc::new(Attached::new(py, engine, name)?);
        if marked && !readonly {
            leaving::watch(py, &attached);
        }
        Ok(Segment { attached })
    }

    /// Makes a segment of an empty file. One that is `small` has few lanes, and all that is random
    /// in others follows from this seed.
    #[staticmethod]
    // Keywords of one call from Python.
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (fd, *, name, size, max_size, flush, marked, huge,
        media_fd=None, model=None, small=None))]
    fn format(
        fd: i32,
        name: &str,
        size: u64,
        max_size: u64,
        flush: bool,
        marked: bool,
        huge: bool,
        media_fd: Option<i32>,
        model: Option<Model>,
        small: Option<u64>,
    ) -> PyResult<()> {
        let mut random = [0; 24];
        match small {
            Some(seed) => random[..8].copy_from_slice(&seed.to_le_bytes()),
            None => getrandom(&mut random)?,
        }
        let (seed, uuid) = random.split_at(8);
        let seed = u64::from_le_bytes(seed.try_into()?);
        if max_size > MAX_SIZE_MAX || size > max_size {
            return Err(PyValueError::new_err(format!(
                "size {size} and max_size {max_size} bytes: size must not be above max_size, nor \
                 max_size above {MAX_SIZE_MAX}"
            )));
        }
        let least = 4 * vasmem_engine::layout::GRANULE;
        let max_size = max_size.max(least).next_multiple_of(vasmem_engine::layout::GRANULE);
        let mut geometry = Geometry::new(max_size, seed, uuid.try_into()?);
        if small.is_some() {
            geometry.lanes = SMALL_LANES;
            geometry.heap_at = geometry.lanes_at + SMALL_LANES * geometry.lane_bytes;
            geometry.size_limit = geometry.heap_at + max_size;
            geometry.directory_at = geometry.region(0).data_at();
        }
        let (header, end) = format::first_bytes(&geometry, size);
        let fd = duplicate(fd)?;
        let (access, medium) = (Access::ReadWrite, medium(flush, false));
        let mut memory = map_as(fd.as_fd(), geometry.size_limit, access, medium, huge)?;
        if let Some(media_fd) = media_fd {
            emulate(&mut memory, &geometry, fd.as_fd(), media_fd, model)?;
        }
        let free_bytes = memory.free_bytes();
        let full = |error: std::io::Error| {
            if !error::is_out_of_space(&error) {
                return PyErr::from(error);
            }
            let room = Room {
                needed_bytes: end - geometry.heap_at + header,
                size_bytes: 0,
                max_bytes: max_size,
                free_bytes,
            };
            room.full(name, Some(error.kind()))
        };
        Memory::allocate(&memory, 0, header).map_err(full)?;
        Memory::allocate(&memory, geometry.heap_at, end - geometry.heap_at).map_err(full)?;
        let boot = boot_id().map_err(|error| exception("", None, error, None))?;
        format::create(&memory, &geometry, end, boot);
        format::set_home(&memory, memory.inode()?);
        if marked {
            format::mark(&memory).map_err(|error| exception("", None, error, None))?;
        }
        Ok(())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.attached.name
    }

    #[getter]
    fn uuid<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.attached.engine.geometry.uuid)
    }

    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.attached.ensure_here()?;
        Ok(self.attached.engine.backed() - self.attached.engine.geometry.heap_at)
    }

    #[getter]
    fn max_size(&self) -> u64 {
        let geometry = &self.attached.engine.geometry;
        geometry.size_limit - geometry.heap_at
    }

    #[getter]
    fn used(&self) -> PyResult<u64> {
        self.attached.ensure_here()?;
        Ok(self.attached.engine.used_bytes())
    }

    #[getter]
    fn readonly(&self) -> bool {
        self.attached.engine.host.is_none()
    }

    /// Whether it can be written only inside of operations.
    #[getter]
    fn guard(&self) -> bool {
        self.attached.engine.memory.is_shut()
    }

    #[getter]
    fn timeout(&self) -> f64 {
        self.attached.timeout_s()
    }

    #[setter]
    fn set_timeout(&self, seconds: f64) -> PyResult<()> {
        if seconds.is_nan() || seconds < 0.0 {
            let text = format!("a timeout of {seconds} s: give seconds, 0 or more");
            return Err(PyValueError::new_err(text));
        }
        self.attached.set_timeout_s(seconds);
        Ok(())
    }

    /// Names and kinds of the structures.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<(String, String)>> {
        let first = self.attached.engine.geometry.directory_at;
        let list = self.attached.read(
            py,
            reading!(first: u64; Vec<(directory::Named, u64)>; |access| {
                directory::list(access, *first)
            }),
        )?;
        Ok(list
            .into_iter()
            .map(|(named, _)| (named.name, kind_name(named.kind, named.flags).to_owned()))
            .collect())
    }

    /// Removes a structure and all that is in it.
    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let first = self.attached.engine.geometry.directory_at;
        if !self.attached.is_inside(py)? {
            self.attached.detached(py, |engine, patience| {
                let found = engine.read(patience, |peek| directory::find(peek, first, name))?;
                let is_tree = |named: &directory::Named| {
                    matches!(named.kind, EngineKind::TREE_HEADER | EngineKind::TYPED_TREE)
                };
                match found.filter(is_tree) {
                    Some(named) => empty_large(engine, patience, &named),
                    None => Ok(()),
                }
            })?;
        }
        let found = self.attached.write(py, |tx| {
            let Some(named) = directory::find(tx, first, name)? else { return Ok(false) };
            match named.kind {
                EngineKind::TREE_HEADER | EngineKind::TYPED_TREE => {
                    BTree::of(tx, &named)?.remove(tx, name)?;
                }
                EngineKind::ARRAY => Array::of(tx, &named)?.remove(tx, name)?,
                EngineKind::LOCK => Lock::of(tx, &named)?.remove(tx, name)?,
                EngineKind::QUEUE_HEADER => Queue::of(tx, &named)?.remove(tx, name)?,
                EngineKind::COUNTER => Counter::of(tx, &named)?.remove(tx, name)?,
                EngineKind::TYPED => TypedMap::of(tx, &named)?.remove(tx, name)?,
                _ => HashMap::of(tx, &named)?.remove(tx, name)?,
            }
            Ok(true)
        })?;
        if found { Ok(()) } else { Err(PyKeyError::new_err(name.to_owned())) }
    }

    /// All that breaks an invariant: (number, place, text).
    fn check(&self, py: Python<'_>) -> PyResult<Vec<(u16, String, String)>> {
        self.attached.ensure_open()?;
        let mut waiter = Waiter::new(py, self.attached.timeout_s());
        let mut round = 0;
        let violations = loop {
            match vasmem_structs::check::check(&self.attached.engine, &mut waiter) {
                Err(Error::Conflict) => {
                    if let Err(error) = waiter.pause(round, Holder::Conflicts) {
                        break Err(error);
                    }
                    round += 1;
                }
                done => break done,
            }
        };
        let violations =
            violations.map_err(|error| self.attached.raise(error, waiter.raised.take()))?;
        Ok(violations
            .into_iter()
            .map(|v| (v.invariant as u16, format!("offset {}", v.at), v.text))
            .collect())
    }

    /// pids that own lanes.
    fn writers(&self) -> PyResult<std::collections::BTreeSet<u32>> {
        self.attached.ensure_open()?;
        Ok(info::owners(&self.attached))
    }

    /// Facts for people.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let lanes = info::lanes(py, &self.attached)?;
        let owners = info::owners(&self.attached);
        let info = PyDict::new(py);
        info.set_item("size", self.size()?)?;
        info.set_item("max_size", self.max_size())?;
        info.set_item("used", self.used()?)?;
        info.set_item("incarnation", self.attached.engine.incarnation())?;
        info.set_item("structures", info::structures(py, &self.attached)?)?;
        info.set_item("heap", info::heap(py, &self.attached)?)?;
        info.set_item("lanes_used", self.attached.engine.lanes_used())?;
        info.set_item("lanes", lanes)?;
        info.set_item("attached", owners.len())?;
        info.set_item("writers", owners)?;
        Ok(info)
    }

    /// Where the mapping begins in this process.
    #[getter]
    fn base_address(&self) -> usize {
        self.attached.engine.memory.base_address()
    }

    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.attached.sync(py)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut waiter = Detached::new(self.attached.timeout_s());
        py.detach(|| self.attached.close(&mut waiter))
            .map_err(|error| self.attached.raise(error, waiter.raised.take()))
    }

    /// Begins a transaction in this context, "alone", "optimistic" or "reading".
    #[pyo3(signature = (way, timeout=None))]
    fn begin(&self, py: Python<'_>, way: &str, timeout: Option<f64>) -> PyResult<()> {
        self.attached.begin(py, Way::of(way)?, timeout)
    }

    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        self.attached.finish(py, true).map(|_| ())
    }

    /// Ends it with nothing written; whether all that it has read is still so.
    fn rollback(&self, py: Python<'_>) -> PyResult<bool> {
        self.attached.finish(py, false)
    }

    /// Whether the running context is inside a transaction.
    fn in_transaction(&self, py: Python<'_>) -> PyResult<bool> {
        self.attached.is_inside(py)
    }
}

/// Empties a tree, some leaves at a time, if it is too large to go in one transaction.
fn empty_large(engine: &Engine, patience: &mut Detached, named: &Named) -> EngineResult<()> {
    let tree = engine.read(patience, |peek| BTree::of(peek, named))?;
    if engine.read(patience, |peek| tree.len(peek))? <= AT_ONCE_MAX {
        return Ok(());
    }
    let mut from = Some(Vec::new());
    while let Some(key) = from {
        patience.begin()?;
        from = engine.write(patience, |tx| tree.clear_from(tx, &key))?;
    }
    Ok(())
}

/// What Python calls a structure of that kind.
pub fn kind_name(kind: EngineKind, flags: u8) -> &'static str {
    match kind {
        EngineKind::HASH_HEADER if flags == SET | RAW => "set raw",
        EngineKind::HASH_HEADER if flags & SET != 0 => "set",
        EngineKind::HASH_HEADER if flags & RAW != 0 => "hashmap raw",
        EngineKind::HASH_HEADER => "hashmap",
        EngineKind::TREE_HEADER if flags & RAW != 0 => "btree raw",
        EngineKind::TREE_HEADER => "btree",
        EngineKind::TYPED_TREE => "btree typed",
        EngineKind::ARRAY => "array",
        EngineKind::COUNTER => "counter",
        EngineKind::TYPED => "hashmap typed",
        EngineKind::LOCK => "lock",
        EngineKind::QUEUE_HEADER if flags & RAW != 0 => "queue raw",
        EngineKind::QUEUE_HEADER => "queue",
        _ => "unknown",
    }
}

/// Fills `bytes` with randomness from the system.
fn getrandom(bytes: &mut [u8]) -> PyResult<()> {
    let mut done = 0;
    while done < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        done += rustix::rand::getrandom(&mut bytes[done..], flags)
            .map_err(|errno| PyErr::from(std::io::Error::from(errno)))?;
    }
    Ok(())
}

/// The identity of a new structure.
pub fn random_id() -> PyResult<u64> {
    let mut random = [0; 8];
    getrandom(&mut random)?;
    Ok(u64::from_le_bytes(random))
}
