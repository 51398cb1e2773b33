//! `_core.Bench`: the states that a crash may leave of a trace, put into a file one by one.

use super::{Step, model, unpack};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::Errno;
use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vasmem_engine::layout::header;
use vasmem_faults::random::Random;
use vasmem_faults::{Choice, Contents, Event, Lines, Mark, Model, State};
use vasmem_memory::{Access, Mapped, Memory, Ordering};

/// A point with more states has them counted, not drawn one by one.
const EVERY_MAX: f64 = (1 << 20) as f64;
/// A line of a point: its offset, and its stores (place, value).
type Pending = (u64, Vec<(u64, u64)>);

struct Work {
    model: Model,
    steps: Vec<Step>,
    /// What is surely durable before the step `position`.
    contents: Contents,
    start: Mark,
    lines: Lines,
    position: usize,
    /// States to be tried here.
    queue: VecDeque<State>,
    /// Contents that were tried, each with what was promised then.
    seen: HashSet<u64>,
    /// The file, which is as `contents` unless a state is in it.
    memory: Mapped,
    fd: OwnedFd,
    /// Whether another boot finds it.
    power: bool,
}

impl Work {
    fn rewind(&mut self) {
        let memory = &self.memory;
        self.contents.roll_back_with(self.start, |at, value| {
            memory.store(at, value, Ordering::Relaxed);
        });
        self.lines = Lines::new(self.model);
        self.position = 0;
    }

    /// Follows the trace up to `position`, which is at most its length.
    fn go(&mut self, position: usize) {
        if position < self.position {
            self.rewind();
        }
        let before = self.contents.mark();
        for step in &self.steps[self.position..position] {
            if let Step::Memory(event) = step {
                self.lines.follow(&self.contents, *event);
            }
        }
        self.position = position;
        // A page that was all zeros is a hole of the file, where nobody looks for differences.
        let memory = &self.memory;
        self.contents.since(before, |at, value| memory.store(at, value, Ordering::Relaxed));
    }

    /// Puts a state into the file; its number, which other contents hardly ever have. `None` if it
    /// was there before, under the same promise.
    fn put(&mut self, state: &State, promise: Option<u64>) -> Option<u64> {
        let durable = self.contents.mark();
        self.lines.apply(&self.contents, state);
        let sum = self.contents.sum();
        let new = promise.is_none_or(|promise| {
            self.seen.insert(sum.wrapping_add(promise.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        });
        if new {
            let memory = &self.memory;
            self.contents.since(durable, |at, value| memory.store(at, value, Ordering::Relaxed));
            if self.power {
                // No boot has this id.
                memory.store(header::BOOT, 0, Ordering::Relaxed);
                memory.store(header::BOOT + 8, 0, Ordering::Relaxed);
            }
        }
        self.contents.roll_back(durable);
        new.then_some(sum)
    }

    /// Makes the file as `contents` again, whatever was done to it.
    fn restore(&self) -> std::io::Result<()> {
        let bytes = self.contents.bytes();
        ftruncate(&self.fd, bytes)?;
        let mut at = 0;
        while at < bytes {
            let start = match seek(&self.fd, SeekFrom::Data(at)) {
                Ok(start) => start & !7,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            at = seek(&self.fd, SeekFrom::Hole(start))?.min(bytes);
            for word in (start..at).step_by(8) {
                let wanted = self.contents.get(word);
                if self.memory.load(word, Ordering::Relaxed) != wanted {
                    self.memory.store(word, wanted, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }
}

/// A trace, the file that its crash states are put into, and which of them were tried.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Bench(Mutex<Work>);

impl Bench {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Bench {
    /// Of events over `base`, into the empty file `fd`. With `power` the machine starts anew.
    #[new]
    #[pyo3(signature = (fd, base, events, *, model, power))]
    fn new(
        fd: i32,
        base: &Bound<'_, PyBytes>,
        events: &Bound<'_, PyBytes>,
        model: &str,
        power: bool,
    ) -> PyResult<Bench> {
        let (words, rest) = base.as_bytes().as_chunks::<8>();
        if words.is_empty() || !rest.is_empty() {
            return Err(PyValueError::new_err("contents must be whole words, and some"));
        }
        let (bytes, model) = (base.as_bytes().len() as u64, self::model(model)?);
        let fd = crate::descriptor::duplicate(fd)?;
        ftruncate(&fd, bytes).map_err(std::io::Error::from)?;
        let memory = crate::segment::map(fd.as_fd(), bytes, Access::ReadWrite)?;
        let contents = Contents::new(bytes);
        for (at, word) in (0..).step_by(8).zip(words) {
            let word = u64::from_le_bytes(*word);
            if word != 0 {
                contents.set(at, word);
                memory.store(at, word, Ordering::Relaxed);
            }
        }
        contents.settle();
        let work = Work {
            model,
            steps: unpack(events.as_bytes(), bytes)?,
            start: contents.mark(),
            contents,
            lines: Lines::new(model),
            position: 0,
            queue: VecDeque::new(),
            seen: HashSet::new(),
            memory,
            fd,
            power,
        };
        Ok(Bench(Mutex::new(work)))
    }

    /// Where a crash leaves anything that it would not leave elsewhere: before each fence that
    /// makes something durable, at each mark, and at the end; with the number of states there.
    fn points(&self) -> Vec<(usize, f64)> {
        let work = &mut *self.work();
        work.rewind();
        let mut found = Vec::new();
        for number in 0..work.steps.len() {
            work.go(number);
            let counts = match work.steps[number] {
                Step::Memory(Event::Fence) => work.lines.is_flushed(),
                Step::Memory(_) => false,
                Step::Mark => true,
            };
            if counts {
                found.push((number, work.lines.states()));
            }
        }
        work.go(work.steps.len());
        found.push((work.steps.len(), work.lines.states()));
        found
    }

    /// Goes to a point, and draws states of it: "all", "near" (at most `near` lines apart from all
    /// old or all new, about `most`) or "random" (`most` from `seed`). Returns how many.
    #[pyo3(signature = (point, how, *, near=2, most=4096, seed=0))]
    fn draw(&self, point: usize, how: &str, near: u32, most: usize, seed: u64) -> PyResult<usize> {
        let work = &mut *self.work();
        if point > work.steps.len() {
            return Err(PyIndexError::new_err(format!("point {point} of {}", work.steps.len())));
        }
        work.go(point);
        let choice = match how {
            "all" if work.lines.states() <= EVERY_MAX => Choice::All,
            "near" => Choice::Near { distance: near, most },
            "random" => Choice::Random(most),
            _ => {
                let text = format!("no such choice: {how:?} of {} states", work.lines.states());
                return Err(PyValueError::new_err(text));
            }
        };
        work.queue = work.lines.choose(choice, &mut Random::new(seed)).into();
        work.restore()?;
        Ok(work.queue.len())
    }

    /// Puts the next state into the file that was not tried yet under this promise: how much of
    /// each line it has, and its number. None when all were tried.
    fn advance(&self, promise: u64) -> PyResult<Option<(Vec<usize>, u64)>> {
        let work = &mut *self.work();
        while let Some(state) = work.queue.pop_front() {
            if let Some(sum) = work.put(&state, Some(promise)) {
                return Ok(Some((state, sum)));
            }
        }
        Ok(None)
    }

    /// States that were drawn and not tried yet.
    #[getter]
    fn left(&self) -> usize {
        self.work().queue.len()
    }

    /// Puts that state of a point into the file, tried before or not; its number.
    fn put(&self, point: usize, state: Vec<usize>) -> PyResult<u64> {
        let work = &mut *self.work();
        if point > work.steps.len() {
            return Err(PyIndexError::new_err(format!("point {point} of {}", work.steps.len())));
        }
        work.go(point);
        let all = work.lines.all();
        if state.len() != all.len() || state.iter().zip(&all).any(|(kept, all)| kept > all) {
            let text = format!("state {state:?}: there are lines with {all:?} stores");
            return Err(PyValueError::new_err(text));
        }
        work.restore()?;
        Ok(work.put(&state, None).unwrap_or_default())
    }

    /// The lines that need not be durable at a point, with their stores, in the order of a state.
    fn pending(&self, point: usize) -> PyResult<Vec<Pending>> {
        let work = &mut *self.work();
        if point > work.steps.len() {
            return Err(PyIndexError::new_err(format!("point {point} of {}", work.steps.len())));
        }
        work.go(point);
        Ok(work.lines.pending().map(|(at, steps)| (at, steps.to_vec())).collect())
    }

    /// What is surely durable at a point, word by word, where it is not as in the beginning.
    fn durable(&self, point: usize) -> PyResult<Vec<(u64, u64)>> {
        let work = &mut *self.work();
        if point > work.steps.len() {
            return Err(PyIndexError::new_err(format!("point {point} of {}", work.steps.len())));
        }
        work.go(point);
        let mut found = Vec::new();
        work.contents.since(work.start, |at, value| found.push((at, value)));
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Makes the file as it was before a state was put into it.
    fn restore(&self) -> PyResult<()> {
        Ok(self.work().restore()?)
    }

    /// How many contents were tried.
    #[getter]
    fn tried(&self) -> usize {
        self.work().seen.len()
    }
}
