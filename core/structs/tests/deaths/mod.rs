//! A process dies at every numbered step of a change: others read all or nothing of it, before and
//! after they recover it, and so they do after a power failure.

use std::fmt::Debug;
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::simulated::{Attached, Bounded, Machine, Port, Process};
use vasmem_engine::{Access, Error, Result, Transaction};
use vasmem_memory::Medium;
use vasmem_structs::check::check;

pub type Tx<'a> = Transaction<'a, Port, Process>;

const COMMIT: [Point; 10] = [
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

pub fn few() -> Bounded {
    Bounded(200)
}

/// A change of something in a segment.
pub trait Change {
    /// A handle of what is changed.
    type Subject: Copy + Send + 'static;
    /// All that it holds.
    type Found: Clone + PartialEq + Debug + Send + 'static;

    fn name(&self) -> &'static str;

    /// A machine where process 1 has what the change is to be done to.
    fn world(&self, medium: Medium) -> (Machine, Attached, Self::Subject);

    fn run(&self, subject: &Self::Subject, tx: &mut Tx<'_>) -> Result<()>;

    fn found<A: Access>(subject: &Self::Subject, access: &mut A) -> Result<Self::Found>;

    /// Times that a point is reached in one change that are tried one by one; above, some of them.
    fn each(&self) -> u32 {
        12
    }
}

/// All that is there at one time: a transaction that changes nothing.
pub fn snapshot<C: Change>(segment: &Attached, subject: &C::Subject) -> C::Found {
    segment.write(&mut few(), |tx| C::found(subject, tx)).unwrap()
}

/// All that is there as a reader finds it while nobody moves.
pub fn read<C: Change>(machine: &Machine, subject: &C::Subject) -> C::Found {
    machine.attach_readonly().read(&mut few(), |peek| C::found(subject, peek)).unwrap()
}

fn done<C: Change>(change: &C, segment: &Attached, subject: &C::Subject) -> Result<()> {
    segment.write(&mut few(), |tx| change.run(subject, tx))
}

/// Each way in which process 1 can die during a change; how many there are.
pub fn each_death<C: Change>(
    change: &C,
    medium: Medium,
    mut then: impl FnMut(Machine, C::Subject),
) -> u32 {
    let mut deaths = 0;
    for point in COMMIT {
        let mut nth = 0;
        loop {
            let (machine, segment, subject) = change.world(medium);
            segment.switches.arm(point, nth, Action::Return);
            match done(change, &segment, &subject) {
                Ok(()) => break,
                Err(Error::Died) => {}
                Err(other) => panic!("{}: {other}", change.name()),
            }
            machine.kill(1);
            then(machine, subject);
            deaths += 1;
            nth += if nth < change.each() { 1 } else { 1 + nth / 3 };
        }
    }
    deaths
}

/// What is there before and after the change.
pub fn outcomes<C: Change>(change: &C) -> [C::Found; 2] {
    let (_machine, segment, subject) = change.world(Medium::Volatile);
    let before = snapshot::<C>(&segment, &subject);
    done(change, &segment, &subject).unwrap();
    assert_eq!(check(&segment, &mut few()).unwrap(), []);
    let after = snapshot::<C>(&segment, &subject);
    assert!(before != after, "{} changes nothing", change.name());
    [before, after]
}

pub fn readers_in_the_middle_see_all_or_nothing<C: Change>(change: &C) {
    let outcomes = outcomes(change);
    let (machine, segment, subject) = change.world(Medium::Volatile);
    segment.switches.watch(move |_| {
        let reader = machine.attach(3);
        assert!(outcomes.contains(&read::<C>(&machine, &subject)), "a reader sees half");
        assert!(outcomes.contains(&snapshot::<C>(&reader, &subject)), "a transaction sees half");
    });
    done(change, &segment, &subject).unwrap();
}

/// `go_on` makes one more change of what is left.
#[allow(dead_code, reason = "locks and queues have no durable owners to find again")]
pub fn a_power_failure_leaves_all_or_nothing<C: Change>(
    change: &C,
    go_on: impl Fn(&Attached, &C::Subject),
) {
    let outcomes = outcomes(change);
    let mut seed = 0u64;
    each_death(change, Medium::CacheLine, |machine, subject| {
        for kind in 0..4 {
            let crashed = machine.crash(|_| match kind {
                0 => false,
                1 => true,
                _ => {
                    seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e);
                    seed >> 63 == 0
                }
            });
            let last = crashed.attach(5);
            last.recover_power_failure().unwrap();
            let found = snapshot::<C>(&last, &subject);
            assert!(outcomes.contains(&found), "{}: half of it is left", change.name());
            go_on(&last, &subject);
            assert_eq!(check(&last, &mut few()).unwrap(), [], "{}", change.name());
        }
    });
}
