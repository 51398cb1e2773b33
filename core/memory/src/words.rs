//! The one view of mapped bytes: atomic words, and copies made of them.
//!
//! Copies are relaxed. Up to [`LARGE`] bytes they go by whole aligned words, each of them untorn;
//! above it by one string instruction, which promises nothing beyond single bytes.
#![allow(unsafe_code)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::flush::{self, Method};

/// The longest copy, in bytes, that goes word by word.
const LARGE: usize = 128;

/// A range of mapped bytes with its bounds. Every access is checked.
#[derive(Debug)]
pub(crate) struct Window {
    base: NonNull<u8>,
    /// Bytes that can be read; a multiple of 8.
    readable: u64,
    /// Bytes that can be written: all or none of them.
    writable: u64,
    /// `writable`, or 0 while writes must take the slow path: one compare tells both.
    open: AtomicU64,
}

// SAFETY: the window only hands out atomics and copies, which any thread may use.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// # Safety
    /// The `bytes` from `base` stay mapped, readable and, if so said, writable while the window
    /// lives; nobody makes a reference to them. All of it is whole pages and
    /// fits `isize`.
    pub(crate) unsafe fn new(base: NonNull<u8>, bytes: u64, writable: bool) -> Window {
        let writable = if writable { bytes } else { 0 };
        Window {
            base,
            readable: bytes,
            writable,
            open: AtomicU64::new(writable),
        }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.readable
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable != 0
    }

    /// Whether writes may take the fast path, where the window is writable at all.
    pub(crate) fn set_open(&self, open: bool) {
        let bound = if open { self.writable } else { 0 };
        self.open.store(bound, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) != 0
    }

    /// The word at `at`, to read.
    #[inline(always)]
    pub(crate) fn word(&self, at: u64) -> Option<&AtomicU64> {
        self.word_below(at, self.readable)
    }

    /// The word at `at`, to write on the fast path.
    #[inline(always)]
    pub(crate) fn open_word(&self, at: u64) -> Option<&AtomicU64> {
        self.word_below(at, self.open.load(Ordering::Relaxed))
    }

    /// The word at `at`, to write on the slow path.
    pub(crate) fn writable_word(&self, at: u64) -> Option<&AtomicU64> {
        self.word_below(at, self.writable)
    }

    /// `bound` is one of this window's own.
    #[inline(always)]
    fn word_below(&self, at: u64, bound: u64) -> Option<&AtomicU64> {
        // The low bits become the high ones: one compare refuses what is unaligned or beyond.
        if at.rotate_right(3) < bound >> 3 {
            // SAFETY: `at` is a multiple of 8 below `bound`, which is a multiple of 8 of bytes that
            // stay mapped while `self` lives; shared bytes are only ever used atomically.
            Some(unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at as usize).cast()) })
        } else {
            None
        }
    }

    #[inline(always)]
    fn span_below(&self, at: u64, len: u64, bound: u64) -> Option<*mut u8> {
        if at <= bound && len <= bound - at {
            // SAFETY: at most one past the end of the window.
            Some(unsafe { self.base.as_ptr().add(at as usize) })
        } else {
            None
        }
    }

    /// Flushes the lines of `len` bytes from `at`; false if that is not inside the window.
    #[inline]
    pub(crate) fn flush(&self, method: Method, at: u64, len: u64) -> bool {
        let place = self.span_below(at, len, self.readable);
        // SAFETY: all of it is inside the window, which consists of whole pages.
        place
            .map(|place| unsafe { flush::lines(method, place, len as usize) })
            .is_some()
    }

    /// Fills `into` from `at`; false, and untouched, if that is not inside the window.
    #[inline(always)]
    pub(crate) fn copy_out(&self, at: u64, into: &mut [u8]) -> bool {
        let from = self.span_below(at, into.len() as u64, self.readable);
        // SAFETY: all of it is inside the window, whose ends are 8-aligned.
        from.map(|from| unsafe { copy_out(from, into) }).is_some()
    }

    /// Writes `from` to `at` on the fast path; false, and nothing done, if that is not open.
    #[inline(always)]
    pub(crate) fn copy_in_open(&self, at: u64, from: &[u8]) -> bool {
        self.copy_in_below(at, from, self.open.load(Ordering::Relaxed))
    }

    /// Writes `from` to `at` on the slow path; false, and nothing done, if that is not writable.
    pub(crate) fn copy_in(&self, at: u64, from: &[u8]) -> bool {
        self.copy_in_below(at, from, self.writable)
    }

    #[inline(always)]
    fn copy_in_below(&self, at: u64, from: &[u8], bound: u64) -> bool {
        let to = self.span_below(at, from.len() as u64, bound);
        // SAFETY: all of it is inside the window and writable.
        to.map(|to| unsafe { copy_in(to, from) }).is_some()
    }

    /// Hints that the line at `at` will be read.
    #[inline(always)]
    pub(crate) fn prefetch(&self, at: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let place = self.base.as_ptr().wrapping_add(at as usize);
            // SAFETY: a prefetch of any address does not fault; SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast_const().cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
}

/// # Safety
/// `place` is 8-aligned and its word is mapped.
#[inline(always)]
unsafe fn load(place: *mut u8) -> u64 {
    // SAFETY: as this function's.
    unsafe { AtomicU64::from_ptr(place.cast()).load(Ordering::Relaxed) }
}

/// Writes the `len` (below 8) low bytes of `word` to private memory.
///
/// # Safety
/// `to` is valid for writes of `len` bytes.
#[inline(always)]
unsafe fn put(mut to: *mut u8, mut word: u64, len: usize) {
    // SAFETY: the steps add up to `len`.
    unsafe {
        if len & 4 != 0 {
            to.cast::<u32>().write_unaligned(word as u32);
            word >>= 32;
            to = to.add(4);
        }
        if len & 2 != 0 {
            to.cast::<u16>().write_unaligned(word as u16);
            word >>= 16;
            to = to.add(2);
        }
        if len & 1 != 0 {
            to.write(word as u8);
        }
    }
}

/// # Safety
/// All words that the bytes touch are mapped.
#[inline(always)]
unsafe fn copy_out(from: *mut u8, into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if into.len() > LARGE {
        // SAFETY: as this function's; `into` is private memory apart from it.
        unsafe { copy_string(from, into.as_mut_ptr(), into.len()) };
        return;
    }
    if from.addr() & 7 == 0 {
        // SAFETY: as this function's.
        unsafe { copy_out_aligned(from, into) }
    } else {
        // SAFETY: as this function's.
        unsafe { copy_out_skewed(from, into) }
    }
}

/// # Safety
/// `from` is 8-aligned and all words that the bytes touch are mapped.
#[inline(always)]
unsafe fn copy_out_aligned(from: *mut u8, into: &mut [u8]) {
    let (to, len) = (into.as_mut_ptr(), into.len());
    let whole = len & !7;
    let mut last = 0;
    let mut done = 0;
    // SAFETY: `done` stays below `len`, and only words that hold some of the bytes are read; the
    // last write of the long case ends where `into` ends and is 8 of its at least 8 bytes.
    unsafe {
        while done < whole {
            last = load(from.add(done));
            to.add(done).cast::<u64>().write_unaligned(last);
            done += 8;
        }
        let rest = len & 7;
        if rest == 0 {
            return;
        }
        let word = load(from.add(whole));
        if whole == 0 {
            put(to, word, rest);
        } else {
            // The end of the last whole word again, and the rest, in one write.
            let shift = 8 * rest as u32;
            let end = (last >> shift) | (word << (64 - shift));
            to.add(len - 8).cast::<u64>().write_unaligned(end);
        }
    }
}

/// # Safety
/// `from` is not 8-aligned and all words that the bytes touch are mapped.
#[inline]
unsafe fn copy_out_skewed(from: *mut u8, into: &mut [u8]) {
    let (to, len) = (into.as_mut_ptr(), into.len());
    if len == 0 {
        return;
    }
    let skew = from.addr() & 7;
    let shift = 8 * skew as u32;
    let mut done = 0;
    // SAFETY: a word is read only if it holds one of the bytes still missing: the first holds the
    // bytes from `skew` on, the next holds more where these do not suffice.
    unsafe {
        let mut place = from.sub(skew);
        let mut word = load(place);
        while len - done >= 8 {
            place = place.add(8);
            let next = load(place);
            let bytes = (word >> shift) | (next << (64 - shift));
            to.add(done).cast::<u64>().write_unaligned(bytes);
            word = next;
            done += 8;
        }
        let rest = len - done;
        let mut bytes = word >> shift;
        if rest > 8 - skew {
            bytes |= load(place.add(8)) << (64 - shift);
        }
        put(to.add(done), bytes, rest);
    }
}

/// # Safety
/// The bytes are mapped and writable.
#[inline(always)]
unsafe fn copy_in(to: *mut u8, from: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if from.len() > LARGE {
        // SAFETY: as this function's; `from` is private memory apart from it.
        unsafe { copy_string(from.as_ptr(), to, from.len()) };
        return;
    }
    let head = to.addr().wrapping_neg() & 7;
    let (head, rest) = from.split_at(head.min(from.len()));
    let words = rest.chunks_exact(8);
    let tail = words.remainder();
    // SAFETY: head, words and tail are the bytes in order; behind the head all is 8-aligned, so
    // each atomic below is aligned.
    unsafe {
        for (i, byte) in head.iter().enumerate() {
            AtomicU8::from_ptr(to.add(i)).store(*byte, Ordering::Relaxed);
        }
        let to = to.add(head.len());
        for (i, word) in words.enumerate() {
            let mut value = [0; 8];
            value.copy_from_slice(word);
            let place = AtomicU64::from_ptr(to.add(8 * i).cast());
            place.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        copy_in_tail(to.add(rest.len() - tail.len()), tail);
    }
}

/// Writes fewer than 8 bytes and none beside them.
///
/// # Safety
/// The bytes are mapped and writable, and `to` is 8-aligned.
#[inline(always)]
unsafe fn copy_in_tail(to: *mut u8, mut from: &[u8]) {
    let mut to = to;
    // SAFETY: the steps add up to the length; larger steps come first, so each is aligned.
    unsafe {
        if let Some((bytes, rest)) = from.split_first_chunk::<4>() {
            let value = u32::from_ne_bytes(*bytes);
            AtomicU32::from_ptr(to.cast()).store(value, Ordering::Relaxed);
            (to, from) = (to.add(4), rest);
        }
        if let Some((bytes, rest)) = from.split_first_chunk::<2>() {
            let value = u16::from_ne_bytes(*bytes);
            AtomicU16::from_ptr(to.cast()).store(value, Ordering::Relaxed);
            (to, from) = (to.add(2), rest);
        }
        if let [byte] = from {
            AtomicU8::from_ptr(to).store(*byte, Ordering::Relaxed);
        }
    }
}

/// A copy that the compiler cannot see into, so it cannot assume that the bytes stand still.
///
/// # Safety
/// The ranges are mapped, readable and writable respectively, and apart.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_string(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: as this function's; the direction flag is clear on entry to any asm block.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}
