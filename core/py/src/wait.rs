//! Waiting from Python: other threads run meanwhile, Ctrl-C works, and the time is limited.

use crate::error::Kind as Exception;
use pyo3::prelude::*;
use std::time::{Duration, Instant};
use vasmem_engine::os::{SPINS, YIELDS, pause_us};
use vasmem_engine::{Error, Holder, Patience, Result};

/// How long somebody has waited.
struct Clock {
    timeout_s: f64,
    since: Option<Instant>,
}

impl Clock {
    /// Time since the first look.
    fn waited(&mut self, holder: Holder) -> Result<Duration> {
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if waited.as_secs_f64() > self.timeout_s {
            return Err(Error::Timeout { waited_for: holder });
        }
        Ok(waited)
    }
}

/// From here on each round asks whether the holder is dead.
const LOOK_AFTER: Duration = Duration::from_millis(1);

/// Patience of one operation.
pub struct Waiter<'py> {
    py: Python<'py>,
    clock: Clock,
    /// What a signal handler raised.
    pub raised: Option<PyErr>,
}

impl<'py> Waiter<'py> {
    /// Waits at most `timeout_s` seconds in all.
    #[inline]
    pub fn new(py: Python<'py>, timeout_s: f64) -> Self {
        Waiter { py, clock: Clock { timeout_s, since: None }, raised: None }
    }
}

impl Patience for Waiter<'_> {
    #[cold]
    fn pause(&mut self, round: u32, holder: Holder) -> Result<bool> {
        if round < SPINS {
            std::hint::spin_loop();
            return Ok(false);
        }
        let waited = self.clock.waited(holder)?;
        if round < YIELDS {
            self.py.detach(std::thread::yield_now);
            return Ok(false);
        }
        self.py.detach(|| std::thread::sleep(Duration::from_micros(pause_us(round))));
        run_handlers(self.py, &mut self.raised)?;
        Ok(waited > LOOK_AFTER)
    }
}

/// Runs the handlers of signals that came; `raised` takes what they raise.
fn run_handlers(py: Python<'_>, raised: &mut Option<PyErr>) -> Result<()> {
    let before = vasmem_memory::generation();
    let done = py.check_signals();
    if vasmem_memory::generation() == before {
        return done.map_err(|error| {
            *raised = Some(error);
            Error::Interrupted
        });
    }
    // The lane in use, its locks and its record are the parent's, which goes on with them.
    *raised = done.err().or_else(|| {
        let text = "a signal handler forked this process in the middle of an operation, which goes \
                    on in the parent and did nothing here: end the child inside of the handler, or \
                    run the operation again";
        Some(Exception::VasmemError.error(text))
    });
    Err(Error::Died)
}

/// Parts of a batch between two looks at the clock, and time between two looks at signals. A part
/// may be a large value and grow the segment, or take a tenth of a microsecond.
const LOOKS_APART: u32 = 64;
const SIGNALS_APART: Duration = Duration::from_millis(20);

/// Patience of a batch that runs while other threads do.
pub struct Detached {
    clock: Clock,
    begun: u32,
    looked: Instant,
    /// What a signal handler raised.
    pub raised: Option<PyErr>,
}

impl Detached {
    /// Waits at most `timeout_s` seconds for each part of the batch.
    pub fn new(timeout_s: f64) -> Self {
        let clock = Clock { timeout_s, since: None };
        Detached { clock, begun: 0, looked: Instant::now(), raised: None }
    }

    /// Begins a part of the batch; looks at signals now and then.
    ///
    /// # Errors
    /// `Interrupted`.
    #[inline]
    pub fn begin(&mut self) -> Result<()> {
        self.clock.since = None;
        self.begun = self.begun.wrapping_add(1);
        if self.begun.is_multiple_of(LOOKS_APART) && self.looked.elapsed() > SIGNALS_APART {
            self.looked = Instant::now();
            return self.look_at_signals();
        }
        Ok(())
    }

    #[cold]
    fn look_at_signals(&mut self) -> Result<()> {
        let done = Python::try_attach(|py| run_handlers(py, &mut self.raised));
        // The interpreter may have ended while this daemon thread was inside.
        done.unwrap_or(Err(Error::Interrupted))
    }
}

impl Patience for Detached {
    #[cold]
    fn pause(&mut self, round: u32, holder: Holder) -> Result<bool> {
        if round < SPINS {
            std::hint::spin_loop();
            return Ok(false);
        }
        let waited = self.clock.waited(holder)?;
        if round < YIELDS {
            std::thread::yield_now();
            return Ok(false);
        }
        std::thread::sleep(Duration::from_micros(pause_us(round)));
        self.look_at_signals()?;
        Ok(waited > LOOK_AFTER)
    }
}
