//! Transactions that last over several calls: which are open, and which the running context is in.

use crate::attached::{Attached, Tx};
use crate::error::Kind as Exception;
use crate::wait::Waiter;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vasmem_engine::lanes::Lane;
use vasmem_engine::{Error, Holder, Patience, Result, Savepoint, Transaction};

/// How a transaction keeps others from changing what it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It has the writer token: nobody else commits.
    Alone,
    /// Not at all: it notices, and fails.
    Optimistic,
    /// As `Optimistic`, and it changes nothing.
    Reading,
}

impl Way {
    /// What Python calls it.
    ///
    /// # Errors
    /// `ValueError` for another word.
    pub fn of(word: &str) -> PyResult<Way> {
        match word {
            "alone" => Ok(Way::Alone),
            "optimistic" => Ok(Way::Optimistic),
            "reading" => Ok(Way::Reading),
            _ => Err(pyo3::exceptions::PyValueError::new_err(word.to_owned())),
        }
    }
}

/// An open transaction, with the lane that it runs on.
struct Open {
    lane: Box<Lane>,
    way: Way,
    /// Forks before it began: a child is not inside its parent's transaction.
    generation: u32,
    /// Where those inside it began.
    savepoints: Vec<Savepoint>,
    /// The number of savepoints around an operation that failed half-way: before these are gone
    /// there is no way but back.
    broken: Option<usize>,
}

/// Transactions by number; there are few.
type Listed = Vec<(u64, Option<Box<Open>>)>;

/// The open transactions of an attachment.
pub struct Transactions {
    /// How many there are: the only thing that a call outside of all looks at.
    count: AtomicUsize,
    /// By number; `None` while an operation runs in it. Nobody holds this lock while waiting: a
    /// child that is forked then would find it locked for ever.
    open: Mutex<Listed>,
    /// A lane of one that has ended, kept for the next: claiming one takes several system calls.
    spare: Mutex<Option<Box<Lane>>>,
    /// The methods of the variable that tells which of them the running context (thread, asyncio
    /// task) is in, 0 for none.
    get: Py<PyAny>,
    set: Py<PyAny>,
}

impl Transactions {
    /// None.
    ///
    /// # Errors
    /// Those of making a context variable.
    pub fn new(py: Python<'_>) -> PyResult<Transactions> {
        let default = [("default", 0u64)].into_py_dict(py)?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        let variable = class.call(("vasmem_transaction",), Some(&default))?;
        let get = variable.getattr("get")?.unbind();
        let set = variable.getattr("set")?.unbind();
        let (open, spare) = (Mutex::default(), Mutex::default());
        Ok(Transactions { count: AtomicUsize::new(0), open, spare, get, set })
    }

    /// Number of the one that the running context is in, 0 for none.
    ///
    /// # Errors
    /// Those of the context variable.
    #[inline]
    fn current(&self, py: Python<'_>) -> PyResult<u64> {
        if self.count.load(Relaxed) == 0 { Ok(0) } else { self.look_up(py) }
    }

    #[cold]
    fn look_up(&self, py: Python<'_>) -> PyResult<u64> {
        let number = self.get.bind(py).call0()?.extract::<u64>()?;
        let mut open = self.opened();
        let Some((_, found)) = open.iter().find(|open| open.0 == number) else { return Ok(0) };
        let generation = vasmem_memory::generation();
        if found.as_ref().is_some_and(|open| open.generation != generation) {
            open.retain(|open| open.0 != number);
            self.count.store(open.len(), Relaxed);
            return Ok(0);
        }
        Ok(number)
    }

    fn opened(&self) -> MutexGuard<'_, Listed> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one out of all others' hands.
    fn take(&self, number: u64) -> PyResult<Box<Open>> {
        let mut open = self.opened();
        let found = open.iter_mut().find(|open| open.0 == number);
        found.and_then(|(_, open)| open.take()).ok_or_else(|| {
            Exception::VasmemError.error(
                "a transaction that was begun here is in use by another thread, or by the \
                 operation that a signal handler interrupted: begin one in each thread, and use \
                 no structure in a handler while a transaction is open",
            )
        })
    }

    /// Puts it back; gives it back if it was ended meanwhile.
    fn put_back(&self, number: u64, taken: Box<Open>) -> Option<Box<Open>> {
        match self.opened().iter_mut().find(|open| open.0 == number) {
            Some((_, place)) => {
                *place = Some(taken);
                None
            }
            None => Some(taken),
        }
    }

    fn add(&self, number: u64, new: Box<Open>) {
        let mut open = self.opened();
        open.push((number, Some(new)));
        self.count.store(open.len(), Relaxed);
    }

    /// Ends it for all; gives it back unless an operation runs in it.
    fn remove(&self, number: u64) -> Option<Box<Open>> {
        let mut open = self.opened();
        let at = open.iter().position(|open| open.0 == number);
        let removed = at.and_then(|at| open.swap_remove(at).1);
        self.count.store(open.len(), Relaxed);
        removed
    }

    /// The lane that was kept, if it is this process's own.
    fn take_spare(&self) -> Option<Box<Lane>> {
        let lane = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        lane.filter(|lane| lane.generation() == vasmem_memory::generation())
    }

    /// Keeps a lane; gives back one that was kept already.
    fn keep_spare(&self, lane: Box<Lane>) -> Option<Box<Lane>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).replace(lane)
    }

    fn remove_all(&self) -> Vec<Open> {
        let mut open = self.opened();
        let all = open.drain(..).filter_map(|(_, open)| open.map(|open| *open)).collect();
        self.count.store(0, Relaxed);
        all
    }
}

impl Attached {
    /// Whether the running context is inside an open transaction.
    ///
    /// # Errors
    /// Those of the context variable.
    #[inline]
    pub fn is_inside(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.transactions.current(py)? != 0)
    }

    /// Runs an operation in the transaction of this context.
    ///
    /// # Errors
    /// As exceptions; `ConflictError` where others changed what an optimistic one has read.
    #[cold]
    pub fn inside<T>(
        &self,
        py: Python<'_>,
        writes: bool,
        mut body: impl FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> PyResult<T> {
        let number = self.transactions.current(py)?;
        let mut open = self.transactions.take(number)?;
        let mut waiter = Waiter::new(py, self.timeout_s());
        let done = if writes && open.way == Way::Reading {
            Err(None)
        } else {
            open.run(self, &mut waiter, &mut body).map_err(Some)
        };
        if let Some(open) = self.transactions.put_back(number, open) {
            self.end(*open);
            self.ensure_open()?;
            let text = "another thread ended this transaction: nothing was written";
            return Err(Exception::VasmemError.error(text));
        }
        match done {
            Ok(value) => self.settle(Ok(value), &mut waiter),
            Err(Some(error)) => self.settle(Err(error), &mut waiter),
            Err(None) => Err(Exception::VasmemError
                .error("this transaction only reads: begin it without readonly=True to write")),
        }
    }

    /// Begins a transaction in this context; inside another one, a part of it that can be undone.
    ///
    /// # Errors
    /// `LockTimeout` naming the holder of the token; `VasmemError` for one that writes inside one
    /// that only reads.
    pub fn begin(&self, py: Python<'_>, way: Way, timeout_s: Option<f64>) -> PyResult<()> {
        static NUMBERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        self.ensure_open()?;
        let number = self.transactions.current(py)?;
        if number != 0 {
            return self.begin_inside(py, number, way);
        }
        let mut waiter = Waiter::new(py, timeout_s.unwrap_or_else(|| self.timeout_s()));
        let begun = match way {
            Way::Reading => Ok(Box::new(Lane::of_reader())),
            _ => self.take_lane(way, &mut waiter),
        };
        let mut lane = begun.map_err(|error| self.raise(error, waiter.raised.take()))?;
        Transaction::resume(&self.engine, &mut lane, &mut waiter).reset();
        let generation = vasmem_memory::generation();
        let open = Open { lane, way, generation, savepoints: Vec::new(), broken: None };
        let number = NUMBERS.fetch_add(1, Relaxed);
        if let Err(error) = self.transactions.set.bind(py).call1((number,)) {
            self.end(open);
            return Err(error);
        }
        self.transactions.add(number, Box::new(open));
        Ok(())
    }

    fn begin_inside(&self, py: Python<'_>, number: u64, way: Way) -> PyResult<()> {
        let mut open = self.transactions.take(number)?;
        let fits = open.way != Way::Reading || way == Way::Reading;
        if fits {
            let mut waiter = Waiter::new(py, self.timeout_s());
            let tx = Transaction::resume(&self.engine, &mut open.lane, &mut waiter);
            let savepoint = tx.savepoint();
            open.savepoints.push(savepoint);
        }
        if let Some(open) = self.transactions.put_back(number, open) {
            self.end(*open);
        }
        if fits {
            return Ok(());
        }
        let text = "the transaction around this one only reads: begin that one without \
                    readonly=True, or this one with it";
        Err(Exception::VasmemError.error(text))
    }

    /// A lane apart, with the token if the transaction is to be alone.
    fn take_lane(&self, way: Way, waiter: &mut Waiter<'_>) -> Result<Box<Lane>> {
        let mut round = 0;
        let mut lane = loop {
            if let Some(lane) = self.transactions.take_spare() {
                break lane;
            }
            if let Some(lane) = self.engine.claim()? {
                break Box::new(lane);
            }
            waiter.pause(round, Holder::FreeLane)?;
            round += 1;
        };
        let settled = self.engine.settle(&mut lane, waiter).and_then(|()| match way {
            Way::Alone => self.engine.take_token(&mut lane, waiter),
            _ => Ok(()),
        });
        match settled {
            Ok(()) => Ok(lane),
            Err(error) => {
                self.engine.release(&lane);
                Err(error)
            }
        }
    }

    /// Ends the transaction of this context, or the innermost part of it, committing it or not;
    /// tells, if not, whether all that it has read is still so.
    ///
    /// # Errors
    /// `VasmemError` if there is none; those of the commit, and then nothing happened.
    pub fn finish(&self, py: Python<'_>, commit: bool) -> PyResult<bool> {
        self.visit(|| self.finish_inside(py, commit))
    }

    fn finish_inside(&self, py: Python<'_>, commit: bool) -> PyResult<bool> {
        let number = self.transactions.current(py)?;
        if number == 0 {
            return match self.is_closed() {
                true if !commit => Ok(true),
                true => Err(self.closed_error()),
                false => Err(Exception::VasmemError.error("no transaction is open here")),
            };
        }
        let mut waiter = Waiter::new(py, self.timeout_s());
        let Ok(mut open) = self.transactions.take(number) else {
            self.transactions.remove(number);
            let text =
                "another thread is still inside this transaction: it ends with nothing written";
            return if commit { Err(Exception::VasmemError.error(text)) } else { Ok(true) };
        };
        if let Some(savepoint) = open.savepoints.pop() {
            let done = open.finish_part(self, &mut waiter, savepoint, commit);
            if let Some(open) = self.transactions.put_back(number, open) {
                self.end(*open);
            }
            return done;
        }
        self.transactions.remove(number);
        if !commit {
            let tx = Transaction::resume(&self.engine, &mut open.lane, &mut waiter);
            let is_true = tx.validate().is_ok();
            self.end(*open);
            return Ok(is_true);
        }
        let mut done = self.ensure_intact();
        if done.is_ok() && open.broken.is_none() {
            done = Transaction::resume(&self.engine, &mut open.lane, &mut waiter).commit();
        }
        let broken = open.broken.is_some();
        self.end(*open);
        self.wake_all();
        self.settle(done, &mut waiter)?;
        if broken { Err(half_done()) } else { Ok(true) }
    }

    fn end(&self, Open { mut lane, generation, way, .. }: Open) {
        if generation != vasmem_memory::generation() {
            return; // The parent's: its token and its lane are not ours to give back.
        }
        if way == Way::Alone {
            // Only a failpoint can refuse.
            let _ = self.engine.drop_token(&mut lane);
        }
        let extra = if lane.only_reads() { None } else { self.transactions.keep_spare(lane) };
        if let Some(lane) = extra {
            self.engine.release(&lane);
        }
        if self.is_closed() {
            self.release_spare();
        }
    }

    fn release_spare(&self) {
        if let Some(lane) = self.transactions.take_spare() {
            self.engine.release(&lane);
        }
    }

    /// Ends all of them with nothing written.
    pub fn abandon(&self) {
        self.transactions.remove_all().into_iter().for_each(|open| self.end(open));
        self.release_spare();
    }
}

impl Open {
    /// Runs an operation; afterwards all that was read is still so.
    fn run<T>(
        &mut self,
        attached: &Attached,
        waiter: &mut Waiter<'_>,
        body: &mut impl FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut tx = Transaction::resume(&attached.engine, &mut self.lane, waiter);
        let before = tx.changes();
        let mut tries = 0;
        let done = loop {
            // Somebody may have been in between who changed nothing that was read before.
            match body(&mut tx) {
                Err(Error::Conflict)
                    if tries < TRIES_MAX && tx.changes() == before && tx.validate().is_ok() =>
                {
                    tries += 1;
                }
                done => break done,
            }
        };
        if done.is_err() && tx.changes() != before {
            self.broken.get_or_insert(self.savepoints.len());
        } else if self.way != Way::Alone {
            tx.validate()?;
        }
        done
    }

    /// Ends the innermost part.
    fn finish_part(
        &mut self,
        attached: &Attached,
        waiter: &mut Waiter<'_>,
        savepoint: Savepoint,
        commit: bool,
    ) -> PyResult<bool> {
        // A failure of this part, which began with as many savepoints around it and one more.
        let broken = self.broken.is_some_and(|around| around > self.savepoints.len());
        if commit && !broken {
            return Ok(true);
        }
        let mut tx = Transaction::resume(&attached.engine, &mut self.lane, waiter);
        tx.go_back_to(savepoint);
        if broken {
            self.broken = None;
        }
        if commit { Err(half_done()) } else { Ok(true) }
    }
}

/// Conflicts that one operation in an optimistic transaction may have that do not end it.
const TRIES_MAX: u32 = 100;

fn half_done() -> PyErr {
    Exception::VasmemError.error(
        "an operation failed half-way in this transaction, so nothing of it was written: let its \
         exception end the transaction, or put the operation into a transaction of its own inside",
    )
}
