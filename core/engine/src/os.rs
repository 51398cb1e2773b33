//! The operating system's part for real processes: byte locks in the companion lock file.

use crate::error::{Error, Holder, Result};
use crate::host::{Host, Patience};
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Relaxed, Release},
};
use std::time::{Duration, Instant};
use vasmem_memory::LockFile;

/// Bytes of the lock file: the life of lane i is byte i.
const RECOVERY: u64 = 1024;
const GROWTH: u64 = 2048;
const ATTACHED: u64 = 2049;

/// Byte locks by which processes know of each other's lives.
pub struct OsHost {
    locks: LockFile,
    /// For each byte from RECOVERY on, the generation of the process a thread of which holds it, or
    /// 0: byte locks do not exclude threads (E7). What it held is not a forked child's.
    held: Box<[AtomicU32]>,
}

impl OsHost {
    /// Uses a private description of the companion lock file.
    pub fn new(locks: LockFile) -> OsHost {
        let held = (RECOVERY..=GROWTH).map(|_| AtomicU32::new(0)).collect();
        OsHost { locks, held }
    }

    fn holder(&self, byte: u64) -> &AtomicU32 {
        &self.held[(byte - RECOVERY) as usize]
    }

    fn take(&self, byte: u64) -> Result<bool> {
        let (holder, mine) = (self.holder(byte), self.generation());
        let before = holder.load(Relaxed);
        if before == mine || holder.compare_exchange(before, mine, AcqRel, Relaxed).is_err() {
            return Ok(false);
        }
        let taken = self.locks.try_exclusive(byte);
        if !matches!(taken, Ok(true)) {
            holder.store(0, Release);
        }
        Ok(taken?)
    }

    fn give_back(&self, byte: u64) {
        // The lock first: a thread that takes the byte in between would lose it. An unlock can only
        // fail for a descriptor that is gone, and with it the lock.
        let _ = self.locks.unlock(byte);
        self.holder(byte).store(0, Release);
    }

    /// Takes the attach lock: exclusively, or together with other writers.
    ///
    /// # Errors
    /// `Os`.
    pub fn attach(&self, exclusive: bool) -> Result<bool> {
        let taken = if exclusive {
            self.locks.try_exclusive(ATTACHED)
        } else {
            self.locks.try_shared(ATTACHED)
        };
        Ok(taken?)
    }

    /// Gives the attach lock up, as the end of an attachment of which views may be left, and tells
    /// whether no other writer has it.
    ///
    /// # Errors
    /// `Os`.
    pub fn detach(&self) -> Result<bool> {
        // First given back, then tried: of two that leave at once, one finds itself the last.
        self.locks.unlock(ATTACHED)?;
        let last = self.locks.try_exclusive(ATTACHED)?;
        self.locks.unlock(ATTACHED)?;
        Ok(last)
    }

    /// pids of those that have the right to grow the segment, for messages.
    pub fn growing(&self) -> Vec<u32> {
        self.locks.holders(GROWTH)
    }

    /// pids of those that have the attach lock, for messages.
    pub fn attached(&self) -> Vec<u32> {
        self.locks.holders(ATTACHED)
    }

    /// Whether another process has the segment attached for writing.
    ///
    /// # Errors
    /// `Os`.
    pub fn is_attached_elsewhere(&self) -> Result<bool> {
        Ok(self.locks.held_elsewhere(ATTACHED)?)
    }
}

impl Host for OsHost {
    fn take_life(&self, lane: u16) -> Result<bool> {
        Ok(self.locks.try_exclusive(u64::from(lane))?)
    }
    fn end_life(&self, lane: u16) {
        let _ = self.locks.unlock(u64::from(lane));
    }
    fn lives_elsewhere(&self, lane: u16) -> Result<bool> {
        Ok(self.locks.held_elsewhere(u64::from(lane))?)
    }
    fn take_recovery(&self, lane: u16) -> Result<bool> {
        self.take(RECOVERY + u64::from(lane))
    }
    fn end_recovery(&self, lane: u16) {
        self.give_back(RECOVERY + u64::from(lane));
    }
    fn take_growth(&self) -> Result<bool> {
        self.take(GROWTH)
    }
    fn end_growth(&self) {
        self.give_back(GROWTH);
    }
    fn generation(&self) -> u32 {
        vasmem_memory::generation()
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// Boot id of this machine's present run, as two words.
///
/// # Errors
/// `Os` if the system does not tell.
pub fn boot_id() -> Result<[u64; 2]> {
    // No process outlives its boot.
    static KNOWN: OnceLock<[u64; 2]> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(*known);
    }
    let found = read_boot_id()?;
    Ok(*KNOWN.get_or_init(|| found))
}

fn read_boot_id() -> Result<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| u64::from_str_radix(digits.get(range).unwrap_or(""), 16).ok();
    match (half(0..16), half(16..32)) {
        (Some(high), Some(low)) => Ok([high, low]),
        _ => Err(Error::Os(std::io::Error::other("the boot id is not a uuid"))),
    }
}

/// Spins, then yields, then sleeps longer and longer, until the time is up. For Rust callers; the
/// Python binding has one that also looks at signals.
pub struct Sleeper {
    timeout: Duration,
    since: Option<Instant>,
}

/// Rounds of a wait that only spin, and rounds that spin or yield.
pub const SPINS: u32 = 64;
/// See [`SPINS`].
pub const YIELDS: u32 = 96;

impl Sleeper {
    /// Waits at most `timeout` in all.
    pub fn new(timeout: Duration) -> Sleeper {
        Sleeper { timeout, since: None }
    }
}

/// Length of the pause in a sleeping round: 50 us, doubling to 1 ms.
pub fn pause_us(round: u32) -> u64 {
    (50 << (round - YIELDS).min(5)).min(1000)
}

impl Patience for Sleeper {
    fn pause(&mut self, round: u32, holder: Holder) -> Result<bool> {
        if round < SPINS {
            std::hint::spin_loop();
            return Ok(false);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > self.timeout {
            return Err(Error::Timeout { waited_for: holder });
        }
        if round < YIELDS {
            std::thread::yield_now();
            return Ok(false);
        }
        std::thread::sleep(Duration::from_micros(pause_us(round)));
        Ok(since.elapsed() > Duration::from_millis(1))
    }
}
