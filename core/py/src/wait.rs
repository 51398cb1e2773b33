//! Waiting from Python: other threads run meanwhile, Ctrl-C works, and the time is limited.

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
        if let Err(raised) = self.py.check_signals() {
            self.raised = Some(raised);
            return Err(Error::Interrupted);
        }
        Ok(waited > LOOK_AFTER)
    }
}

/// Patience of a batch that runs while other threads do.
pub struct Detached {
    clock: Clock,
    begun: u32,
    /// What a signal handler raised.
    pub raised: Option<PyErr>,
}

impl Detached {
    /// Waits at most `timeout_s` seconds for each part of the batch.
    pub fn new(timeout_s: f64) -> Self {
        Detached { clock: Clock { timeout_s, since: None }, begun: 0, raised: None }
    }

    /// Begins a part of the batch; looks at signals now and then.
    ///
    /// # Errors
    /// `Interrupted`.
    #[inline]
    pub fn begin(&mut self) -> Result<()> {
        self.clock.since = None;
        self.begun = self.begun.wrapping_add(1);
        if self.begun.is_multiple_of(1 << 14) { self.look_at_signals() } else { Ok(()) }
    }

    #[cold]
    fn look_at_signals(&mut self) -> Result<()> {
        match Python::try_attach(|py| py.check_signals()) {
            Some(Ok(())) => Ok(()),
            Some(Err(raised)) => {
                self.raised = Some(raised);
                Err(Error::Interrupted)
            }
            // The interpreter has ended while this daemon thread was inside.
            None => Err(Error::Interrupted),
        }
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
