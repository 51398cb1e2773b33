//! Random schedules: processes run in the middle of each other's operations and die anywhere; and
//! threads that really race. The oracle is a serial order (see `common/history.rs`).
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::history::{Event, explain};
use common::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// All that a run has in common.
struct Run {
    world: World,
    random: Mutex<Random>,
    events: Mutex<Vec<Event>>,
    ids: AtomicU64,
    pids: AtomicU32,
}

impl Run {
    fn new(seed: u64, lanes: u64, medium: Medium) -> Arc<Run> {
        Arc::new(Run {
            world: World::sized(4, lanes, medium),
            random: Mutex::new(Random(seed)),
            events: Mutex::default(),
            ids: AtomicU64::new(1),
            pids: AtomicU32::new(1),
        })
    }

    fn below(&self, end: u64) -> u64 {
        self.random.lock().unwrap().below(end)
    }

    /// One transaction of some shape; returns whether the process died in it.
    fn transact(&self, segment: &Attached, patience: u32) -> bool {
        let id = self.ids.fetch_add(1, SeqCst);
        let (reads, writes) = (self.below(8), self.below(8));
        let last = Mutex::new((vec![], vec![]));
        let done = segment.write(&mut Bounded(patience), |tx| {
            let (mut read, mut written) = (vec![], vec![]);
            for node in 0..3 {
                let (reads, writes) = (reads >> node & 1, writes >> node & 1);
                if reads | writes == 0 {
                    continue;
                }
                let (view, value) = pair(tx, self.world.nodes[node])?;
                read.push((node, value));
                if writes != 0 {
                    put(tx, &view, id);
                    written.push(node);
                }
            }
            *last.lock().unwrap() = (read, written);
            Ok(())
        });
        let (reads, writes) = last.into_inner().unwrap();
        let acked = match done {
            Ok(()) => true,
            Err(Error::Died) => false,
            Err(Error::Timeout { .. }) => return false,
            Err(other) => panic!("{other}"),
        };
        if acked || !writes.is_empty() {
            self.events.lock().unwrap().push(Event { id, reads, writes, acked });
        }
        !acked
    }

    fn finish(&self) {
        let last = self.world.attach(self.pids.fetch_add(1, SeqCst));
        last.exclusively(&mut Bounded(100_000), || Ok(())).unwrap();
        let values = [0, 1, 2].map(|i| get(&last, self.world.nodes[i]).unwrap());
        explain(&self.events.lock().unwrap(), &values);
        check(&self.world, &last, &[]);
    }
}

const STEPS: &[Point] = Point::ALL;

/// A fresh process: runs some transactions; in the middle of them others run, and it may die.
fn process(run: &Arc<Run>, depth: u32) {
    let pid = run.pids.fetch_add(1, SeqCst);
    let segment = run.world.attach(pid);
    if run.below(3) == 0 {
        let point = STEPS[run.below(STEPS.len() as u64) as usize];
        die_at(&segment, point, run.below(3) as u32);
    }
    if depth > 0 {
        let inner = run.clone();
        segment.switches.watch(move |_| {
            assert_listed(&inner.world);
            if inner.below(12) == 0 {
                process(&inner, depth - 1);
            }
        });
    }
    for _ in 0..1 + run.below(3) {
        if run.transact(&segment, 6) {
            break;
        }
    }
    // A clean end and a sudden one; the others find both.
    if run.below(2) == 0 && !segment.switches.died() {
        segment.release_all();
    }
    run.world.machine.kill(pid);
}

#[test]
fn nested_schedules_with_kills_are_serial() {
    for seed in 0..1500 {
        let medium = [Medium::Volatile, Medium::CacheLine][seed as usize % 2];
        let run = Run::new(seed, 6, medium);
        for _ in 0..4 {
            process(&run, 3);
            assert_listed(&run.world);
        }
        run.finish();
    }
}

#[test]
fn racing_threads_with_kills_are_serial() {
    for seed in 0..60 {
        let run = Run::new(seed, 4, Medium::Volatile);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| race(&run, 40));
            }
        });
        run.finish();
    }
}

fn race(run: &Run, transactions: u32) {
    let mut pid = run.pids.fetch_add(1, SeqCst);
    let mut segment = run.world.attach(pid);
    for _ in 0..transactions {
        if run.below(4) == 0 {
            let point = STEPS[run.below(STEPS.len() as u64) as usize];
            die_at(&segment, point, run.below(3) as u32);
        }
        if run.transact(&segment, 1_000_000) {
            run.world.machine.kill(pid);
            pid = run.pids.fetch_add(1, SeqCst);
            segment = run.world.attach(pid);
        }
        for node in &run.world.nodes[..3] {
            get(&segment, *node).unwrap();
        }
    }
    run.world.machine.kill(pid);
}
