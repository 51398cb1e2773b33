//! Fault models: a recorded trace of stores, flushes and fences, and the contents that a crash may
//! leave of it. Nothing here knows what the bytes mean.
//!
//! - [`Event`] is what happened to a memory; a trace is a sequence of them.
//! - [`Contents`] holds the words of a memory, and every store to it can be taken back.
//! - [`Lines`] follows a trace, and knows what need not be durable yet: which [`State`]s there are.
//! - [`Choice`] says which of them are to be tried, where there are too many.
//! - [`Model`] says what a medium promises.

mod choice;
mod contents;
mod event;
mod lines;
pub mod random;

pub use choice::Choice;
pub use contents::{Contents, Mark};
pub use event::{Event, words};
pub use lines::{Lines, Model, State};
