//! An attachment that handles share: the engine's segment, its name, its open transactions.

use crate::error::Kind as Exception;
use crate::info::owners;
use crate::leaving::is_exiting;
use crate::nap::Wakes;
use crate::segment::random_id;
use crate::transaction::Transactions;
use crate::wait::{Detached, Waiter};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use vasmem_engine::os::{OsHost, Sleeper};
use vasmem_engine::{
    Error, Holder, Invariant, Patience, Reading, Result, Segment, Transaction, format,
};
use vasmem_memory::{Domain, Mapped, Memory, Survival};

/// The engine over a mapped file.
pub type Engine = Segment<Mapped, OsHost>;
/// A transaction of it.
pub type Tx<'a> = Transaction<'a, Mapped, OsHost>;

/// What all handles of one attachment share.
pub struct Attached {
    /// The segment.
    pub engine: Engine,
    /// Its name, for messages.
    pub name: String,
    /// Why operations may not begin: [`CLOSED`], [`GATED`]; 0 for nearly all.
    barred: AtomicU8,
    /// Whose threads may touch the memory, where [`GATED`].
    domain: OnceLock<Arc<Domain>>,
    /// Forks before it was attached.
    generation: u32,
    timeout_s: AtomicU64,
    pub(crate) transactions: Transactions,
    pub(crate) wakes: Wakes,
}

/// This attachment was ended.
const CLOSED: u8 = 1;
/// It is in a domain, and this thread may be outside.
const GATED: u8 = 2;
/// A wait without an end, for practical purposes.
const LONGEST: Duration = Duration::from_secs(1 << 32);
/// Seconds to wait for others, unless set.
const TIMEOUT_S: f64 = 10.0;

impl Attached {
    /// Wraps a segment that was just attached.
    ///
    /// # Errors
    /// Those of making a context variable.
    pub fn new(py: Python<'_>, engine: Engine, name: String) -> PyResult<Attached> {
        Ok(Attached {
            engine,
            name,
            barred: AtomicU8::new(0),
            domain: OnceLock::new(),
            generation: vasmem_memory::generation(),
            timeout_s: AtomicU64::new(TIMEOUT_S.to_bits()),
            transactions: Transactions::new(py)?,
            wakes: Wakes::default(),
        })
    }

    /// Seconds that an operation waits for others.
    pub fn timeout_s(&self) -> f64 {
        f64::from_bits(self.timeout_s.load(Relaxed))
    }

    /// Sets them.
    pub fn set_timeout_s(&self, timeout_s: f64) {
        self.timeout_s.store(timeout_s.to_bits(), Relaxed);
    }

    /// Ends this attachment: handles raise from now on, lanes go back. The last writer that goes
    /// leaves a medium with a mark clean.
    ///
    /// # Errors
    /// Those of that sync; the attachment has ended all the same.
    pub fn close(&self, patience: &mut dyn Patience) -> Result<()> {
        if self.end_now() {
            return Ok(());
        }
        self.visit(|| {
            self.abandon();
            let done = self.sync_if_last(patience);
            self.engine.release_all();
            done
        })
    }

    /// Marks it as ended; whether it was so before.
    fn end_now(&self) -> bool {
        self.barred.fetch_or(CLOSED, Relaxed) & CLOSED != 0
    }

    /// From now on only threads inside of that domain use the memory.
    ///
    /// # Errors
    /// The system's, and if it is in a domain already; nothing happened then.
    pub fn join(&self, domain: &Arc<Domain>) -> std::io::Result<()> {
        self.engine.memory.join(domain)?;
        let _ = self.domain.set(domain.clone());
        self.barred.fetch_or(GATED, Relaxed);
        Ok(())
    }

    /// Runs what must be tidied up, wherever this thread is.
    pub fn visit<T>(&self, body: impl FnOnce() -> T) -> T {
        match self.domain.get() {
            Some(domain) => domain.visit(body),
            None => body(),
        }
    }

    /// The power of an emulated medium fails, which ends this attachment; the next one recovers.
    /// `None`, and nothing has happened, while others are attached for writing.
    ///
    /// # Errors
    /// Those of the system; `Timeout` if a thread of this process does not come to an end.
    pub fn crash(
        &self,
        patience: &mut dyn Patience,
        survival: Survival,
        seed: u64,
    ) -> Result<Option<(u64, u64)>> {
        let host = self.engine.host()?;
        if !host.attach(true)? {
            return Ok(None);
        }
        if self.end_now() {
            return Ok(Some((0, 0)));
        }
        self.abandon();
        let mut round = 0;
        while self.engine.is_busy() {
            patience.pause(round, Holder::Conflicts)?;
            round += 1;
        }
        self.engine.release_all();
        let done = self.engine.memory.crash(survival, seed)?;
        // No boot has this id, so the next attachment recovers as after a real one.
        format::set_boot(&self.engine.memory, [0; 2]);
        host.detach()?;
        Ok(Some(done))
    }

    /// Leaves a medium with a mark as `close` does, and ends nothing.
    ///
    /// # Errors
    /// Those of that sync.
    pub fn leave(&self, patience: &mut dyn Patience) -> Result<()> {
        if self.is_closed() { Ok(()) } else { self.visit(|| self.sync_if_last(patience)) }
    }

    /// A forked child that wrote nothing is no writer, so neither the last one.
    fn sync_if_last(&self, patience: &mut dyn Patience) -> Result<()> {
        match &self.engine.host {
            Some(host) if host.detach()? && self.engine.marked && self.is_writer() => {
                self.engine.sync(patience)
            }
            _ => Ok(()),
        }
    }

    fn is_writer(&self) -> bool {
        self.generation == vasmem_memory::generation() || owners(self).contains(&std::process::id())
    }

    /// Makes all that is visible durable.
    ///
    /// # Errors
    /// As exceptions.
    pub fn sync(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_inside(py)? {
            return self.detached(py, |engine, waiter| engine.sync(waiter));
        }
        self.ensure_open()?;
        // The open transaction holds the token; nothing of it is visible yet.
        let mut waiter = Waiter::new(py, self.timeout_s());
        let done = self.engine.sync_alone(&mut waiter);
        self.settle(done, &mut waiter)
    }

    /// Whether this attachment was ended.
    pub fn is_closed(&self) -> bool {
        self.barred.load(Relaxed) & CLOSED != 0
    }

    /// Gives back the lanes that were in use while another thread ended this attachment.
    #[inline]
    fn release_late(&self) {
        if self.is_closed() {
            self.visit(|| self.engine.release_all());
        }
    }

    /// Raises if this attachment was ended, or this thread is not inside of its domain.
    ///
    /// # Errors
    /// `VasmemError`, `NotSwitchedIn`.
    #[inline]
    pub fn ensure_open(&self) -> PyResult<()> {
        if self.barred.load(Relaxed) == 0 { Ok(()) } else { self.ensure_inside() }
    }

    /// Raises if this thread is not inside of its domain; one that was ended still tells its sizes.
    ///
    /// # Errors
    /// `NotSwitchedIn`.
    pub fn ensure_here(&self) -> PyResult<()> {
        if self.is_closed() { Ok(()) } else { self.ensure_open() }
    }

    #[cold]
    fn ensure_inside(&self) -> PyResult<()> {
        if self.is_closed() {
            return Err(self.closed_error());
        }
        if self.domain.get().is_none_or(|domain| domain.is_inside()) {
            return Ok(());
        }
        let text = format!(
            "segment {:?} was attached through a VAS that this thread is not switched into: use it \
             inside of `with vas.switch():`",
            self.name
        );
        Err(Exception::NotSwitchedIn.error(text))
    }

    #[cold]
    pub(crate) fn closed_error(&self) -> PyErr {
        let text = format!("segment {:?} is closed here: attach it again to use it", self.name);
        Exception::VasmemError.error(text)
    }

    /// Bytes that somebody cut off read as zeros, which may look like an answer: an operation that
    /// met them must not return one.
    ///
    /// # Errors
    /// `Corrupted`, once this process met such bytes.
    #[inline]
    pub fn ensure_intact(&self) -> Result<()> {
        match Memory::poisoned(&self.engine.memory) {
            true => Err(Error::corrupted(Invariant::Mapping, 0)),
            false => Ok(()),
        }
    }

    /// The result of an operation, as long as all bytes are there; otherwise an exception.
    #[inline]
    pub(crate) fn settle<T>(&self, done: Result<T>, waiter: &mut Waiter<'_>) -> PyResult<T> {
        match done.and_then(|value| self.ensure_intact().map(|()| value)) {
            Ok(value) => Ok(value),
            Err(error) => Err(self.raise(error, waiter.raised.take())),
        }
    }

    /// Runs a reading operation: inside the open transaction of this context, else on its own.
    ///
    /// # Errors
    /// As exceptions.
    #[inline]
    pub fn read<T>(&self, py: Python<'_>, body: impl Reading<T>) -> PyResult<T> {
        self.ensure_open()?;
        let mut body = body;
        if self.is_inside(py)? {
            return self.inside(py, false, |tx| body.run(tx));
        }
        // Nearly always enough. Only the value is moved: whole results are slow to copy.
        if let Ok(value) = self.engine.glance(&mut body)
            && self.ensure_intact().is_ok()
        {
            return Ok(value);
        }
        self.read_closely(py, &mut body)
    }

    #[cold]
    fn read_closely<T>(&self, py: Python<'_>, body: &mut impl Reading<T>) -> PyResult<T> {
        let mut waiter = Waiter::new(py, self.timeout_s());
        let done = self.engine.consult(&mut waiter, body);
        self.settle(done, &mut waiter)
    }

    /// Runs a writing operation.
    ///
    /// # Errors
    /// As exceptions; nothing happened then.
    #[inline]
    pub fn write<T>(
        &self,
        py: Python<'_>,
        mut body: impl FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> PyResult<T> {
        self.ensure_open()?;
        if self.is_inside(py)? {
            return self.inside(py, true, body);
        }
        let mut waiter = Waiter::new(py, self.timeout_s());
        let done = self.engine.write(&mut waiter, |tx| {
            let value = body(tx)?;
            self.ensure_intact()?;
            Ok(value)
        });
        self.settle(done, &mut waiter)
    }

    /// What `open` finds. If that is nothing, what `make` makes with a random id, or what somebody
    /// else has made meanwhile.
    ///
    /// # Errors
    /// As exceptions.
    pub fn open_or_make<T>(
        &self,
        py: Python<'_>,
        mut open: impl Reading<Option<T>>,
        make: Option<impl FnMut(&mut Tx<'_>, u64) -> Result<T>>,
    ) -> PyResult<Option<T>> {
        let found = self.read(py, &mut open)?;
        let (None, Some(mut make)) = (&found, make) else { return Ok(found) };
        let id = random_id()?;
        self.write(py, |tx| match open.run(tx)? {
            Some(found) => Ok(Some(found)),
            None => make(tx, id).map(Some),
        })
    }

    /// Runs `body`, outside of transactions, while other threads run.
    ///
    /// # Errors
    /// As exceptions; what `body` did before stays.
    pub fn detached<T: Send>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&Engine, &mut Detached) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.ensure_open()?;
        let mut waiter = Detached::new(self.timeout_s());
        let done = py.detach(|| {
            let value = body(&self.engine, &mut waiter)?;
            self.ensure_intact()?;
            Ok(value)
        });
        self.release_late();
        done.map_err(|error| self.raise(error, waiter.raised.take()))
    }

    /// An exception for an error of the engine: what, where, what to do.
    #[cold]
    pub fn raise(&self, error: Error, raised: Option<PyErr>) -> PyErr {
        crate::raise::exception(&self.name, Some(&self.engine), error, raised)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // A thread that was stopped inside of a call does not come out of it.
        let timeout_s = if is_exiting() { 0.0 } else { self.timeout_s() };
        let timeout = Duration::try_from_secs_f64(timeout_s).unwrap_or(LONGEST);
        let this = &*self;
        let close = || this.close(&mut Sleeper::new(timeout));
        // Nobody is left to tell; a sync that failed leaves the mark dirty.
        let _ = match this.engine.marked && !this.is_closed() {
            true => Python::try_attach(|py| py.detach(close)).unwrap_or_else(close),
            false => close(),
        };
        self.release_late();
    }
}

/// Makes a [`vasmem_engine::Reading`] of one expression over `access`; a type parameter that its
/// captures need comes first.
#[macro_export]
macro_rules! reading {
    ($($captured:ident: $type:ty),* ; $result:ty ; |$access:ident| $body:expr) => {
        $crate::reading!(<> $($captured: $type),* ; $result ; |$access| $body)
    };
    (<$($generic:ident: $bound:path)?> $($captured:ident: $type:ty),* ; $result:ty ;
        |$access:ident| $body:expr) => {{
        struct Body<'a $(, $generic: $bound)?> {
            $($captured: $type,)*
            lifetime: std::marker::PhantomData<&'a ()>,
        }
        impl<$($generic: $bound)?> vasmem_engine::Reading<$result> for Body<'_ $(, $generic)?> {
            #[inline]
            fn run<A: vasmem_engine::Access>(
                &mut self,
                $access: &mut A,
            ) -> vasmem_engine::Result<$result> {
                let Body { $($captured,)* .. } = self;
                $body
            }
        }
        Body { $($captured,)* lifetime: std::marker::PhantomData }
    }};
}
