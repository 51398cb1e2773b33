//! An emulated persistent medium: a companion file that holds what a power failure would leave.
//!
//! The segment's own file plays the processor's cache: it has every store at once, whoever is
//! killed. The *image* in the companion has what was flushed and fenced, line by line. A fence
//! copies the lines that this thread flushed before. In front of the image stand the counters, the
//! latency model and a wear counter for each line, all shared by those who have the segment mapped.

use std::cell::RefCell;
use std::hint::spin_loop;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fstat, ftruncate, seek};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::time::{ClockId, clock_gettime};

use crate::map_error::MapError;
use crate::mapping::Access;
use crate::region::Region;
use crate::sigbus::Guard;
use crate::words::Window;
use crate::{CACHE_LINE, Offset};

/// Bytes of the page of counters at the start of the companion.
const SHEET_BYTES: u64 = 4096;
const WORDS: usize = CACHE_LINE as usize / 8;
const LINE_WORDS: u64 = CACHE_LINE / 8;
/// "VASMEDIA", to tell a companion from any other file.
const MAGIC: u64 = u64::from_le_bytes(*b"VASMEDIA");
const MAGIC_AT: u64 = 0;
const MODEL_AT: u64 = 8;
/// When the device has written all that it was given, in ns of the monotonic clock.
const BUSY_AT: u64 = 64;
/// The first counter; each has a line of its own.
const COUNTS_AT: u64 = 128;

/// What is counted, in the order of [`Media::counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Calls that flushed something.
    Flushes,
    /// Lines that these wrote back, each time counted.
    Lines,
    /// Fences that waited for flushed lines.
    Fences,
    /// Lines whose content on the medium changed, which is what wears it.
    Written,
    /// Words of 8 bytes that changed on the medium.
    Words,
    /// Bytes of redo records that were flushed.
    Logged,
    /// Transactions that changed something.
    Commits,
    /// Bytes that these were asked to write, the log and all bookkeeping of the medium apart.
    Asked,
}

/// Names of the counters, in the order of [`Media::counts`].
pub const COUNTS: [&str; 8] = [
    "flushes",
    "lines",
    "fences",
    "lines_written",
    "words_written",
    "bytes_logged",
    "commits",
    "bytes_asked",
];

/// How slow the device is; zeros for as fast as this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// A fence lasts at least so many nanoseconds, if there is anything to wait for,
    pub fence_ns: u64,
    /// and so many more for each line.
    pub line_ns: u64,
    /// All processes together write at most so many bytes a second; 0 is no limit.
    pub write_bytes_per_s: u64,
}

/// Which lines that were not fenced a power failure leaves in their new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Each by itself, as a processor evicts lines whenever it likes.
    Each,
    /// None of them.
    None,
    /// All of them.
    All,
}

thread_local! {
    /// Lines that this thread flushed and has not fenced: medium, place.
    static PENDING: RefCell<Vec<(u64, Offset)>> = const { RefCell::new(Vec::new()) };
}

/// An emulated medium, as one mapping of the segment uses it.
pub struct Media {
    // Dropped in this order: the guard knows the region's addresses.
    guard: Guard,
    region: Region,
    fd: OwnedFd,
    /// Which of this process's media it is.
    id: u64,
    /// Bytes that the segment may ever have.
    reserved: u64,
    log: Range<Offset>,
}

impl Media {
    /// Maps the companion of a segment of `reserved` bytes, whole pages, whose redo records are in
    /// `log`. An empty file, which nobody else may map yet, becomes one, of what `segment` has now,
    /// as if all of it were durable.
    ///
    /// # Errors
    /// As [`crate::Mapped::map`]; `Refused` for a file that is no companion.
    pub fn map(
        fd: BorrowedFd<'_>,
        segment: BorrowedFd<'_>,
        reserved: u64,
        access: Access,
        log: Range<Offset>,
    ) -> Result<Media, MapError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let bytes = image_at(reserved)
            .checked_add(reserved)
            .filter(|&bytes| bytes <= isize::MAX as u64)
            .ok_or(MapError::BadSize(reserved))?;
        let refused = |source: io::Error| MapError::Refused { reserve: bytes, source };
        let fd = fcntl_dupfd_cloexec(fd, 0).map_err(|errno| refused(errno.into()))?;
        let found = fstat(&fd).map_err(|errno| refused(errno.into()))?.st_size as u64;
        if found == 0 && access == Access::ReadWrite {
            ftruncate(&fd, bytes).map_err(|errno| refused(errno.into()))?;
        } else if found != bytes {
            return Err(refused(io::Error::other("it is the medium of another segment")));
        }
        let region = Region::map(fd.as_fd(), bytes, access, false).map_err(refused)?;
        let guard = Guard::watch(region.window()).map_err(refused)?.ok_or(MapError::TooMany)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let media = Media { guard, region, fd, id, reserved, log };
        if found == 0 {
            media.take_over(segment).map_err(refused)?;
        }
        if media.sheet(MAGIC_AT).load(Ordering::Acquire) != MAGIC {
            return Err(refused(io::Error::other("it is not the medium of a segment")));
        }
        Ok(media)
    }

    /// Fills a fresh image with what the segment has.
    fn take_over(&self, segment: BorrowedFd<'_>) -> io::Result<()> {
        self.back(0, 0)?;
        let mut bytes = vec![0; 1 << 20];
        for extent in data_extents(segment, self.reserved)? {
            self.back(extent.start, extent.end - extent.start)?;
            let mut at = extent.start;
            while at < extent.end {
                let most = bytes.len().min((extent.end - at) as usize);
                let read = rustix::io::pread(segment, &mut bytes[..most], at)?;
                if read == 0 {
                    break;
                }
                self.window().copy_in(image_at(self.reserved) + at, &bytes[..read]);
                at += read as u64;
            }
        }
        self.sheet(MAGIC_AT).store(MAGIC, Ordering::Release);
        Ok(())
    }

    fn window(&self) -> &Window {
        self.region.window()
    }

    /// A word of the counters' page, which is always there.
    fn sheet(&self, at: u64) -> &AtomicU64 {
        static NOWHERE: AtomicU64 = AtomicU64::new(0);
        self.window().word(at).unwrap_or(&NOWHERE)
    }

    fn count(&self, what: Count, by: u64) {
        let at = COUNTS_AT + what as u64 * CACHE_LINE;
        self.sheet(at).fetch_add(by, Ordering::Relaxed);
    }

    /// All counters, named by [`COUNTS`].
    pub fn counts(&self) -> [u64; COUNTS.len()] {
        std::array::from_fn(|i| {
            self.sheet(COUNTS_AT + i as u64 * CACHE_LINE).load(Ordering::Relaxed)
        })
    }

    /// The latency model, for all who use this medium.
    pub fn latency(&self) -> Latency {
        let [fence_ns, line_ns, write_bytes_per_s] =
            [0, 8, 16].map(|at| self.sheet(MODEL_AT + at).load(Ordering::Relaxed));
        Latency { fence_ns, line_ns, write_bytes_per_s }
    }

    /// Sets the latency model, for all who use this medium.
    pub fn set_latency(&self, latency: Latency) {
        let Latency { fence_ns, line_ns, write_bytes_per_s } = latency;
        for (at, value) in [(0, fence_ns), (8, line_ns), (16, write_bytes_per_s)] {
            self.sheet(MODEL_AT + at).store(value, Ordering::Relaxed);
        }
    }

    /// Lines that were ever written, with the number of times, which saturates.
    ///
    /// # Errors
    /// Those of the system.
    pub fn wear(&self) -> io::Result<Vec<(u64, u32)>> {
        let mut found = Vec::new();
        for extent in data_extents(self.fd.as_fd(), image_at(self.reserved))? {
            for at in (extent.start.max(SHEET_BYTES)..extent.end).step_by(8) {
                let word = self.window().word(at).map_or(0, |word| word.load(Ordering::Relaxed));
                let line = (at - SHEET_BYTES) / 4;
                let halves = [word as u32, (word >> 32) as u32];
                let lines = (line..).zip(halves).filter(|&(_, times)| times != 0);
                found.extend(lines);
            }
        }
        Ok(found)
    }

    /// Whether the companion vanished under the mapping.
    pub(crate) fn poisoned(&self) -> bool {
        self.guard.poisoned()
    }

    /// Backs the image and the wear counters of `len` bytes from `at`: a hole in a full file system
    /// would be a fault.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn back(&self, at: Offset, len: u64) -> io::Result<()> {
        let wear = SHEET_BYTES + at / CACHE_LINE * 4;
        for (at, len) in [
            (0, SHEET_BYTES),
            (wear, (len / CACHE_LINE + 2) * 4),
            (image_at(self.reserved) + at, len),
        ] {
            if len > 0 {
                let mode = FallocateFlags::KEEP_SIZE;
                rustix::io::retry_on_intr(|| fallocate(&self.fd, mode, at, len))?;
            }
        }
        Ok(())
    }

    /// Lines of `len` bytes from `at` are on their way.
    pub(crate) fn flushed(&self, at: Offset, len: u64) {
        let lines = (at / CACHE_LINE..(at + len).div_ceil(CACHE_LINE)).map(|line| (self.id, line));
        self.count(Count::Flushes, 1);
        self.count(Count::Lines, lines.clone().count() as u64);
        if self.log.contains(&at) {
            self.count(Count::Logged, len);
        }
        PENDING.with_borrow_mut(|pending| pending.extend(lines));
    }

    /// A transaction that wrote `bytes` has ended.
    pub(crate) fn committed(&self, bytes: u64) {
        self.count(Count::Commits, 1);
        self.count(Count::Asked, bytes);
    }

    /// What this thread flushed is on the medium from now on.
    pub(crate) fn fence(&self, segment: &Window) {
        let begun_ns = now_ns();
        let mut lines = PENDING.take();
        let mut others = Vec::new();
        lines.retain(|&(id, line)| {
            if id != self.id {
                others.push((id, line));
            }
            id == self.id
        });
        lines.sort_unstable();
        lines.dedup();
        self.count(Count::Fences, 1);
        for &(_, line) in &lines {
            let words = self.write_back(segment, line * CACHE_LINE);
            if words > 0 {
                self.count(Count::Written, 1);
                self.count(Count::Words, words);
                self.wear_out(line);
            }
        }
        self.wait(begun_ns, lines.len() as u64);
        lines.clear();
        lines.extend(others);
        PENDING.set(lines);
    }

    /// Copies a line to the image, and tells how many words of it changed.
    ///
    /// Several threads may do this with one line, and none may put back what is older: each looks
    /// at the image first, replaces only what it saw there, and looks at the segment again. It
    /// takes no lock, so whoever is killed here stops nobody.
    fn write_back(&self, segment: &Window, at: Offset) -> u64 {
        let image = image_at(self.reserved) + at;
        let mut changed = 0;
        loop {
            let before = line(self.window(), image);
            let new = line(segment, at);
            // Two looks that agree are one moment: a line reaches the medium as a whole.
            let mut settled = line(segment, at) == new;
            for i in 0..WORDS {
                if !settled || before[i] == new[i] {
                    continue;
                }
                let Some(word) = self.window().writable_word(image + i as u64 * 8) else {
                    self.guard.poison();
                    return changed;
                };
                let order = Ordering::SeqCst;
                match word.compare_exchange(before[i], new[i], order, order) {
                    Ok(_) => changed += 1,
                    Err(_) => settled = false,
                }
            }
            if settled && line(segment, at) == new {
                return changed;
            }
            spin_loop();
        }
    }

    fn wear_out(&self, line: u64) {
        let shift = 32 * (line % 2);
        if let Some(word) = self.window().writable_word(SHEET_BYTES + line / 2 * 8)
            && (word.load(Ordering::Relaxed) >> shift) as u32 != u32::MAX
        {
            word.fetch_add(1 << shift, Ordering::Relaxed);
        }
    }

    /// Lasts as long as the device would have needed since `begun_ns`.
    fn wait(&self, begun_ns: u64, lines: u64) {
        let latency = self.latency();
        if lines == 0 || latency == Latency::default() {
            return;
        }
        let mut until_ns = begun_ns + latency.fence_ns + lines * latency.line_ns;
        let byte_ns = lines * CACHE_LINE * 1_000_000_000;
        if let Some(takes_ns) = byte_ns.checked_div(latency.write_bytes_per_s) {
            let busy = self.sheet(BUSY_AT);
            let idle_ns = |busy_ns: u64| Some(busy_ns.max(begun_ns) + takes_ns);
            let order = Ordering::Relaxed;
            let before = busy.fetch_update(order, order, idle_ns).unwrap_or(0);
            until_ns = until_ns.max(before.max(begun_ns) + takes_ns);
        }
        while now_ns() < until_ns {
            spin_loop();
        }
    }

    /// The power fails: of each line that differs, segment and image get one of both contents, as
    /// `survival` and `seed` say. Returns how many differed, and how many of these are new.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn crash(
        &self,
        segment: &Window,
        fd: BorrowedFd<'_>,
        survival: Survival,
        seed: u64,
    ) -> io::Result<(u64, u64)> {
        let (mut differed, mut kept) = (0, 0);
        for extent in data_extents(fd, self.reserved)? {
            for at in (extent.start..extent.end).step_by(CACHE_LINE as usize) {
                let image = image_at(self.reserved) + at;
                let (new, old) = (line(segment, at), line(self.window(), image));
                if new == old {
                    continue;
                }
                differed += 1;
                let survives = match survival {
                    Survival::Each => mix(seed ^ mix(at)) & 1 == 1,
                    Survival::None => false,
                    Survival::All => true,
                };
                kept += u64::from(survives);
                if survives {
                    put_line(self.window(), image, new);
                } else {
                    put_line(segment, at, old);
                }
            }
        }
        Ok((differed, kept))
    }
}

/// Where the image begins: behind the counters and 4 bytes of wear for each line.
fn image_at(reserved: u64) -> u64 {
    SHEET_BYTES + (reserved / CACHE_LINE * 4).next_multiple_of(SHEET_BYTES)
}

fn line(window: &Window, at: u64) -> [u64; WORDS] {
    std::array::from_fn(|i| {
        window.word(at + i as u64 * 8).map_or(0, |word| word.load(Ordering::SeqCst))
    })
}

fn put_line(window: &Window, at: u64, words: [u64; WORDS]) {
    for (i, value) in (0..LINE_WORDS).zip(words) {
        if let Some(word) = window.writable_word(at + i * 8) {
            word.store(value, Ordering::SeqCst);
        }
    }
}

/// The parts of the first `bytes` of a file that are no holes.
fn data_extents(fd: BorrowedFd<'_>, bytes: u64) -> io::Result<Vec<Range<u64>>> {
    let end = (fstat(fd)?.st_size as u64).min(bytes);
    let (mut extents, mut at) = (Vec::new(), 0);
    while at < end {
        let start = match seek(fd, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        if start >= end {
            break;
        }
        at = seek(fd, SeekFrom::Hole(start))?.min(end);
        extents.push(start..at);
    }
    Ok(extents)
}

/// The finalizer of splitmix64: every bit of the result depends on all of `x`.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
