//! Models 1, 2 and 10: readers against commits.
//!
//! The writer is the first thread, so that it runs first: readers, who never write, then find every
//! older value that the memory orders allow, and hardly a forced switch is needed.

use super::*;
use loom::thread::spawn;

/// Model 1: a pair of words in one node, written once, read through the record.
#[test]
fn a_plain_reader_meets_a_commit() {
    model(Some(2), || {
        let world = World::new();
        let one = world.writer(1);
        let reader = world.machine.attach_readonly();
        let a = world.nodes[0];
        world.machine.track(&[node(a), state(&world, 0)]);
        let reading = spawn(move || {
            let (first, second) = (peek(&reader, a), peek(&reader, a));
            if let (Ok(first), Ok(second)) = (first, second) {
                assert!(first <= second, "a committed value vanished");
            }
        });
        set(&one, &[a], 5).unwrap();
        reading.join().unwrap();
        assert_eq!(peek(&one, a).unwrap(), 5);
    });
}

/// Model 2: the lane commits again and overwrites the record that a slow reader overlays.
#[test]
fn a_slow_reader_meets_the_next_record() {
    slow_reader(Some(0), |nodes| [nodes[0], nodes[1]]);
}

/// Model 2, same words in both records: an overlay must never show what is not yet committed.
#[test]
fn a_slow_reader_meets_the_same_words_again() {
    slow_reader(Some(0), |nodes| [nodes[0]; 2]);
}

fn slow_reader(preemptions: Option<usize>, written: fn(&[Offset; 4]) -> [Offset; 2]) {
    model(preemptions, move || {
        let world = World::new();
        let one = world.writer(1);
        let reader = world.machine.attach_readonly();
        let a = world.nodes[0];
        let [counts, words] = entries(&world, 0, 3);
        world.machine.track(&[node(a), state(&world, 0), counts, words]);
        let reading = spawn(move || {
            let _ = peek(&reader, a);
        });
        for (node, value) in written(&world.nodes).into_iter().zip([5, 6]) {
            set(&one, &[node], value).unwrap();
        }
        reading.join().unwrap();
    });
}

/// Model 2: between two commits of the lane another one writes the node. Whoever sees the second
/// lock must not lay the first record over the other's words.
#[test]
fn a_lock_is_not_seen_before_its_record() {
    model(Some(1), || {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let reader = world.machine.attach_readonly();
        let a = world.nodes[0];
        let [counts, words] = entries(&world, 0, 2);
        world.machine.track(&[a..a + 16, state(&world, 0), counts, words]);
        let port = world.machine.port();
        let other = spawn(move || {
            while port.load(a, Ordering::Relaxed) != 1 << 24 {
                loom::thread::yield_now();
            }
            assign(&two, a, 2).unwrap();
        });
        let locked = Signal::default();
        let signal = locked.clone();
        let reading = spawn(move || {
            signal.wait();
            let counter = reader.memory.load(a, Ordering::Acquire) >> 24;
            let mut peek = Peek::new(&reader);
            let view = peek.read(None, a, KIND)?;
            let value = peek.word(&view, a + 8);
            peek.check(&view)?;
            assert!(value >= counter, "version {counter} showed the words of version {value}");
            Ok::<(), Error>(())
        });
        assign(&one, a, 1).unwrap();
        while one.memory.load(a, Ordering::Relaxed) != 2 << 24 {
            loom::thread::yield_now();
        }
        die_at(&one, Point::Locked, 0);
        assert!(assign(&one, a, 3).is_err());
        locked.give();
        other.join().unwrap();
        let _ = reading.join().unwrap();
    });
}

/// One attempt: writes one word of a node, whatever it holds.
fn assign(segment: &Attached, at: Offset, value: u64) -> Result<()> {
    attempt(segment, |tx| {
        let view = tx.read(None, at, KIND)?;
        tx.write(&view, at + 8, value);
        Ok(())
    })
}

/// Model 10: a read-only transaction of two nodes that are only ever written together.
#[test]
fn a_read_only_transaction_meets_a_commit_of_both_its_nodes() {
    read_only(Some(2), false);
}

/// Model 10, the lane prepares another transaction: its record must not be taken for the last one.
#[test]
fn a_read_only_transaction_meets_the_next_record() {
    read_only(Some(0), true);
}

fn read_only(preemptions: Option<usize>, goes_on: bool) {
    model(preemptions, move || {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let [a, b, c, _] = world.nodes;
        let single = |at: Offset| at..at + 16;
        let [counts, words] = entries(&world, 0, 1);
        let all = [single(a), single(b), state(&world, 0), counts, words];
        world.machine.track(&all[..if goes_on { 5 } else { 3 }]);
        let reading = spawn(move || {
            let seen = attempt(&two, |tx| {
                let (first, second) = (tx.read(None, a, KIND)?, tx.read(None, b, KIND)?);
                Ok((tx.word(&first, a + 8), tx.word(&second, b + 8)))
            });
            if let Ok((first, second)) = seen {
                assert_eq!(first, second, "the nodes never differed");
            }
        });
        attempt(&one, |tx| {
            for at in [a, b] {
                let view = tx.read(None, at, KIND)?;
                tx.write(&view, at + 8, 1);
            }
            Ok(())
        })
        .unwrap();
        if goes_on {
            die_at(&one, Point::Prepared, 0);
            assert!(set(&one, &[c], 2).is_err());
        }
        reading.join().unwrap();
    });
}
