//! Models of the protocol with the engine's own code over loom's atomics: all interleavings and all
//! values that the memory orders allow, for two or three threads.
//!
//! A model follows only the words that its threads race for; all other words are the standard
//! library's, which is right for words that nobody changes or that a followed word publishes.
#![cfg(all(feature = "lab", loom))]

#[path = "../common/mod.rs"]
mod common;
mod pins;
mod readers;
mod recovery;
mod reuse;
mod token;
mod writers;

use common::*;
use std::ops::Range;
use vasmem_engine::layout::{header, lane};

/// Runs a model over all schedules with at most `preemptions` forced switches (all, if `None`).
fn model(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 50_000;
    let runs = std::sync::atomic::AtomicU64::new(0);
    let runs = std::sync::Arc::new(runs);
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        body();
    });
    println!("{} runs", runs.load(std::sync::atomic::Ordering::Relaxed));
}

/// Version word and pair of a node.
fn node(at: Offset) -> Range<Offset> {
    at..at + 24
}

/// State word of a lane.
fn state(world: &World, id: u64) -> Range<Offset> {
    let at = world.machine.geometry.lane(id);
    at + lane::STATE..at + lane::STATE + 8
}

/// The part of a lane's record that `entries` nodes and words take, without the state word.
fn entries(world: &World, id: u64, entries: u64) -> [Range<Offset>; 2] {
    let at = world.machine.geometry.lane(id);
    let first = at + lane::ENTRIES;
    [at + lane::COUNTS..at + lane::COUNTS + 8, first..first + entries * 16]
}

/// The token.
fn token() -> Range<Offset> {
    header::TOKEN..header::TOKEN + 8
}

/// One attempt of a transaction.
fn attempt<T>(segment: &Attached, body: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
    let mut patience = Calm;
    let mut lane = segment.lane(&mut patience)?;
    let mut tx = Transaction::resume(segment, &mut lane, &mut patience);
    tx.reset();
    let value = body(&mut tx)?;
    tx.commit()?;
    Ok(value)
}

/// One attempt: writes `value` to all of `nodes`.
fn set(segment: &Attached, nodes: &[Offset], value: u64) -> Result<()> {
    attempt(segment, |tx| {
        for &node in nodes {
            let (view, _) = pair(tx, node)?;
            put(tx, &view, value);
        }
        Ok(())
    })
}

/// One attempt of a plain read.
fn peek(segment: &Attached, node: Offset) -> Result<u64> {
    let mut peek = Peek::new(segment);
    let view = peek.read(None, node, KIND)?;
    both(&peek, &view)
}

/// Something that a thread waits for without learning anything of what was before it: the standard
/// library's atomics order nothing for loom.
#[derive(Clone, Default)]
struct Signal(Arc<std::sync::atomic::AtomicBool>);

impl Signal {
    fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn wait(&self) {
        while !self.0.load(Ordering::Relaxed) {
            loom::thread::yield_now();
        }
    }
}
