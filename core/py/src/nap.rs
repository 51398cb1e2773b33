//! Waits of locks and queues for what a person or program does, which may last for hours.
//!
//! Who waits loads a node's version word, looks whether there is what it waits for, and then sleeps
//! unless the word has changed. Whoever changes the node wakes after the commit, which moved the
//! word; so no wake-up falls between the look and the sleep. One who is killed before it wakes
//! makes the others late: no sleep is longer than `LONGEST`.

use crate::attached::Attached;
use crate::error::Kind as Exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::cell::Cell;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use vasmem_engine::Offset;
use vasmem_memory::Memory;

/// Sleeps grow from the first to the last: so late is the death of an owner noticed.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);
/// Pause where a commit is under way.
const MOMENT: Duration = Duration::from_micros(50);

/// One wait, of several sleeps.
pub struct Nap {
    until: Option<Instant>,
    next: Duration,
}

impl Nap {
    /// A wait of so many seconds, or without an end.
    ///
    /// # Errors
    /// `ValueError` for less than none.
    pub fn new(timeout_s: Option<f64>) -> PyResult<Nap> {
        let timeout = match timeout_s {
            Some(seconds) if seconds.is_nan() || seconds < 0.0 => {
                let text = format!("a timeout of {seconds} s: give seconds, 0 or more, or None");
                return Err(PyValueError::new_err(text));
            }
            // What no clock can count is without an end.
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None => None,
        };
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Nap { until, next: SHORTEST })
    }

    /// Sleeps while the version word of `node` is `seen`, other threads run meanwhile; false if the
    /// time is up.
    ///
    /// # Errors
    /// What a signal handler raises; `VasmemError` inside a transaction.
    pub fn sleep(
        &mut self,
        py: Python<'_>,
        attached: &Attached,
        (node, seen): (Offset, u64),
    ) -> PyResult<bool> {
        if attached.is_inside(py)? {
            return Err(Exception::VasmemError.error(
                "this would wait for others inside a transaction, for which they may have to wait: \
                 wait before it begins, or give block=False",
            ));
        }
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(false);
        }
        let is_locked = seen & 1 != 0;
        let pause = if is_locked { MOMENT } else { self.next };
        let pause = pause.min(left.unwrap_or(LONGEST));
        py.detach(|| match is_locked {
            true => std::thread::sleep(pause),
            false => attached.engine.memory.wait_while(node, seen, pause),
        });
        self.next = (self.next * 2).min(LONGEST);
        py.check_signals()?;
        Ok(true)
    }
}

/// Nodes to wake when a transaction has committed.
#[derive(Default)]
pub struct Wakes(Mutex<Vec<(Offset, u32)>>);

impl Attached {
    /// Version word of a node that an operation has looked at before.
    pub fn version_of(&self, node: Offset) -> u64 {
        Memory::load(&self.engine.memory, node, Acquire)
    }

    /// Wakes those that wait for a node to change, which it just did; inside a transaction it has
    /// not yet.
    ///
    /// # Errors
    /// Those of the context variable.
    pub fn wake(&self, py: Python<'_>, node: Offset, count: u32) -> PyResult<()> {
        match self.is_inside(py)? {
            true => self.wakes.0.lock().unwrap_or_else(PoisonError::into_inner).push((node, count)),
            false => self.engine.memory.wake(node, count),
        }
        Ok(())
    }

    /// Wakes those that transactions left to be woken.
    pub fn wake_all(&self) {
        let mut wakes = self.wakes.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, count) in wakes.drain(..) {
            self.engine.memory.wake(node, count);
        }
    }
}

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// Number of this thread in its process, of less than 48 bits.
pub fn thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    if THREAD.get() == 0 {
        THREAD.set((LAST.fetch_add(1, Relaxed) + 1) & ((1 << 48) - 1));
    }
    THREAD.get()
}
