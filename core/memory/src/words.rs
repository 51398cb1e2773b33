//! The one view of mapped bytes: atomic words and copies, each checked against the bounds.
#![allow(unsafe_code)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::copy;
use crate::flush::{self, Method};

/// A range of mapped bytes with its bounds. Every access is checked.
#[derive(Debug)]
pub(crate) struct Window {
    base: NonNull<u8>,
    /// Where the same bytes are written: `base`, or another mapping of them.
    written: NonNull<u8>,
    /// Words that can be read.
    readable: u64,
    /// Words that can be written: all or none of them.
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
        let readable = bytes / 8;
        let writable = if writable { readable } else { 0 };
        Window { base, written: base, readable, writable, open: AtomicU64::new(writable) }
    }

    /// From now on writes go to another mapping of the same bytes; false, and nothing changed, if
    /// it has not as many that can be written.
    ///
    /// # Safety
    /// `other` lives as long as this one, and maps the same bytes of the same file.
    pub(crate) unsafe fn write_through(&mut self, other: &Window) -> bool {
        let fits = other.writable == self.writable;
        if fits {
            self.written = other.written;
        }
        fits
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.readable * 8
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable != 0
    }

    /// Whether writes may take the fast path, where the window is writable at all.
    ///
    /// # Panics
    /// When told to close in a build with the feature `untapped`, where they always may.
    pub(crate) fn set_open(&self, open: bool) {
        if cfg!(feature = "untapped") && !open {
            panic!("this build has no tap");
        }
        let bound = if open { self.writable } else { 0 };
        self.open.store(bound, Ordering::Relaxed);
    }

    /// Whether writes may take the fast path now.
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        cfg!(feature = "untapped") || self.open.load(Ordering::Relaxed) != 0
    }

    /// Words that can be written on the fast path.
    #[inline(always)]
    fn open_bound(&self) -> u64 {
        if cfg!(feature = "untapped") { self.writable } else { self.open.load(Ordering::Relaxed) }
    }

    /// The word at `at`, to read.
    #[inline(always)]
    pub(crate) fn word(&self, at: u64) -> Option<&AtomicU64> {
        self.word_below(self.base, at, self.readable)
    }

    /// The word at `at`, to write on the fast path.
    #[inline(always)]
    pub(crate) fn open_word(&self, at: u64) -> Option<&AtomicU64> {
        self.word_below(self.written, at, self.open_bound())
    }

    /// The word at `at`, to write on the slow path.
    pub(crate) fn writable_word(&self, at: u64) -> Option<&AtomicU64> {
        self.word_below(self.written, at, self.writable)
    }

    /// `base` and `bound` are this window's own.
    #[inline(always)]
    fn word_below(&self, base: NonNull<u8>, at: u64, bound: u64) -> Option<&AtomicU64> {
        // The low bits become the high ones: one compare refuses what is unaligned or beyond.
        if at.rotate_right(3) < bound {
            // SAFETY: `at` is the place of one of the first `bound` words, which stay mapped while
            // `self` lives; shared bytes are only ever used atomically.
            Some(unsafe { AtomicU64::from_ptr(base.as_ptr().add(at as usize).cast()) })
        } else {
            None
        }
    }

    /// The low half of the word at `at`, to wait for.
    pub(crate) fn half(&self, at: u64) -> Option<&AtomicU32> {
        // SAFETY: the first half of a word is aligned for what is half as large, and stays mapped
        // as long; both are only ever used atomically.
        self.word(at).map(|word| unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) })
    }

    /// Writes words from the 8-aligned `at` on, on the fast path; false, and nothing done, if not
    /// all of them are open.
    #[inline(always)]
    pub(crate) fn store_words_open(&self, at: u64, words: &[u64]) -> bool {
        // SAFETY: any bytes of words are bytes, and there are 8 to each.
        let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) };
        at.is_multiple_of(8) && self.copy_in_open(at, bytes)
    }

    /// As `word_below`.
    #[inline(always)]
    fn span_below(&self, base: NonNull<u8>, at: u64, len: u64, bound: u64) -> Option<*mut u8> {
        let bound = bound * 8;
        if at <= bound && len <= bound - at {
            // SAFETY: at most one past the end of the window.
            Some(unsafe { base.as_ptr().add(at as usize) })
        } else {
            None
        }
    }

    /// Flushes the lines of `len` bytes from `at`; false if that is not inside the window.
    #[inline]
    pub(crate) fn flush(&self, method: Method, at: u64, len: u64) -> bool {
        let place = self.span_below(self.base, at, len, self.readable);
        // SAFETY: all of it is inside the window, which consists of whole pages.
        place.map(|place| unsafe { flush::lines(method, place, len as usize) }).is_some()
    }

    /// Fills `into` from `at`; false, and untouched, if that is not inside the window.
    #[inline(always)]
    pub(crate) fn copy_out(&self, at: u64, into: &mut [u8]) -> bool {
        let from = self.span_below(self.base, at, into.len() as u64, self.readable);
        // SAFETY: all of it is inside the window, whose ends are 8-aligned.
        from.map(|from| unsafe { copy::out(from, into) }).is_some()
    }

    /// Writes `from` to `at` on the fast path; false, and nothing done, if that is not open.
    #[inline(always)]
    pub(crate) fn copy_in_open(&self, at: u64, from: &[u8]) -> bool {
        self.copy_in_below(at, from, self.open_bound())
    }

    /// Writes `from` to `at` on the fast path and starts to write its lines back, whole lines past
    /// the caches; false, and nothing done, if that is not open.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn stream_in_open(&self, method: Method, at: u64, from: &[u8]) -> bool {
        let bound = self.open_bound();
        let Some(to) = self.span_below(self.written, at, from.len() as u64, bound) else {
            return false;
        };
        let line = crate::CACHE_LINE as usize;
        let head = (to.addr().wrapping_neg() % line).min(from.len());
        let (first, rest) = from.split_at(head);
        let (lines, last) = rest.split_at(rest.len() / line * line);
        // SAFETY: the three are the bytes in order, inside the window and writable; behind the head
        // a line begins. The window consists of whole pages, so of whole lines.
        unsafe {
            copy::into(to, first);
            copy::stream(to.add(head), lines);
            copy::into(to.add(head + lines.len()), last);
            flush::lines(method, to, first.len());
            flush::lines(method, to.add(head + lines.len()), last.len());
        }
        true
    }

    /// Writes `from` to `at` on the slow path; false, and nothing done, if that is not writable.
    pub(crate) fn copy_in(&self, at: u64, from: &[u8]) -> bool {
        self.copy_in_below(at, from, self.writable)
    }

    #[inline(always)]
    fn copy_in_below(&self, at: u64, from: &[u8], bound: u64) -> bool {
        let to = self.span_below(self.written, at, from.len() as u64, bound);
        // SAFETY: all of it is inside the window and writable.
        to.map(|to| unsafe { copy::into(to, from) }).is_some()
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
