//! Copies between private memory and bytes that anyone may change meanwhile.
//!
//! Copies are relaxed, in ascending order, and by three means: atomic words for the shortest and on
//! other processors, 16-byte moves, and for the longest one string instruction. The latter two are
//! opaque to the compiler, so it cannot assume that the bytes stand still. In all of them a byte is
//! the old or the new one; nothing is promised beyond that.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Fills `into` from shared memory.
///
/// # Safety
/// All aligned words that the bytes touch are mapped.
#[inline(always)]
pub(crate) unsafe fn out(from: *mut u8, into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if into.len() >= wide::SMALLEST {
        // SAFETY: as this function's.
        unsafe { wide::out(from, into) };
        return;
    }
    if from.addr() & 7 == 0 {
        // SAFETY: as this function's.
        unsafe { out_aligned(from, into) }
    } else {
        // SAFETY: as this function's.
        unsafe { out_skewed(from, into) }
    }
}

/// Writes `from` to shared memory and nothing beside it.
///
/// # Safety
/// The bytes are mapped and writable.
#[inline(always)]
pub(crate) unsafe fn into(to: *mut u8, from: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if from.len() >= wide::SMALLEST {
        // SAFETY: as this function's.
        unsafe { wide::into(to, from) };
        return;
    }
    // SAFETY: as this function's.
    unsafe { into_by_words(to, from) }
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
/// `from` is 8-aligned and all words that the bytes touch are mapped.
#[inline(always)]
unsafe fn out_aligned(from: *mut u8, into: &mut [u8]) {
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
unsafe fn out_skewed(from: *mut u8, into: &mut [u8]) {
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
unsafe fn into_by_words(to: *mut u8, from: &[u8]) {
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
        into_tail(to.add(rest.len() - tail.len()), tail);
    }
}

/// Writes fewer than 8 bytes.
///
/// # Safety
/// The bytes are mapped and writable, and `to` is 8-aligned.
#[inline(always)]
unsafe fn into_tail(to: *mut u8, mut from: &[u8]) {
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

/// Writes whole lines past the caches; they are visible, and on the medium, after an `sfence`.
///
/// # Safety
/// `to` is the start of a line, mapped and writable for `from`'s length, which is whole lines.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn stream(to: *mut u8, from: &[u8]) {
    for (i, part) in from.chunks_exact(16).enumerate() {
        // SAFETY: inside the range, and 16-aligned; SSE2 is part of x86-64.
        unsafe {
            let value = part.as_ptr().cast::<core::arch::x86_64::__m128i>().read_unaligned();
            core::arch::asm!(
                "movntdq [{}], {}",
                in(reg) to.add(16 * i),
                in(xmm_reg) value,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Copies of at least [`SMALLEST`] bytes by instructions of this processor.
#[cfg(target_arch = "x86_64")]
mod wide {
    use core::arch::asm;
    use core::arch::x86_64::__m128i;

    /// The shortest copy that 16-byte moves can do.
    pub(super) const SMALLEST: usize = 16;
    /// From here on the string instruction has made up for its start.
    const LARGE: usize = 2048;

    /// # Safety
    /// `from` is mapped for `into`'s length, which is at least `SMALLEST`.
    #[inline(always)]
    pub(super) unsafe fn out(from: *const u8, into: &mut [u8]) {
        let (to, len) = (into.as_mut_ptr(), into.len());
        // SAFETY: each move is inside the range; the last one ends with it.
        unsafe {
            if len >= LARGE {
                string(from, to, len);
                return;
            }
            let mut at = 0;
            while at + 16 < len {
                to.add(at).cast::<__m128i>().write_unaligned(read(from.add(at)));
                at += 16;
            }
            let end = len - 16;
            to.add(end).cast::<__m128i>().write_unaligned(read(from.add(end)));
        }
    }

    /// # Safety
    /// `to` is mapped and writable for `from`'s length, which is at least `SMALLEST`.
    #[inline(always)]
    pub(super) unsafe fn into(to: *mut u8, from: &[u8]) {
        let (from, len) = (from.as_ptr(), from.len());
        // SAFETY: each move is inside the range; the last one ends with it.
        unsafe {
            if len >= LARGE {
                string(from, to, len);
                return;
            }
            let mut at = 0;
            while at + 16 < len {
                write(to.add(at), from.add(at).cast::<__m128i>().read_unaligned());
                at += 16;
            }
            let end = len - 16;
            write(to.add(end), from.add(end).cast::<__m128i>().read_unaligned());
        }
    }

    /// # Safety
    /// 16 bytes from `place` are mapped.
    #[inline(always)]
    unsafe fn read(place: *const u8) -> __m128i {
        let value;
        // SAFETY: as this function's.
        unsafe {
            asm!(
                "movups {}, [{}]",
                out(xmm_reg) value,
                in(reg) place,
                options(nostack, preserves_flags, readonly)
            );
        }
        value
    }

    /// # Safety
    /// 16 bytes from `place` are mapped and writable.
    #[inline(always)]
    unsafe fn write(place: *mut u8, value: __m128i) {
        // SAFETY: as this function's.
        unsafe {
            asm!(
                "movups [{}], {}",
                in(reg) place,
                in(xmm_reg) value,
                options(nostack, preserves_flags)
            );
        }
    }

    /// # Safety
    /// The ranges are mapped, readable and writable respectively, and apart.
    #[inline(always)]
    unsafe fn string(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: as this function's; the direction flag is clear on entry to any asm block.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 512;

    /// Memory whose byte `i` is `start + i`, 8-aligned.
    fn memory(start: usize) -> Vec<AtomicU64> {
        let word = |w: usize| {
            let bytes = [0, 1, 2, 3, 4, 5, 6, 7].map(|b| (start + 8 * w + b) as u8);
            AtomicU64::new(u64::from_ne_bytes(bytes))
        };
        (0..SIZE / 8).map(word).collect()
    }

    fn bytes(memory: &[AtomicU64]) -> Vec<u8> {
        memory.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect()
    }

    /// Where the first copied byte may be, and how many there are.
    fn cases() -> impl Iterator<Item = (usize, usize)> {
        (0..24).flat_map(|at| (0..200).map(move |len| (at, len)))
    }

    fn check_out(at: usize, len: usize, copy: unsafe fn(*mut u8, &mut [u8])) {
        let memory = memory(1);
        let mut found = vec![0; len + 1];
        // SAFETY: inside the vector, which only has atomics in it.
        unsafe { copy(memory[0].as_ptr().cast::<u8>().add(at), &mut found[..len]) };
        let mut expected = bytes(&memory)[at..at + len].to_vec();
        expected.push(0);
        assert_eq!(found, expected, "{len} bytes at {at}");
    }

    #[test]
    fn words_are_copied_out_at_any_alignment() {
        for (at, len) in cases() {
            check_out(at, len, if at % 8 == 0 { out_aligned } else { out_skewed });
            check_out(at, len, out);
        }
    }

    #[test]
    fn words_are_copied_in_at_any_alignment() {
        let copies: [unsafe fn(*mut u8, &[u8]); 2] = [into_by_words, into];
        for (at, len) in cases() {
            for copy in copies {
                let (memory, source) = (memory(1), bytes(&memory(101)));
                let mut expected = bytes(&memory);
                expected[at..at + len].copy_from_slice(&source[..len]);
                // SAFETY: inside the vector, which only has atomics in it.
                unsafe { copy(memory[0].as_ptr().cast::<u8>().add(at), &source[..len]) };
                assert_eq!(bytes(&memory), expected, "{len} bytes at {at}");
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn whole_lines_are_streamed() {
        let target: Vec<_> = (0..SIZE / 8).map(|_| AtomicU64::new(0)).collect();
        let base = target[0].as_ptr().cast::<u8>();
        let to = base.wrapping_add(base.addr().wrapping_neg() % 64);
        let source = bytes(&memory(3));
        for skew in 0..3 {
            let from = &source[skew..skew + 320];
            // SAFETY: whole lines, inside the vector, which only has atomics in it.
            unsafe { stream(to, from) };
            // SAFETY: a fence changes nothing.
            unsafe { core::arch::asm!("sfence") };
            let mut found = vec![0; 320];
            // SAFETY: as above.
            unsafe { out(to, &mut found) };
            assert_eq!(found, from);
        }
    }
}
