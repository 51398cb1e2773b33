//! Model 9: one lane dies at step k, for all k; others recover it, claim it, and go on.

use super::*;
use loom::thread::spawn;

const STEPS: [(Point, u32); 9] = [
    (Point::Prepared, 0),
    (Point::Locked, 0),
    (Point::Locked, 1),
    (Point::Validated, 0),
    (Point::Committed, 0),
    (Point::Applied, 1),
    (Point::Persisted, 0),
    (Point::Unlocked, 0),
    (Point::Unlocked, 1),
];

fn tracked(world: &World) -> [Range<Offset>; 3] {
    let [a, b, ..] = world.nodes;
    [a..a + 16, b..b + 16, state(world, 0)]
}

/// One attempt: adds one to the first word of each node.
fn add(segment: &Attached, nodes: &[Offset]) -> Result<()> {
    attempt(segment, |tx| {
        for &node in nodes {
            let view = tx.read(None, node, KIND)?;
            let value = tx.word(&view, node + 8);
            tx.write(&view, node + 8, value + 1);
        }
        Ok(())
    })
}

/// Process 1 dies at `step` of an addition to both nodes; returns how much it added.
fn dead(world: &World, step: (Point, u32)) -> u64 {
    let one = world.writer(1);
    die_at(&one, step.0, step.1);
    assert!(matches!(add(&one, &world.nodes[..2]), Err(Error::Died)));
    world.machine.kill(1);
    u64::from(step.0 as u8 >= Point::Committed as u8)
}

/// Two recover the lane, a third claims it and commits on it.
#[test]
fn two_recoverers_and_a_claimer() {
    for step in STEPS {
        model(Some(3), move || {
            let world = World::new();
            let added = dead(&world, step);
            let segments = [2, 3].map(|pid| world.attach(pid));
            let claimer = world.attach(4);
            world.machine.track(&tracked(&world));
            let [a, b, ..] = world.nodes;
            let [first, second] = segments.map(|segment| {
                spawn(move || {
                    segment.recover_dead(0).unwrap();
                })
            });
            let done = claim_and_add(&claimer, [a, b]);
            first.join().unwrap();
            second.join().unwrap();
            expect(&world, added + done);
        });
    }
}

/// Claims lane 0 unless somebody holds its recovery lock just now; adds one to both nodes on it.
fn claim_and_add(claimer: &Attached, nodes: [Offset; 2]) -> u64 {
    let mut lane = claimer.claim().unwrap().expect("there are four lanes");
    let mut patience = Eager;
    let mut done = 0;
    for _ in 0..2 {
        let mut tx = Transaction::resume(claimer, &mut lane, &mut patience);
        let gathered: Result<()> = nodes.into_iter().try_for_each(|node| {
            let view = tx.read(None, node, KIND)?;
            let value = tx.word(&view, node + 8);
            tx.write(&view, node + 8, value + 1);
            Ok(())
        });
        match gathered.and_then(|()| tx.commit()) {
            Ok(()) => {
                done = 1;
                break;
            }
            Err(Error::Conflict) => tx.reset(),
            Err(other) => panic!("{other}"),
        }
    }
    done
}

fn expect(world: &World, value: u64) {
    let last = world.attach(9);
    last.recover_dead(0).unwrap();
    let found = [0, 1].map(|i| {
        let at = world.nodes[i];
        let (version, word) = (world.word(at), world.word(at + 8));
        assert_eq!(version & 1, 0, "still locked");
        word
    });
    assert_eq!(found, [value; 2], "half, twice or never");
}

/// A writer dies at step k while another waits for its lock and then recovers it.
#[test]
fn a_writer_dies_under_a_waiting_one() {
    for step in STEPS {
        model(Some(4), move || {
            let world = World::new();
            let one = world.writer(1);
            let two = world.writer(2);
            world.machine.track(&tracked(&world));
            let [a, b, ..] = world.nodes;
            die_at(&one, step.0, step.1);
            let machine = world.machine.clone();
            let dying = spawn(move || {
                let died = matches!(add(&one, &[a, b]), Err(Error::Died));
                machine.kill(1);
                died
            });
            let mut done = 0;
            for _ in 0..2 {
                let mut patience = Eager;
                let mut lane = two.lane(&mut patience).unwrap();
                let mut tx = Transaction::resume(&*two, &mut lane, &mut patience);
                let read = tx.read(None, a, KIND).map(|view| {
                    let value = tx.word(&view, a + 8);
                    tx.write(&view, a + 8, value + 1);
                });
                match read.and_then(|()| tx.commit()) {
                    Ok(()) => {
                        done = 1;
                        break;
                    }
                    Err(Error::Conflict) => tx.reset(),
                    Err(other) => panic!("{other}"),
                }
            }
            let died = dying.join().unwrap();
            let committed = step.0 as u8 >= Point::Committed as u8;
            world.attach(9).recover_dead(0).unwrap();
            let found = [a, b].map(|at| {
                assert_eq!(world.word(at) & 1, 0, "still locked");
                world.word(at + 8)
            });
            let added = found[1];
            assert_eq!(found[0], added + done, "an addition is lost");
            assert!(!died || added == u64::from(committed), "half of it");
        });
    }
}

/// A record that was durable and not yet COMMITTED is rolled forward under a reader's eyes.
#[test]
fn a_reader_meets_the_recovery_of_a_decided_record() {
    model(Some(1), || {
        let world = World::on(Medium::CacheLine);
        let one = world.writer(1);
        let a = world.nodes[0];
        die_at(&one, Point::Fenced, 0);
        assert!(set(&one, &[a], 5).is_err());
        world.machine.kill(1);
        let two = world.attach(2);
        let reader = world.machine.attach_readonly();
        world.machine.track(&[node(a), state(&world, 0)]);
        let reading = spawn(move || {
            let _ = peek(&reader, a);
        });
        assert!(two.recover_dead(0).unwrap());
        reading.join().unwrap();
    });
}
