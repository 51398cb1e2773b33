//! A process dies at every numbered step, others recover; they die too; then the power fails.
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::*;

/// Steps of a commit at which it is decided on a volatile medium, resp. one that needs flushes.
fn decided(point: Point, medium: Medium) -> bool {
    let first = match medium {
        Medium::Volatile => Point::Committed,
        Medium::CacheLine | Medium::Cache => Point::Fenced,
    };
    point as u8 >= first as u8 && point as u8 <= Point::Idle as u8
}

const COMMIT: [Point; 11] = [
    Point::Listing,
    Point::Prepared,
    Point::Locked,
    Point::Validated,
    Point::Filled,
    Point::Fenced,
    Point::Committed,
    Point::Applied,
    Point::Persisted,
    Point::Unlocked,
    Point::Idle,
];

/// Each way in which process 1 can die while it writes 5 to three nodes that hold 1.
fn each_death(medium: Medium, mut then: impl FnMut(World, bool)) {
    for point in COMMIT {
        for nth in 0.. {
            let world = World::on(medium);
            let one = world.writer(1);
            let nodes = &world.nodes[..3];
            set_all(&one, nodes, 1).unwrap();
            die_at(&one, point, nth);
            match set_all(&one, nodes, 5) {
                Ok(()) => break,
                Err(Error::Died) => {}
                Err(other) => panic!("{other}"),
            }
            world.machine.kill(1);
            assert_listed(&world);
            then(world, decided(point, medium));
        }
    }
}

fn expect(world: &World, value: u64) {
    let reader = world.machine.attach_readonly();
    for &node in &world.nodes[..3] {
        assert_eq!(get(&reader, node).unwrap(), value);
    }
}

#[test]
fn a_reader_sees_all_or_nothing_of_a_dead_writer_and_the_next_writer_agrees() {
    for medium in [Medium::Volatile, Medium::CacheLine] {
        each_death(medium, |world, decided| {
            let value = if decided { 5 } else { 1 };
            if medium == Medium::Volatile {
                expect(&world, value);
            }
            let two = world.attach(2);
            set_all(&two, &world.nodes[2..3], 9).unwrap();
            let reader = world.machine.attach_readonly();
            let found = [0, 1, 2].map(|i| get(&reader, world.nodes[i]).unwrap());
            assert_eq!(found, [value, value, 9]);
            check(&world, &two, &[]);
        });
    }
}

#[test]
fn a_claim_recovers_the_lane_and_its_number_goes_on() {
    for medium in [Medium::Volatile, Medium::CacheLine] {
        each_death(medium, |world, decided| {
            let before = Record::state(&world.machine.port(), &world.machine.geometry, 0);
            let two = world.writer(2);
            assert_listed(&world);
            let after = Record::state(&two.memory, &two.geometry, 0);
            assert_eq!((after.phase(), after.seq()), (Some(Phase::Idle), before.seq()));
            for &node in &world.nodes {
                assert_eq!(world.word(node) & 1, 0, "all unlocked");
            }
            expect(&world, if decided { 5 } else { 1 });
        });
    }
}

#[test]
fn recovery_may_die_anywhere_and_be_repeated() {
    use Point::{RecoveryApplied, RecoveryBegun, RecoveryIdle, RecoveryUnlocked};
    for medium in [Medium::Volatile, Medium::CacheLine] {
        for point in [RecoveryBegun, RecoveryApplied, RecoveryUnlocked, RecoveryIdle] {
            for nth in 0..4 {
                each_death(medium, |world, decided| {
                    let two = world.attach(2);
                    die_at(&two, point, nth);
                    let done = two.recover_dead(0);
                    if matches!(done, Err(Error::Died)) {
                        assert!(two.switches.died());
                    }
                    world.machine.kill(2);
                    assert_listed(&world);
                    let three = world.attach(3);
                    set_all(&three, &world.nodes[3..], 7).unwrap();
                    assert!(three.recover_dead(0).unwrap() || three.lanes.is_own(0));
                    expect(&world, if decided { 5 } else { 1 });
                    set_all(&three, &world.nodes, 8).unwrap();
                    expect(&world, 8);
                    check(&world, &three, &[]);
                });
            }
        }
    }
}

/// Two processes wait for the same dead one; it is recovered once, and the loser looks again.
#[test]
fn a_recovery_that_others_finished_meanwhile_changes_nothing() {
    each_death(Medium::Volatile, |world, decided| {
        let (two, three) = (world.attach(2), world.attach(3));
        let nodes = world.nodes;
        at(&two, Point::RecoveryBegun, 0, move || {
            assert!(!three.recover_dead(0).unwrap(), "the recovery lock excludes");
            set_all(&three, &nodes[3..], 3).unwrap();
        });
        assert!(two.recover_dead(0).unwrap());
        expect(&world, if decided { 5 } else { 1 });
    });
}

#[test]
fn a_dead_token_holder_stops_nobody() {
    for point in [Point::TokenSet, Point::TokenQuiet, Point::Committed, Point::TokenDone] {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let nodes = world.nodes;
        die_at(&one, point, 0);
        let died = set_under_token(&one, &nodes[..1], 5);
        assert!(matches!(died, Err(Error::Died)), "{point:?}");
        world.machine.kill(1);
        assert_listed(&world);
        set_all(&two, &nodes[1..], 2).unwrap();
        let done = point as u8 != Point::TokenSet as u8 && point as u8 != Point::TokenQuiet as u8;
        assert_eq!(get(&two, nodes[0]).unwrap(), if done { 5 } else { 0 });
        assert_eq!(world.word(vasmem_engine::layout::header::TOKEN), 0);
        let three = world.attach(3);
        three.exclusively(&mut few(), || Ok(())).unwrap();
    }
}

#[test]
fn a_claim_may_die() {
    for point in [Point::ClaimBegun, Point::RecoveryBegun, Point::RecoveryIdle, Point::Claimed] {
        each_death(Medium::Volatile, |world, decided| {
            let two = world.attach(2);
            die_at(&two, point, 0);
            assert!(matches!(two.claim(), Err(Error::Died)));
            world.machine.kill(2);
            assert_listed(&world);
            let three = world.writer(3);
            assert!(three.lanes.is_own(0), "the lane is free again");
            expect(&world, if decided { 5 } else { 1 });
        });
    }
}

#[test]
fn growth_may_die() {
    for point in [Point::Grown, Point::GrownTold] {
        let machine = Machine::growing(4 << 20, 3 << 14, 4, 1024, Medium::CacheLine);
        let first = machine.node_extent(GRANULE_OF_NODES, KIND);
        let nodes = std::array::from_fn(|i| first + i as u64 * 64);
        let world = World { machine, nodes };
        let one = world.writer(1);
        die_at(&one, point, 0);
        let died = one.write(&mut few(), |tx| tx.alloc(100));
        assert!(matches!(died, Err(Error::Died)), "{point:?}");
        world.machine.kill(1);
        let two = world.attach(2);
        let block = two.write(&mut few(), |tx| {
            let (view, _) = pair(tx, nodes[0])?;
            let block = tx.alloc(100)?;
            tx.fill(block, &[&[1; 100]]);
            put(tx, &view, block);
            Ok(block)
        });
        check(&world, &two, &[block.unwrap()]);
    }
}

#[test]
fn power_fails_after_a_kill() {
    for (takeover, dies) in [(false, false), (true, false), (true, true)] {
        each_death(Medium::CacheLine, |world, decided| {
            if takeover {
                let two = world.attach(2);
                if dies {
                    die_at(&two, Point::RecoveryUnlocked, 1);
                }
                let _ = two.recover_dead(0);
            }
            for seed in 0..8 {
                let mut random = Random(seed);
                let mut crashed = world.machine.crash(|_| match seed {
                    0 => false,
                    1 => true,
                    _ => random.below(2) == 0,
                });
                // The power may fail again in the middle of recovery.
                for nth in 0..2 {
                    let again = crashed.attach(4);
                    die_at(&again, Point::RecoveryUnlocked, nth);
                    let _ = again.recover_power_failure();
                    crashed = crashed.crash(|_| random.below(2) == 0);
                }
                let last = crashed.attach(5);
                last.recover_power_failure().unwrap();
                let found = [0, 1, 2].map(|i| get(&last, world.nodes[i]).unwrap());
                assert!(found == [1; 3] || found == [5; 3], "half of it: {found:?}");
                assert!(!decided || found == [5; 3], "decided, and lost");
                let crashed = World { machine: crashed, ..world.clone() };
                set_all(&last, &crashed.nodes, 6).unwrap();
                check(&crashed, &last, &[]);
            }
        });
    }
}

#[test]
fn after_a_power_failure_old_locks_are_void() {
    let world = World::on(Medium::CacheLine);
    let one = world.writer(1);
    die_at(&one, Point::Validated, 0);
    assert!(set_all(&one, &world.nodes[..2], 5).is_err());
    let crashed = world.machine.crash(|_| true);
    assert_eq!(crashed.port().load(world.nodes[0], Ordering::Acquire) & 1, 1);
    let two = crashed.attach(2);
    let before = two.incarnation();
    two.recover_power_failure().unwrap();
    assert_eq!(two.incarnation(), before + 1);
    set_all(&two, &world.nodes[..2], 6).unwrap();
    assert_eq!(get(&two, world.nodes[1]).unwrap(), 6);
}

/// Whoever takes the token recovers the dead lanes that are in its way, and keeps the token.
#[test]
fn recovery_of_another_lane_leaves_the_token() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    die_at(&two, Point::Committed, 0);
    let died = set_all(&two, &world.nodes[..1], 7);
    assert!(matches!(died, Err(Error::Died)), "{died:?}");
    world.machine.kill(2);
    let mut lane = one.lane(&mut few()).unwrap();
    one.take_token(&mut lane, &mut few()).unwrap();
    let token = world.word(vasmem_engine::layout::header::TOKEN);
    assert_eq!(token, u64::from(lane.id) + 1);
    one.drop_token(&mut lane).unwrap();
    assert_eq!(world.word(vasmem_engine::layout::header::TOKEN), 0);
}
