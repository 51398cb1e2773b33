//! D1 of a file with a mark: the power fails after every store and every sync, each word is as at
//! the last sync or as any store since left it, and what says CLEAN holds all.
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::*;
use std::ops::RangeInclusive;
use vasmem_engine::format;

/// Images that are looked at for each step: the oldest, the newest, and mixtures.
const IMAGES: u64 = 12;

/// Four nodes in a file that is clean.
fn clean() -> World {
    let world = World::new();
    format::mark(&world.machine.port()).unwrap();
    world.machine.keep_journal();
    world
}

fn attach(world: &World, pid: u32) -> Arc<Attached> {
    let mut segment = world.machine.attach(pid);
    segment.marked = true;
    Arc::new(segment)
}

/// Lets the power fail after each of `steps`. A clean image must be sound, with one of `values` in
/// all nodes; returns how many were clean, and how many were not.
fn fail_after(world: &World, steps: RangeInclusive<usize>, values: &[u64]) -> (u64, u64) {
    let (mut clean, mut dirty) = (0, 0);
    for step in steps {
        for seed in 0..IMAGES {
            let mut random = Random(seed);
            let image = world.machine.crash_after(step, |choices| match seed {
                0 => choices - 1,
                1 => choices.saturating_sub(2),
                _ => random.below(choices as u64) as usize,
            });
            let image = World { machine: image, ..world.clone() };
            let next = attach(&image, 9);
            if next.ensure_clean().is_err() {
                dirty += 1;
                continue;
            }
            clean += 1;
            next.recover_power_failure().unwrap();
            let found = [0, 1, 2].map(|i| get(&next, image.nodes[i]).unwrap());
            assert!(values.iter().any(|&value| found == [value; 3]), "{found:?} after {step}");
            set_all(&next, &image.nodes, 99).unwrap();
            check(&image, &next, &[]);
        }
    }
    (clean, dirty)
}

/// Lets the power fail after each step of `what`.
fn fail_during(world: &World, values: &[u64], what: impl FnOnce()) -> (u64, u64) {
    let from = world.machine.steps();
    what();
    fail_after(world, from..=world.machine.steps(), values)
}

fn fail_now(world: &World, value: u64) -> (u64, u64) {
    fail_during(world, &[value], || ())
}

#[test]
fn a_clean_file_holds_all_whenever_the_power_fails() {
    let world = clean();
    let (one, two) = (attach(&world, 1), attach(&world, 2));
    let nodes = &world.nodes[..3];
    let mut old = 0;
    for (new, writer) in (1..).zip([&one, &one, &two, &one, &two]) {
        let (clean, dirty) = fail_during(&world, &[old], || set_all(writer, nodes, new).unwrap());
        assert!(dirty > 0 && (clean > 0) == (new != 2), "{clean} clean, {dirty} dirty");
        assert_eq!(fail_now(&world, new), (0, IMAGES));
        old = new;
        if new == 1 {
            continue; // Another commit while the mark is DIRTY.
        }
        let (clean, dirty) = fail_during(&world, &[new], || one.sync(&mut few()).unwrap());
        assert!(clean > 0 && dirty > 0);
        assert_eq!(fail_now(&world, new), (IMAGES, 0));
    }
}

#[test]
fn a_writer_dies_and_the_next_one_syncs() {
    for point in [
        Point::Listing,
        Point::Prepared,
        Point::Locked,
        Point::Validated,
        Point::Filled,
        Point::Committed,
        Point::Applied,
        Point::Unlocked,
        Point::Idle,
    ] {
        for nth in 0.. {
            let world = clean();
            let one = attach(&world, 1);
            let nodes = &world.nodes[..3];
            set_all(&one, nodes, 1).unwrap();
            one.sync(&mut few()).unwrap();
            die_at(&one, point, nth);
            let mut died = false;
            fail_during(&world, &[1], || died = set_all(&one, nodes, 2).is_err());
            if !died {
                break;
            }
            world.machine.kill(1);
            let two = attach(&world, 2);
            let seen = get(&two, nodes[0]).unwrap();
            fail_during(&world, &[seen], || two.sync(&mut few()).unwrap());
            assert_eq!(fail_now(&world, seen), (IMAGES, 0));
            fail_during(&world, &[seen], || set_all(&two, nodes, 3).unwrap());
        }
    }
}

#[test]
fn a_sync_in_the_middle_of_a_commit() {
    for point in [Point::Listing, Point::Prepared, Point::Locked, Point::Applied, Point::Idle] {
        let world = clean();
        let (one, two) = (attach(&world, 1), attach(&world, 2));
        let nodes = &world.nodes[..3];
        set_all(&one, nodes, 1).unwrap();
        one.sync(&mut few()).unwrap();
        let other = two.clone();
        at(&one, point, 0, move || drop(other.sync(&mut few())));
        fail_during(&world, &[1, 2], || set_all(&one, nodes, 2).unwrap());
        fail_now(&world, 2);
        fail_during(&world, &[2], || two.sync(&mut few()).unwrap());
        assert_eq!(fail_now(&world, 2), (IMAGES, 0));
    }
}
