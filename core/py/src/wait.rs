//! Waiting from Python: other threads run meanwhile, Ctrl-C works, and the time is limited.

use pyo3::prelude::*;
use std::time::{Duration, Instant};
use vasmem_engine::os::{SPINS, YIELDS, pause_us};
use vasmem_engine::{Error, Holder, Patience, Result};

/// Patience of one operation.
pub struct Waiter<'py> {
    py: Python<'py>,
    timeout_s: f64,
    since: Option<Instant>,
    /// What a signal handler raised.
    pub raised: Option<PyErr>,
}

impl<'py> Waiter<'py> {
    /// Waits at most `timeout_s` seconds in all.
    #[inline]
    pub fn new(py: Python<'py>, timeout_s: f64) -> Self {
        Waiter { py, timeout_s, since: None, raised: None }
    }
}

impl Patience for Waiter<'_> {
    #[cold]
    fn pause(&mut self, round: u32, holder: Holder) -> Result<bool> {
        if round < SPINS {
            std::hint::spin_loop();
            return Ok(false);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed().as_secs_f64() > self.timeout_s {
            return Err(Error::Timeout { waited_for: holder });
        }
        if round < YIELDS {
            self.py.detach(std::thread::yield_now);
            return Ok(false);
        }
        self.py.detach(|| std::thread::sleep(Duration::from_micros(pause_us(round))));
        if let Err(raised) = self.py.check_signals() {
            self.raised = Some(raised);
            return Err(Error::Interrupted);
        }
        Ok(since.elapsed() > Duration::from_millis(1))
    }
}
