//! What flushing itself costs: stores to as many lines as a `put` has, twice fenced or not.
#![allow(unsafe_code)]

use std::arch::asm;
use std::time::Instant;

const LINE_WORDS: usize = 8;

/// Lines of one round, in their order: those at the same place every time, those that follow each
/// other through the memory, and those at random places, two of them side by side.
#[derive(Clone, Copy)]
pub struct Lines {
    pub fixed: usize,
    pub following: usize,
    pub random: usize,
}

/// Nanoseconds a round over `words` of memory. A round stores to the lines `first`, and fences,
/// then to the lines `second`, and fences; nothing is flushed or fenced unless `flush`.
pub fn round_ns(words: &mut [u64], first: Lines, second: Lines, rounds: u64, flush: bool) -> f64 {
    let lines = words.len() / LINE_WORDS;
    let (mut random, mut following) = (1u64, lines / 2);
    let mut touched = Vec::with_capacity(64);
    let start = Instant::now();
    for round in 0..rounds {
        for (number, part) in [first, second].into_iter().enumerate() {
            touched.clear();
            touched.extend((0..part.fixed).map(|line| number * 32 + line));
            for _ in 0..part.following {
                following = if following + 1 < lines { following + 1 } else { lines / 2 };
                touched.push(following);
            }
            for line in 0..part.random {
                if line % 2 == 0 {
                    random =
                        random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                }
                touched.push(64 + ((random >> 33) as usize + line % 2) % (lines / 2 - 64));
            }
            for &line in &touched {
                words[line * LINE_WORDS] = round;
            }
            if flush {
                for &line in &touched {
                    write_back(&words[line * LINE_WORDS]);
                }
                // SAFETY: a fence changes nothing.
                unsafe { asm!("sfence", options(nostack, preserves_flags)) };
            }
        }
    }
    start.elapsed().as_nanos() as f64 / rounds as f64
}

fn write_back(word: &u64) {
    // SAFETY: it changes nothing but the caches; `round_ns` is called only where it is known.
    unsafe { asm!("clwb [{}]", in(reg) word, options(nostack, preserves_flags)) };
}
