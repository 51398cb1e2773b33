//! `_core.Tape`: what happened to the memory of a segment, in order.

use super::{GROWTH, MARK, pack};
use crate::nap::thread;
use crate::segment::Segment;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::process::{Signal, getpid, kill_process};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vasmem_faults::words;
use vasmem_memory::{CACHE_LINE, Offset, Tap};

/// What is on the tape, and what is to happen at some point of it.
#[derive(Default)]
struct Reel {
    /// Kind, site, place, value or length; bytes stand apart, from that many on.
    entries: Vec<(u32, u32, Offset, u64)>,
    bytes: Vec<u8>,
    site: u32,
    stores: u64,
    /// Who was first to change anything, and whether others were, too: a fence drains the flushes
    /// of its own thread alone, so that one order of all of them would promise too much.
    thread: Option<u64>,
    threads: bool,
    /// Ends the process after so many stores.
    kill_at: Option<u64>,
    /// So many more times there is room.
    growths_left: Option<u64>,
}

/// The tap of a tape.
#[derive(Default)]
pub struct Recorder(Mutex<Reel>);

impl Recorder {
    fn reel(&self) -> MutexGuard<'_, Reel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For what this thread does to the memory.
    fn turning(&self) -> MutexGuard<'_, Reel> {
        let mut reel = self.reel();
        let here = thread();
        reel.threads |= *reel.thread.get_or_insert(here) != here;
        reel
    }

    fn stored(&self, kind: u32, at: Offset, bytes: &[u8]) {
        let mut reel = self.turning();
        let site = reel.site;
        reel.entries.push((kind, site, at, bytes.len() as u64));
        reel.bytes.extend_from_slice(bytes);
        reel.stores += 1;
        if Some(reel.stores) == reel.kill_at {
            // It does not return; if it did, the process would merely live on.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

impl Tap for Recorder {
    fn store(&self, at: Offset, bytes: &[u8]) {
        self.stored(0, at, bytes);
    }

    fn stream(&self, at: Offset, bytes: &[u8]) {
        self.stored(1, at, bytes);
        self.flush(at, bytes.len() as u64);
    }

    fn flush(&self, at: Offset, len: u64) {
        if len > 0 {
            let mut reel = self.turning();
            let site = reel.site;
            let start = at & !(CACHE_LINE - 1);
            let len = (at + len - start).next_multiple_of(CACHE_LINE);
            reel.entries.push((2, site, start, len));
        }
    }

    fn fence(&self) {
        let mut reel = self.turning();
        let site = reel.site;
        reel.entries.push((3, site, 0, 0));
    }

    fn allocate(&self, at: Offset, len: u64) -> io::Result<()> {
        let mut reel = self.turning();
        match &mut reel.growths_left {
            Some(0) => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Some(left) => *left -= 1,
            None => {}
        }
        let site = reel.site;
        reel.entries.push((GROWTH, site, at, len));
        Ok(())
    }
}

/// Records what this process does to the memory of a segment.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Tape {
    /// The tap that fills it.
    pub recorder: Arc<Recorder>,
}

#[pymethods]
impl Tape {
    #[new]
    #[pyo3(signature = (*, kill_at=None, growths_left=None))]
    fn new(kill_at: Option<u64>, growths_left: Option<u64>) -> Tape {
        let reel = Reel { kill_at, growths_left, ..Reel::default() };
        Tape { recorder: Arc::new(Recorder(Mutex::new(reel))) }
    }

    /// Stores so far.
    #[getter]
    fn stores(&self) -> u64 {
        self.recorder.reel().stores
    }

    /// What follows is done there.
    fn at_site(&self, site: u32) {
        self.recorder.reel().site = site;
    }

    /// Notes a point of the caller's own.
    fn mark(&self, number: u64) {
        let mut reel = self.recorder.reel();
        let site = reel.site;
        reel.entries.push((MARK, site, number, 0));
    }

    /// Forgets everything, and how many stores there were.
    fn clear(&self) {
        let mut reel = self.recorder.reel();
        reel.entries.clear();
        reel.bytes.clear();
        reel.stores = 0;
        (reel.thread, reel.threads) = (None, false);
    }

    /// All events, 24 bytes each, stores word by word; what else the words hold is in `base`.
    /// Raises RuntimeError if they are of several threads.
    fn events<'py>(
        &self,
        py: Python<'py>,
        base: &Bound<'_, PyBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let base = base.as_bytes();
        let first = |at: Offset| {
            let word = usize::try_from(at).ok().and_then(|at| base.get(at..at + 8));
            word.and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        let reel = self.recorder.reel();
        if reel.threads {
            let text = "several threads changed the segment while it was recorded; a fence drains \
                        the flushes of its own thread alone, so that their crashes cannot be told \
                        from one order: let one thread do it";
            return Err(PyRuntimeError::new_err(text));
        }
        let (mut latest, mut packed, mut from) = (HashMap::new(), Vec::new(), 0);
        for &(kind, site, at, value) in &reel.entries {
            if kind > 1 {
                pack(kind, site, at, value, &mut packed);
                continue;
            }
            let bytes = &reel.bytes[from..from + value as usize];
            from += bytes.len();
            let cell = std::cell::RefCell::new(&mut latest);
            let get = |at| cell.borrow().get(&at).copied().unwrap_or_else(|| first(at));
            words(at, bytes, get, |at, word| {
                cell.borrow_mut().insert(at, word);
                pack(kind, site, at, word, &mut packed);
            });
        }
        Ok(PyBytes::new(py, &packed))
    }
}

#[pymethods]
impl Segment {
    /// Puts a tape in, or takes it out.
    #[pyo3(signature = (tape))]
    fn tap(&self, tape: Option<&Bound<'_, Tape>>) -> PyResult<()> {
        self.attached.ensure_open()?;
        let tap = tape.map(|tape| tape.get().recorder.clone() as Arc<dyn Tap>);
        self.attached.engine.memory.tap(tap);
        Ok(())
    }
}
