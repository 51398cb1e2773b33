//! The memory of a segment in this process: every store can be undone, and be recorded.

use crate::alone::Alone;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use vasmem_engine::Segment;
use vasmem_faults::{self as faults, Contents};
use vasmem_memory::{CACHE_LINE, Memory, Offset, Ordering};

/// As much or more goes past the caches, as in a mapping.
const STREAMED_MIN: usize = 2048;

/// Where in the source something is flushed or drained.
pub type Site = &'static Location<'static>;

/// A segment as the lab has it attached.
pub type Attached<'a> = Segment<Port<'a>, Alone>;

/// What happened, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something happened to the memory.
    Memory(faults::Event),
    /// Another process or thread goes on: it does not wait for what the last one flushed.
    Handover,
    /// From here on a crash may leave these contents, by their digests, and no others.
    Allow(Vec<u64>),
}

/// The words of a segment, and the record of what happens to them.
pub struct Image {
    contents: Contents,
    tape: RefCell<Option<Vec<Event>>>,
    /// Drains until the process is killed, just before the last of them.
    drains_left: Cell<Option<u32>>,
    /// Whether it was: it changes nothing any more, whatever its destructors do.
    is_dead: Cell<bool>,
    /// The site whose flushes and drains are left out.
    pub omitted: Cell<Option<Site>>,
    /// How often each site was passed while recording.
    pub sites: RefCell<BTreeMap<Site, u64>>,
}

impl Deref for Image {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.contents
    }
}

/// What a killed process throws.
struct Killed;

/// One process's way to an image.
pub struct Port<'a> {
    image: &'a Image,
    limit: Cell<Offset>,
    poisoned: Cell<bool>,
}

impl Image {
    /// Zeros.
    pub fn new(bytes: u64) -> Image {
        Image {
            contents: Contents::new(bytes),
            tape: RefCell::default(),
            drains_left: Cell::new(None),
            is_dead: Cell::new(false),
            omitted: Cell::new(None),
            sites: RefCell::default(),
        }
    }

    /// A way in for a process that was just started.
    pub fn port(&self) -> Port<'_> {
        Port { image: self, limit: Cell::new(0), poisoned: Cell::new(false) }
    }

    /// Records what happens from here on.
    pub fn record(&self) {
        *self.tape.borrow_mut() = Some(Vec::new());
    }

    /// What happened since; records no more.
    pub fn recorded(&self) -> Vec<Event> {
        self.tape.borrow_mut().take().unwrap_or_default()
    }

    /// Notes in the record what a crash may leave from here on.
    pub fn allow(&self, digests: &[u64]) {
        self.note(|| Event::Allow(digests.to_vec()));
    }

    /// Notes in the record that another process or thread goes on.
    pub fn hand_over(&self) {
        self.note(|| Event::Handover);
    }

    /// Does `body` as a process that is killed just before drain number `kill`, from 0, if it comes
    /// so far; `None` then. Killed or not, another process goes on.
    pub fn until<T>(&self, kill: Option<u32>, body: impl FnOnce() -> T) -> Option<T> {
        self.drains_left.set(kill);
        let done = catch_unwind(AssertUnwindSafe(body));
        self.drains_left.set(None);
        self.is_dead.set(false);
        self.hand_over();
        match done {
            Ok(done) => Some(done),
            Err(thrown) if thrown.is::<Killed>() => None,
            Err(panic) => resume_unwind(panic),
        }
    }

    fn may_die(&self) {
        match self.drains_left.get() {
            Some(0) if !self.is_dead.replace(true) => resume_unwind(Box::new(Killed)),
            Some(left) => self.drains_left.set(Some(left.saturating_sub(1))),
            None => {}
        }
    }

    #[inline]
    fn note(&self, event: impl FnOnce() -> Event) {
        if !self.is_dead.get()
            && let Some(tape) = self.tape.borrow_mut().as_mut()
        {
            tape.push(event());
        }
    }

    fn note_flush(&self, at: Offset, len: u64) {
        if len > 0 {
            let event = faults::Event::Flush(at & !(CACHE_LINE - 1), len + at % CACHE_LINE);
            self.note(|| Event::Memory(event));
        }
    }

    /// Whether this site takes part; counts it.
    fn passes(&self, site: Site) -> bool {
        if self.tape.borrow().is_some() {
            *self.sites.borrow_mut().entry(site).or_default() += 1;
        }
        self.omitted.get() != Some(site)
    }
}

impl Port<'_> {
    /// The word at `at`; outside there is none, and the memory is poisoned.
    #[inline]
    fn word(&self, at: Offset) -> Option<&Cell<u64>> {
        let word = self.image.word(at);
        if word.is_none() {
            self.poisoned.set(true);
        }
        word
    }

    #[inline]
    fn put(&self, at: Offset, value: u64) {
        if self.word(at).is_some() && !self.image.is_dead.get() {
            self.image.set(at, value);
            self.image.note(|| Event::Memory(faults::Event::Store(at, value)));
        }
    }

    /// Puts bytes in, word by word, each noted as `event`.
    fn put_bytes(&self, at: Offset, from: &[u8], event: fn(Offset, u64) -> faults::Event) {
        let get = |at| self.load(at, Ordering::Relaxed);
        faults::words(at, from, get, |at, value| {
            if self.word(at).is_some() && !self.image.is_dead.get() {
                self.image.set(at, value);
                self.image.note(|| Event::Memory(event(at, value)));
            }
        });
    }
}

impl Memory for Port<'_> {
    #[inline]
    fn load(&self, at: Offset, _: Ordering) -> u64 {
        self.word(at).map_or(0, Cell::get)
    }

    #[inline]
    fn store(&self, at: Offset, value: u64, _: Ordering) {
        self.put(at, value);
    }

    fn cas(&self, at: Offset, old: u64, new: u64, _: Ordering, _: Ordering) -> Result<u64, u64> {
        match self.word(at).map(Cell::get) {
            Some(found) if found == old => {
                self.put(at, new);
                Ok(old)
            }
            Some(found) => Err(found),
            None => Err(!old),
        }
    }

    fn copy_out(&self, at: Offset, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let here = at + done as u64;
            let start = (here % 8) as usize;
            let len = (8 - start).min(into.len() - done);
            let bytes = self.load(here & !7, Ordering::Relaxed).to_le_bytes();
            into[done..done + len].copy_from_slice(&bytes[start..start + len]);
            done += len;
        }
    }

    fn copy_in(&self, at: Offset, from: &[u8]) {
        self.put_bytes(at, from, faults::Event::Store);
    }

    #[track_caller]
    fn copy_in_flushed(&self, at: Offset, from: &[u8]) {
        if !self.image.passes(Location::caller()) {
            return self.copy_in(at, from);
        }
        use faults::Event::{Store, Stream};
        let event = if from.len() < STREAMED_MIN { Store } else { Stream };
        self.put_bytes(at, from, event);
        self.image.note_flush(at, from.len() as u64);
    }

    fn fence(&self, _: Ordering) {}

    #[track_caller]
    fn flush(&self, at: Offset, len: u64) {
        if self.image.passes(Location::caller()) {
            self.image.note_flush(at, len);
        }
    }

    #[track_caller]
    fn drain(&self) {
        self.image.may_die();
        if self.image.passes(Location::caller()) {
            self.image.note(|| Event::Memory(faults::Event::Fence));
        }
    }

    fn needs_flush(&self) -> bool {
        true
    }

    fn limit(&self) -> Offset {
        self.limit.get()
    }

    fn poisoned(&self) -> bool {
        self.poisoned.get()
    }

    fn raise_limit(&self, end: Offset) {
        self.limit.set(self.limit.get().max(end.min(self.image.bytes())));
    }
}
