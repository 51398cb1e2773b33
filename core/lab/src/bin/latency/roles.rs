//! The three that meet at a lock: the victim dies with it, the writer waits for it, the reader does
//! not.

use crate::place::{Attached, Place};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::os::Sleeper;
use vasmem_engine::{Error, Holder, Patience, Result};
use vasmem_memory::Access;
use vasmem_structs::HashMap;

/// Name of the map.
pub const MAP: &str = "map";
/// Keys that every transaction writes together, so that several nodes are locked at a time.
pub const KEYS: u64 = 8;
const VALUE_BYTES: usize = 100;
/// Longer than anything that is measured: running into it is a failure.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Usual patience of an operation.
pub fn sleeper() -> Sleeper {
    Sleeper::new(TIMEOUT)
}

/// The value that stands for `number`.
fn value(number: u64) -> Vec<u8> {
    number.to_le_bytes().iter().copied().cycle().take(VALUE_BYTES).collect()
}

/// The number that a value stands for; `None` for bytes that no writer wrote.
fn number_of(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(*bytes.first_chunk()?);
    (bytes == value(number)).then_some(number)
}

/// Writes `number` under all keys in one transaction, and returns the number that it found under
/// all of them; `None` if they differed or one was no number.
pub fn swap_all(
    segment: &Attached,
    map: &HashMap,
    number: u64,
    patience: &mut dyn Patience,
) -> Result<Option<u64>> {
    let (bytes, mut record) = (value(number), Vec::new());
    segment.write(patience, |tx| {
        let mut found = Vec::with_capacity(KEYS as usize);
        for key in 0..KEYS {
            let range = map.get(tx, &key.to_le_bytes(), &mut record)?;
            found.push(range.and_then(|range| number_of(&record[range])));
            map.put(tx, &key.to_le_bytes(), &bytes, &mut record)?;
        }
        found.dedup();
        Ok(if found.len() == 1 { found[0] } else { None })
    })
}

/// Opens the map that [`MAP`] names.
pub fn open_map(segment: &Attached) -> Result<HashMap> {
    let directory = segment.geometry.directory_at;
    let found = segment.read(&mut sleeper(), |peek| HashMap::open(peek, directory, MAP))?;
    found.map(|(map, _)| map).ok_or(Error::Removed)
}

/// What a victim is to do, in the words of its command line.
pub struct Orders {
    /// MiB of private memory to touch first.
    pub touch_mib: usize,
    /// Where to stop in the commit.
    pub point: Point,
    /// Number to write.
    pub number: u64,
}

/// The victim's life: it stops at the point, with its locks, and is killed there.
pub fn die(place: &Place, orders: &Orders) -> Result<()> {
    let touched = black_box(vec![1u8; orders.touch_mib << 20]);
    let segment = place.attach(Access::ReadWrite)?;
    let map = open_map(&segment)?;
    segment.switches.arm(orders.point, 0, Action::Stop);
    swap_all(&segment, &map, orders.number, &mut sleeper())?;
    drop(touched);
    Ok(())
}

/// The usual patience, in view of others.
pub struct Watched<'a> {
    inner: Sleeper,
    /// Rounds of the present wait.
    rounds: &'a AtomicU32,
}

impl<'a> Watched<'a> {
    pub fn new(rounds: &'a AtomicU32) -> Watched<'a> {
        rounds.store(0, SeqCst);
        Watched { inner: sleeper(), rounds }
    }
}

impl Patience for Watched<'_> {
    fn pause(&mut self, round: u32, holder: Holder) -> Result<bool> {
        self.rounds.store(round, SeqCst);
        self.inner.pause(round, holder)
    }
}

/// What happens to the lock, for the reader to sort its reads by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Phase {
    /// Nobody holds it for long.
    Free = 0,
    /// The stopped victim holds it, and another writer waits.
    Held = 1,
    /// The victim was killed, and the waiting writer has not committed yet.
    Dying = 2,
}

/// Buckets of reading times: eight to a doubling, from 8 ns up to hours.
const BUCKETS: usize = 8 * 42;

/// Reads of one phase.
pub struct Reads {
    /// By time.
    counts: [AtomicU64; BUCKETS],
    pub longest_ns: AtomicU64,
    /// Times that a read found itself in the way of a writer and began again.
    pub retries: AtomicU64,
}

impl Default for Reads {
    fn default() -> Reads {
        Reads {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            longest_ns: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }
}

impl Reads {
    fn note(&self, taken_ns: u64) {
        let taken_ns = taken_ns.max(8);
        let doublings = taken_ns.ilog2() - 3;
        // The leading bit is always there: the three behind it are the place in the doubling.
        let bucket = doublings as usize * 8 + (taken_ns >> doublings) as usize - 8;
        self.counts[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.longest_ns.fetch_max(taken_ns, Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(SeqCst)).sum()
    }

    /// Time in ns that `part` of them do not exceed, at most an eighth too long.
    pub fn quantile_ns(&self, part: f64) -> u64 {
        let mut left = (part * self.count() as f64).ceil() as u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            let count = count.load(SeqCst);
            if count >= left {
                return (bucket as u64 % 8 + 9) << (bucket / 8);
            }
            left -= count;
        }
        u64::MAX
    }
}

/// Numbers of kill `n`: `2n` is old, `2n + 1` is the victim's, and this is the waiting writer's,
/// old for the next kill.
pub fn after_all(number: u64) -> u64 {
    (number | 1) + 1
}

/// What the reader and the others know of each other.
#[derive(Default)]
pub struct Stage {
    /// `number << 2 | phase`: what readers must see, and when.
    scene: AtomicU64,
    over: AtomicBool,
    pub reads: [Reads; 3],
}

impl Stage {
    /// Begins a phase in which a read finds `number`; or the waiting writer's, while the victim
    /// dies.
    pub fn set(&self, phase: Phase, number: u64) {
        self.scene.store(number << 2 | phase as u64, SeqCst);
    }

    /// Sends the reader home.
    pub fn end(&self) {
        self.over.store(true, SeqCst);
    }

    pub fn reads(&self, phase: Phase) -> &Reads {
        &self.reads[phase as usize]
    }
}

/// Patience of the reader: it never pauses, and counts how often it is asked to.
struct Hasty(u64);

impl Patience for Hasty {
    fn pause(&mut self, _round: u32, _holder: Holder) -> Result<bool> {
        self.0 += 1;
        Ok(false)
    }
}

/// Reads all keys in turn, all the time; returns what no read may find.
pub fn read_on(place: &Place, stage: &Stage) -> Result<Option<String>> {
    let segment = place.attach(Access::ReadOnly)?;
    let map = open_map(&segment)?;
    let (mut record, mut key) = (Vec::new(), 0);
    while !stage.over.load(SeqCst) {
        key = (key + 1) % KEYS;
        let before = stage.scene.load(SeqCst);
        let (mut patience, start) = (Hasty(0), Instant::now());
        let found =
            segment.read(&mut patience, |peek| map.get(peek, &key.to_le_bytes(), &mut record))?;
        let taken_ns = start.elapsed().as_nanos() as u64;
        let number = found.and_then(|range| number_of(&record[range]));
        let Some(number) = number else {
            return Ok(Some(format!("key {key} has a value that nobody wrote")));
        };
        let after = stage.scene.load(SeqCst);
        let (phase, expected) = ((before & 3) as usize, before >> 2);
        let allowed = match phase {
            phase if phase == Phase::Held as usize => number == expected,
            phase if phase == Phase::Dying as usize => {
                number == expected || number == after_all(expected)
            }
            _ => true,
        };
        if before == after && !allowed {
            return Ok(Some(format!("key {key} was {number}, not {expected}")));
        }
        let reads = &stage.reads[phase];
        reads.note(taken_ns);
        if before == after {
            reads.retries.fetch_add(patience.0, Relaxed);
        }
    }
    Ok(None)
}
