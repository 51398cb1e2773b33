//! Simulated processes over one memory, for tests and models: a kernel that keeps byte locks, kills
//! that drop them, a medium that forgets at a power failure what was not flushed, and a file that
//! forgets what was not synced.
//!
//! Under `--cfg loom` only the words that [`Machine::track`] names are loom's: the others never
//! change while a model's threads run, or are of no interest to it.

use crate::error::{Error, Holder, Result};
use crate::host::{Host, Patience};
use crate::layout::{GRANULE, Geometry, HEADER_BYTES, Kind, LINE, Meta, descriptor};
use crate::segment::Segment;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use vasmem_memory::{Medium, Memory, Offset};

#[cfg(loom)]
use loom::sync::Mutex;
#[cfg(not(loom))]
use std::sync::Mutex;

/// Locks by byte, and the process that holds each.
#[derive(Default)]
struct Locks(HashMap<u32, u32>);

/// Stretches of loom's words, each with its first offset.
#[cfg(loom)]
type Tracked = Vec<(Offset, Vec<loom::sync::atomic::AtomicU64>)>;

/// What is durable, and when each line became so.
struct Media {
    words: Vec<u64>,
    lines: HashMap<Offset, u64>,
    clock: u64,
}

/// What was done to a file: stores, and syncs that came to their end.
enum Step {
    Store(Offset, u64),
    Sync,
}

/// All steps since all was durable.
struct Journal {
    durable: Vec<u64>,
    steps: Vec<Step>,
}

/// The words of a machine.
struct Ram {
    words: Vec<AtomicU64>,
    journal: std::sync::Mutex<Option<Journal>>,
    media: Option<std::sync::Mutex<Media>>,
    #[cfg(loom)]
    tracked: std::sync::OnceLock<Tracked>,
}

/// A machine: one memory, one table of locks.
#[derive(Clone)]
pub struct Machine {
    ram: Arc<Ram>,
    locks: Arc<Mutex<Locks>>,
    /// The segment in its memory.
    pub geometry: Geometry,
}

/// One process's way to the memory of its machine.
pub struct Port {
    ram: Arc<Ram>,
    limit: AtomicU64,
    /// Lines flushed and not yet drained, as they were then.
    flushed: std::sync::Mutex<Vec<(Offset, u64, [u64; 8])>>,
    /// Whether there is an interruption to come.
    is_armed: AtomicBool,
    interruption: std::sync::Mutex<Option<Interruption>>,
}

/// What others do in the middle of a read: loads before it, and what it is.
type Interruption = (u32, Box<dyn FnOnce() + Send>);

/// A process of a [`Machine`], as the engine's host.
pub struct Process {
    locks: Arc<Mutex<Locks>>,
    pid: u32,
}

/// A segment as a simulated process has it attached.
pub type Attached = Segment<Port, Process>;

const RECOVERY: u32 = 1024;
const GROWTH: u32 = 2048;

impl Machine {
    /// A machine with a fresh segment of `heap_bytes`, all backed, on a medium of this kind.
    pub fn new(heap_bytes: u64, lanes: u64, lane_bytes: u64, medium: Medium) -> Machine {
        Machine::growing(heap_bytes, heap_bytes, lanes, lane_bytes, medium)
    }

    /// The same with only `backed_bytes` of the heap backed at first.
    pub fn growing(
        heap_bytes: u64,
        backed_bytes: u64,
        lanes: u64,
        lane_bytes: u64,
        medium: Medium,
    ) -> Machine {
        let mut geometry = Geometry::new(heap_bytes, 7, [1; 16]);
        (geometry.lanes, geometry.lane_bytes) = (lanes, lane_bytes);
        geometry.lanes_at = HEADER_BYTES;
        geometry.heap_at = (geometry.lanes_at + lanes * lane_bytes).next_multiple_of(GRANULE);
        geometry.size_limit = geometry.heap_at + heap_bytes;
        geometry.directory_at = geometry.region(0).data_at();
        let ram = Ram::new(vec![0; geometry.size_limit as usize / 8], medium);
        let machine = Machine::over(ram, geometry);
        let port = machine.port();
        crate::format::create(&port, &geometry, geometry.heap_at + backed_bytes, [1, 2]);
        crate::format::set_home(&port, 1);
        machine
    }

    fn over(ram: Ram, geometry: Geometry) -> Machine {
        Machine { ram: Arc::new(ram), locks: Arc::new(Mutex::new(Locks::default())), geometry }
    }

    /// A way to the memory that belongs to no process.
    pub fn port(&self) -> Port {
        Port {
            ram: self.ram.clone(),
            limit: AtomicU64::new(self.geometry.heap_at),
            flushed: std::sync::Mutex::default(),
            is_armed: AtomicBool::new(false),
            interruption: std::sync::Mutex::default(),
        }
    }

    /// What the system does for process `pid`.
    pub fn process(&self, pid: u32) -> Process {
        Process { locks: self.locks.clone(), pid }
    }

    /// A new process that has the segment attached.
    pub fn attach(&self, pid: u32) -> Attached {
        Segment::new(self.port(), Some(self.process(pid)), self.geometry)
    }

    /// A new process that has it attached for reading.
    pub fn attach_readonly(&self) -> Attached {
        Segment::new(self.port(), None, self.geometry)
    }

    /// What the kernel does when process `pid` dies: its locks are gone.
    pub fn kill(&self, pid: u32) {
        let mut locks = self.locks.lock().expect("no test panics with it");
        locks.0.retain(|_, holder| *holder != pid);
    }

    /// Makes granule number `index` of region 0 a node extent, as if it had always been one, with
    /// all blocks in use; returns its first node.
    pub fn node_extent(&self, index: u64, kind: Kind) -> Offset {
        let place = self.geometry.region(0).place(index);
        let port = self.port();
        let map = port.load(place.map_word, Ordering::Relaxed);
        port.store(place.map_word, map | 1 << place.map_bit, Ordering::Relaxed);
        let meta = place.descriptor + descriptor::META;
        port.store(meta, Meta::new(kind, 0, 1).0, Ordering::Relaxed);
        for block in 0..kind.blocks() {
            let at = place.descriptor + descriptor::BITMAP + block / 64 * 8;
            let word = port.load(at, Ordering::Relaxed);
            port.store(at, word | 1 << (block % 64), Ordering::Relaxed);
        }
        port.flush(place.map, LINE);
        port.flush(place.descriptor, LINE);
        port.drain();
        place.granule
    }

    /// From here on loom follows these words; called once, before a model's threads start.
    pub fn track(&self, ranges: &[Range<Offset>]) {
        #[cfg(loom)]
        self.ram.track(ranges);
        let _ = ranges;
    }

    /// From here on the memory is a file in the page cache, all of it written back now.
    pub fn keep_journal(&self) {
        let durable = self.ram.words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let mut journal = self.ram.journal.lock().expect("no test panics with it");
        *journal = Some(Journal { durable, steps: Vec::new() });
    }

    /// Stores and syncs so far.
    pub fn steps(&self) -> usize {
        let journal = self.ram.journal.lock().expect("no test panics with it");
        journal.as_ref().map_or(0, |journal| journal.steps.len())
    }

    /// The machine if the power had failed after so many steps: each word is as at the last sync,
    /// or as any store since left it. `pick` chooses a number below the given one.
    pub fn crash_after(&self, steps: usize, mut pick: impl FnMut(usize) -> usize) -> Machine {
        let journal = self.ram.journal.lock().expect("no test panics with it");
        let journal = journal.as_ref().expect("a journal is kept");
        let mut words = journal.durable.clone();
        let mut since: BTreeMap<Offset, Vec<u64>> = BTreeMap::new();
        for step in &journal.steps[..steps] {
            match step {
                Step::Store(at, value) => since.entry(*at).or_default().push(*value),
                Step::Sync => {
                    for (at, values) in std::mem::take(&mut since) {
                        words[at as usize / 8] = values[values.len() - 1];
                    }
                }
            }
        }
        for (at, values) in since {
            // The last choice is what was there before.
            if let Some(&value) = values.get(pick(values.len() + 1)) {
                words[at as usize / 8] = value;
            }
        }
        Machine::over(Ram::new(words, Medium::Volatile), self.geometry)
    }

    /// The machine after a power failure: all processes are gone, and of each word that is not
    /// surely durable `keep` tells whether its last store persisted.
    pub fn crash(&self, mut keep: impl FnMut(Offset) -> bool) -> Machine {
        let Some(media) = &self.ram.media else {
            panic!("a machine without a medium keeps nothing");
        };
        let media = media.lock().expect("no test panics with it");
        let words = media.words.iter().enumerate().map(|(index, &durable)| {
            let now = self.ram.words[index].load(Ordering::Relaxed);
            let kept = now != durable && keep(index as u64 * 8);
            if kept { now } else { durable }
        });
        let ram = Ram::new(words.collect(), Medium::CacheLine);
        Machine::over(ram, self.geometry)
    }
}

impl Ram {
    fn new(words: Vec<u64>, medium: Medium) -> Ram {
        let media = (medium == Medium::CacheLine).then(|| {
            std::sync::Mutex::new(Media { words: words.clone(), lines: HashMap::new(), clock: 0 })
        });
        Ram {
            words: words.into_iter().map(AtomicU64::new).collect(),
            journal: std::sync::Mutex::default(),
            media,
            #[cfg(loom)]
            tracked: std::sync::OnceLock::new(),
        }
    }

    #[cfg(loom)]
    fn track(&self, ranges: &[Range<Offset>]) {
        let words = |range: &Range<Offset>| {
            let words = &self.words[range.start as usize / 8..range.end as usize / 8];
            let now = |word: &AtomicU64| word.load(Ordering::Relaxed);
            words.iter().map(|word| loom::sync::atomic::AtomicU64::new(now(word))).collect()
        };
        let all = ranges.iter().map(|range| (range.start, words(range)));
        let set = self.tracked.set(all.collect());
        assert!(set.is_ok(), "a machine is tracked once");
    }

    #[cfg(loom)]
    fn tracked(&self, at: Offset) -> Option<&loom::sync::atomic::AtomicU64> {
        let all = self.tracked.get()?;
        all.iter().find_map(|(from, words)| {
            let index = at.checked_sub(*from)? / 8;
            words.get(index as usize)
        })
    }

    fn note(&self, step: Step) {
        let mut journal = self.journal.lock().expect("no test panics with it");
        if let Some(journal) = journal.as_mut() {
            journal.steps.push(step);
        }
    }

    fn word(&self, at: Offset) -> &AtomicU64 {
        assert!(at.is_multiple_of(8), "the engine checks offsets: {at}");
        &self.words[at as usize / 8]
    }
}

impl Port {
    /// Runs `then` before the `nth` load (from 0) by this way.
    pub fn interrupt_at(&self, nth: u32, then: impl FnOnce() + Send + 'static) {
        let mut place = self.interruption.lock().expect("no test panics with it");
        *place = Some((nth, Box::new(then)));
        self.is_armed.store(true, Ordering::Relaxed);
    }

    /// Whether that was done.
    pub fn was_interrupted(&self) -> bool {
        !self.is_armed.load(Ordering::Relaxed)
    }

    fn interrupt(&self) {
        if self.was_interrupted() {
            return;
        }
        let mut place = self.interruption.lock().expect("no test panics with it");
        if let Some((left @ 1.., _)) = place.as_mut() {
            *left -= 1;
            return;
        }
        let due = place.take();
        drop(place);
        self.is_armed.store(false, Ordering::Relaxed);
        if let Some((_, then)) = due {
            then();
        }
    }
}

impl Memory for Port {
    fn load(&self, at: Offset, order: Ordering) -> u64 {
        #[cfg(loom)]
        if let Some(word) = self.ram.tracked(at) {
            return word.load(order);
        }
        self.interrupt();
        self.ram.word(at).load(order)
    }

    fn store(&self, at: Offset, value: u64, order: Ordering) {
        #[cfg(loom)]
        if let Some(word) = self.ram.tracked(at) {
            return word.store(value, order);
        }
        self.ram.word(at).store(value, order);
        self.ram.note(Step::Store(at, value));
    }

    fn cas(
        &self,
        at: Offset,
        old: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> std::result::Result<u64, u64> {
        #[cfg(loom)]
        if let Some(word) = self.ram.tracked(at) {
            return word.compare_exchange(old, new, success, failure);
        }
        let done = self.ram.word(at).compare_exchange(old, new, success, failure);
        if done.is_ok() {
            self.ram.note(Step::Store(at, new));
        }
        done
    }

    fn copy_out(&self, at: Offset, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            let here = at + done as u64;
            let (start, word) = ((here % 8) as usize, here & !7);
            let len = (8 - start).min(into.len() - done);
            let bytes = self.load(word, Ordering::Relaxed).to_le_bytes();
            into[done..done + len].copy_from_slice(&bytes[start..start + len]);
            done += len;
        }
    }

    fn copy_in(&self, at: Offset, from: &[u8]) {
        let mut done = 0;
        while done < from.len() {
            let here = at + done as u64;
            let (start, word) = ((here % 8) as usize, here & !7);
            let len = (8 - start).min(from.len() - done);
            let mut bytes = [0; 8];
            if len < 8 {
                bytes = self.load(word, Ordering::Relaxed).to_le_bytes();
            }
            bytes[start..start + len].copy_from_slice(&from[done..done + len]);
            self.store(word, u64::from_le_bytes(bytes), Ordering::Relaxed);
            done += len;
        }
    }

    fn fence(&self, order: Ordering) {
        vasmem_memory::sync::fence(order);
    }

    fn flush(&self, at: Offset, len: u64) {
        let Some(media) = &self.ram.media else { return };
        let mut media = media.lock().expect("no test panics with it");
        media.clock += 1;
        let mut flushed = self.flushed.lock().expect("no test panics with it");
        for line in ((at & !(LINE - 1))..at + len).step_by(LINE as usize) {
            let words = std::array::from_fn(|i| self.load(line + i as u64 * 8, Ordering::Relaxed));
            flushed.push((line, media.clock, words));
        }
    }

    fn drain(&self) {
        let Some(media) = &self.ram.media else { return };
        let mut media = media.lock().expect("no test panics with it");
        let flushed = std::mem::take(&mut *self.flushed.lock().expect("no test panics with it"));
        for (line, clock, words) in flushed {
            if media.lines.get(&line).is_none_or(|&last| last < clock) {
                media.lines.insert(line, clock);
                let first = line as usize / 8;
                media.words[first..first + 8].copy_from_slice(&words);
            }
        }
    }

    fn sync(&self) -> std::io::Result<()> {
        self.ram.note(Step::Sync);
        Ok(())
    }

    fn needs_flush(&self) -> bool {
        self.ram.media.is_some()
    }

    fn limit(&self) -> Offset {
        self.limit.load(Ordering::Relaxed)
    }

    fn poisoned(&self) -> bool {
        false
    }

    fn raise_limit(&self, end: Offset) {
        self.limit.fetch_max(end, Ordering::Relaxed);
    }
}

impl Process {
    fn take(&self, byte: u32) -> bool {
        let mut locks = self.locks.lock().expect("no test panics with it");
        match locks.0.get(&byte) {
            Some(_) => false,
            None => {
                locks.0.insert(byte, self.pid);
                true
            }
        }
    }

    fn give_back(&self, byte: u32) {
        let mut locks = self.locks.lock().expect("no test panics with it");
        if locks.0.get(&byte) == Some(&self.pid) {
            locks.0.remove(&byte);
        }
    }
}

impl Host for Process {
    /// As with the system's locks: what this process holds is granted to it again (E7).
    fn take_life(&self, lane: u16) -> Result<bool> {
        Ok(self.take(u32::from(lane)) || !self.lives_elsewhere(lane)?)
    }
    fn end_life(&self, lane: u16) {
        self.give_back(u32::from(lane));
    }
    fn lives_elsewhere(&self, lane: u16) -> Result<bool> {
        let locks = self.locks.lock().expect("no test panics with it");
        let holder = locks.0.get(&u32::from(lane));
        Ok(holder.is_some_and(|&holder| holder != self.pid))
    }
    fn take_recovery(&self, lane: u16) -> Result<bool> {
        Ok(self.take(RECOVERY + u32::from(lane)))
    }
    fn end_recovery(&self, lane: u16) {
        self.give_back(RECOVERY + u32::from(lane));
    }
    fn take_growth(&self) -> Result<bool> {
        Ok(self.take(GROWTH))
    }
    fn end_growth(&self) {
        self.give_back(GROWTH);
    }
    fn generation(&self) -> u32 {
        0
    }
    fn pid(&self) -> u32 {
        self.pid
    }
}

fn yield_now() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    std::thread::yield_now();
}

/// Never gives up, and always asks whether the holder lives.
pub struct Eager;

impl Patience for Eager {
    fn pause(&mut self, _round: u32, _holder: Holder) -> Result<bool> {
        yield_now();
        Ok(true)
    }
}

/// Never gives up and never asks: for models in which nobody dies.
pub struct Calm;

impl Patience for Calm {
    fn pause(&mut self, _round: u32, _holder: Holder) -> Result<bool> {
        yield_now();
        Ok(false)
    }
}

/// Asks whether the holder lives, and gives up after so many pauses.
pub struct Bounded(pub u32);

impl Patience for Bounded {
    fn pause(&mut self, _round: u32, holder: Holder) -> Result<bool> {
        if self.0 == 0 {
            return Err(Error::Timeout { waited_for: holder });
        }
        self.0 -= 1;
        yield_now();
        Ok(true)
    }
}
