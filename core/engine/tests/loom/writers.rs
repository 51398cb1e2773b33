//! Models 3, 4 and 5: writers against each other.

use super::*;
use loom::thread::spawn;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Tries an increment of `at` until it succeeds, at most `attempts` times.
fn increment(segment: &Attached, at: Offset, attempts: u32) -> u64 {
    for _ in 0..attempts {
        let done = attempt(segment, |tx| {
            let (view, value) = pair(tx, at)?;
            put(tx, &view, value + 1);
            Ok(())
        });
        match done {
            Ok(()) => return 1,
            Err(Error::Conflict) => loom::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
    0
}

/// Model 3: a lane aborts and tries again, with the same word in the node; another lane and a
/// reader are there (E4: no lock is ever void).
#[test]
fn an_abort_and_a_second_attempt_meet_a_locker() {
    model(Some(3), || {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let [a, x, ..] = world.nodes;
        world.machine.track(&[node(a), state(&world, 0), state(&world, 1)]);
        let locker = spawn(move || increment(&two, a, 2));
        let port = world.machine.port();
        let refused = attempt(&one, |tx| {
            tx.navigate(None, x, KIND)?;
            let (view, value) = pair(tx, a)?;
            put(tx, &view, value + 1);
            // Somebody else has changed what this one navigated through.
            port.store(x, 9 << 24, Ordering::Relaxed);
            Ok(())
        });
        assert!(matches!(refused, Err(Error::Conflict)));
        let done = increment(&one, a, 2) + locker.join().unwrap();
        let reader = world.machine.attach_readonly();
        assert_eq!(peek(&reader, a).unwrap(), done, "an update is lost");
    });
}

/// Model 3: the same against a reader.
#[test]
fn an_abort_and_a_second_attempt_meet_a_reader() {
    model(Some(2), || {
        let world = World::new();
        let one = world.writer(1);
        let reader = world.machine.attach_readonly();
        let [a, x, ..] = world.nodes;
        world.machine.track(&[node(a), state(&world, 0)]);
        let reading = spawn(move || {
            let _ = peek(&reader, a);
        });
        let port = world.machine.port();
        let refused = attempt(&one, |tx| {
            tx.navigate(None, x, KIND)?;
            let (view, value) = pair(tx, a)?;
            put(tx, &view, value + 1);
            port.store(x, 9 << 24, Ordering::Relaxed);
            Ok(())
        });
        assert!(matches!(refused, Err(Error::Conflict)));
        set(&one, &[a], 2).unwrap();
        reading.join().unwrap();
    });
}

/// Model 4: each navigates through the node that the other writes (write skew).
#[test]
fn two_writers_with_crossing_navigation() {
    model(None, || {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let [a, b, ..] = world.nodes;
        let versions = [a..a + 8, b..b + 8, state(&world, 0), state(&world, 1)];
        world.machine.track(&versions);
        let other = spawn(move || cross(&two, b, a));
        let first = cross(&one, a, b);
        let both = first && other.join().unwrap();
        assert!(!both, "each saw the world before the other");
    });
}

/// Writes to `into` if `from` was never written; returns whether it did.
fn cross(segment: &Attached, from: Offset, into: Offset) -> bool {
    let done = attempt(segment, |tx| {
        let seen = tx.navigate(None, from, KIND)?;
        if tx.counter(&seen) != 0 {
            return Err(Error::Conflict);
        }
        let view = tx.navigate(None, into, KIND)?;
        tx.write(&view, into + 8, 1);
        Ok(())
    });
    done.is_ok()
}

/// Model 5: one reads A and writes B, one writes A, a reader looks at A, then at B (E1).
#[test]
fn a_node_only_read_decides_and_is_locked() {
    model(Some(2), || {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let reader = world.machine.attach_readonly();
        let [a, b, ..] = world.nodes;
        let versions = [a..a + 16, b..b + 16, state(&world, 0), state(&world, 1)];
        world.machine.track(&versions);
        let found = std::sync::Arc::new(AtomicU64::new(0));
        let kept = found.clone();
        let copier = spawn(move || {
            let done = attempt(&one, |tx| {
                let view = tx.read(None, a, KIND)?;
                kept.store(tx.word(&view, a + 8), SeqCst);
                let view = tx.read(None, b, KIND)?;
                tx.write(&view, b + 8, 7);
                Ok(())
            });
            done.is_ok()
        });
        let changer = spawn(move || {
            let _ = attempt(&two, |tx| {
                let view = tx.read(None, a, KIND)?;
                tx.write(&view, a + 8, 1);
                Ok(())
            });
        });
        let word = |at: Offset| {
            let mut peek = Peek::new(&reader);
            let view = peek.read(None, at, KIND)?;
            let word = peek.word(&view, at + 8);
            peek.check(&view).map(|()| word)
        };
        let (first, second) = (word(a), word(b));
        changer.join().unwrap();
        let copied = copier.join().unwrap();
        if let (true, Ok(1), Ok(0)) = (copied, first, second) {
            assert_eq!(found.load(SeqCst), 1, "committed after the change, yet did not see it");
        }
    });
}
