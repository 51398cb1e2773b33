//! Power failures, state by state: a recorded trace of stores, flushes and fences becomes the
//! contents that persistent memory may have after a crash, and each is recovered and judged.
//!
//! The model is that of x86 with durable memory but volatile caches (px86, ADR): each line holds
//! some prefix of its stores, at least those that were flushed before a drain; lines do not wait
//! for each other, and aligned words of 8 bytes do not tear. A line that is evicted early, flushed
//! or not, is one of these states.

pub mod contents;
pub mod defects;
pub mod explore;
pub mod image;
pub mod others;
pub mod persists;
pub mod run;
pub mod workloads;
