//! The memory of a segment in this process: every store can be undone, and be recorded.

use crate::alone::Alone;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::Location;
use vasmem_engine::Segment;
use vasmem_memory::{CACHE_LINE, Memory, Offset, Ordering};

/// As much or more goes past the caches, as in a mapping.
const STREAMED_MIN: usize = 2048;

/// Where in the source something is flushed or drained.
pub type Site = &'static Location<'static>;

/// A segment as the lab has it attached.
pub type Attached<'a> = Segment<Port<'a>, Alone>;

/// What happened to the memory, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A word was stored.
    Store(Offset, u64),
    /// The same past the caches, in no order with others.
    Stream(Offset, u64),
    /// The lines of so many bytes were flushed.
    Flush(Offset, u64),
    /// What was flushed is durable.
    Drain,
    /// The process is gone: nobody will wait for what it flushed.
    Death,
    /// From here on a crash may leave these contents, by their digests, and no others.
    Allow(Vec<u64>),
}

/// The words of a segment, with all that is needed to take stores back.
pub struct Image {
    words: Vec<Cell<u64>>,
    /// Words that were overwritten, the last one last.
    undo: RefCell<Vec<(Offset, u64)>>,
    /// A sum over all words: equal images have equal ones, others hardly ever.
    sum: Cell<u64>,
    tape: RefCell<Option<Vec<Event>>>,
    /// The site whose flushes and drains are left out.
    pub omitted: Cell<Option<Site>>,
    /// How often each site was passed while recording.
    pub sites: RefCell<BTreeMap<Site, u64>>,
}

/// A state of an image, to come back to.
#[derive(Clone, Copy)]
pub struct Mark {
    undone: usize,
    sum: u64,
}

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
            words: vec![Cell::new(0); bytes as usize / 8],
            undo: RefCell::default(),
            sum: Cell::new(0),
            tape: RefCell::default(),
            omitted: Cell::new(None),
            sites: RefCell::default(),
        }
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// A way in for a process that was just started.
    pub fn port(&self) -> Port<'_> {
        Port { image: self, limit: Cell::new(0), poisoned: Cell::new(false) }
    }

    /// The present state.
    pub fn mark(&self) -> Mark {
        Mark { undone: self.undo.borrow().len(), sum: self.sum.get() }
    }

    /// Takes back all stores since.
    pub fn roll_back(&self, mark: Mark) {
        for (at, value) in self.undo.borrow_mut().drain(mark.undone..).rev() {
            self.words[at as usize / 8].set(value);
        }
        self.sum.set(mark.sum);
    }

    /// Forgets how to take anything back.
    pub fn settle(&self) {
        self.undo.borrow_mut().clear();
    }

    /// A sum over all words.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// The word at `at`, which is inside.
    pub fn get(&self, at: Offset) -> u64 {
        self.words[at as usize / 8].get()
    }

    /// Overwrites the word at `at`, which is inside.
    #[inline]
    pub fn set(&self, at: Offset, value: u64) {
        let old = self.words[at as usize / 8].replace(value);
        if old != value {
            self.undo.borrow_mut().push((at, old));
            self.sum.set(self.sum.get() ^ mix(at, old) ^ mix(at, value));
        }
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

    /// Notes in the record that the process is gone.
    pub fn die(&self) {
        self.note(|| Event::Death);
    }

    #[inline]
    fn note(&self, event: impl FnOnce() -> Event) {
        if let Some(tape) = self.tape.borrow_mut().as_mut() {
            tape.push(event());
        }
    }

    fn note_flush(&self, at: Offset, len: u64) {
        if len > 0 {
            self.note(|| Event::Flush(at & !(CACHE_LINE - 1), len + at % CACHE_LINE));
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

/// A number that depends on every bit of a word and of its place.
#[inline]
fn mix(at: Offset, value: u64) -> u64 {
    let product = u128::from(value ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        * u128::from(at.wrapping_add(0xd134_2543_de82_ef95) | 1);
    let folded = (product >> 64) as u64 ^ product as u64;
    folded.wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(23) ^ folded
}

impl Port<'_> {
    /// The word at `at`; outside there is none, and the memory is poisoned.
    #[inline]
    fn word(&self, at: Offset) -> Option<&Cell<u64>> {
        let word = self.image.words.get((at / 8) as usize).filter(|_| at.is_multiple_of(8));
        if word.is_none() {
            self.poisoned.set(true);
        }
        word
    }

    #[inline]
    fn put(&self, at: Offset, value: u64) {
        if self.word(at).is_some() {
            self.image.set(at, value);
            self.image.note(|| Event::Store(at, value));
        }
    }

    /// Puts bytes in, word by word, each noted as `event`.
    fn put_bytes(&self, at: Offset, from: &[u8], event: fn(Offset, u64) -> Event) {
        let mut done = 0;
        while done < from.len() {
            let here = at + done as u64;
            let (start, word) = ((here % 8) as usize, here & !7);
            let len = (8 - start).min(from.len() - done);
            let mut bytes = self.load(word, Ordering::Relaxed).to_le_bytes();
            bytes[start..start + len].copy_from_slice(&from[done..done + len]);
            if self.word(word).is_some() {
                let value = u64::from_le_bytes(bytes);
                self.image.set(word, value);
                self.image.note(|| event(word, value));
            }
            done += len;
        }
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
        self.put_bytes(at, from, Event::Store);
    }

    #[track_caller]
    fn copy_in_flushed(&self, at: Offset, from: &[u8]) {
        if !self.image.passes(Location::caller()) {
            return self.copy_in(at, from);
        }
        let event = if from.len() < STREAMED_MIN { Event::Store } else { Event::Stream };
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
        if self.image.passes(Location::caller()) {
            self.image.note(|| Event::Drain);
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
