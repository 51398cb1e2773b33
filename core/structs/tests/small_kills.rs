//! A process dies at every numbered step of every change of a queue, a lock, a counter: others read
//! all or nothing of it, before and after they recover it.
#![cfg(feature = "lab")]

use vasmem_engine::lab::{Action, Point};
use vasmem_engine::simulated::{Attached, Bounded, Machine, Port, Process};
use vasmem_engine::{Access, Error, Owner, Result, Transaction};
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::lock::Attempt;
use vasmem_structs::queue::Take;
use vasmem_structs::{Counter, Lock, Queue};

type Tx<'a> = Transaction<'a, Port, Process>;
/// Items of the queue, those that wait, who has which lease, who has the lock, the number.
type Found = (Vec<Vec<u8>>, u64, Vec<Option<Owner>>, Option<Owner>, i64);

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
/// Times that a point is reached in one change that are tried one by one; above, some of them.
const EACH: u32 = 12;
const THREAD: u64 = 1;
const LEASE: Take = Take::OnLease { thread: THREAD };

#[derive(Clone, Copy)]
struct World {
    queue: Queue,
    lock: Lock,
    counter: Counter,
}

/// A change, and what is done before it by the same thread.
struct Change {
    name: &'static str,
    before: fn(&World, &mut Tx<'_>) -> Result<()>,
    run: fn(&World, &mut Tx<'_>) -> Result<()>,
}

fn few() -> Bounded {
    Bounded(200)
}

fn nothing(_: &World, _: &mut Tx<'_>) -> Result<()> {
    Ok(())
}

fn put(world: &World, tx: &mut Tx<'_>, item: &[u8]) -> Result<()> {
    assert!(world.queue.put(tx, item)?);
    Ok(())
}

fn two(world: &World, tx: &mut Tx<'_>) -> Result<()> {
    put(world, tx, b"one")?;
    put(world, tx, &[b'2'; 9_000])
}

fn take(world: &World, tx: &mut Tx<'_>, how: Take) -> Result<()> {
    assert!(world.queue.take(tx, how, &mut Vec::new())?.is_some());
    Ok(())
}

fn leased(world: &World, tx: &mut Tx<'_>) -> Result<()> {
    two(world, tx)?;
    take(world, tx, LEASE)?;
    take(world, tx, LEASE)
}

fn acquire(world: &World, tx: &mut Tx<'_>) -> Result<()> {
    assert_eq!(world.lock.acquire(tx, THREAD)?, Attempt::Taken { abandoned: false });
    Ok(())
}

const CHANGES: [Change; 9] = [
    Change { name: "first put", before: nothing, run: |world, tx| put(world, tx, b"item") },
    Change { name: "put", before: two, run: |world, tx| put(world, tx, &[b'3'; 5_000]) },
    Change { name: "take at once", before: two, run: |world, tx| take(world, tx, Take::AtOnce) },
    Change { name: "first lease", before: two, run: |world, tx| take(world, tx, LEASE) },
    Change {
        name: "done",
        before: leased,
        run: |world, tx| world.queue.done(tx, THREAD, Some(1)).map(|done| assert!(done)),
    },
    Change {
        name: "give back",
        before: leased,
        run: |world, tx| world.queue.give_back(tx, THREAD, None).map(|given| assert!(given)),
    },
    Change { name: "acquire", before: nothing, run: acquire },
    Change {
        name: "release",
        before: acquire,
        run: |world, tx| world.lock.release(tx, THREAD).map(|released| assert!(released)),
    },
    Change {
        name: "count",
        before: nothing,
        run: |world, tx| world.counter.renew(tx, |old| Some(old + 7)).map(|_| ()),
    },
];

fn world(change: &Change) -> (Machine, Attached, World) {
    let machine = Machine::new(1 << 20, 4, 4096, Medium::Volatile);
    let segment = machine.attach(1);
    let world = segment
        .write(&mut few(), |tx| {
            let root = Queue::create(tx, ("queue", 0), 7, 5)?;
            let lock = Lock::create(tx, "lock", 8)?.into();
            let counter = Counter::create(tx, "counter", 9, 1)?.into();
            Ok(World { queue: Queue::at(tx, root)?, lock, counter })
        })
        .unwrap();
    segment.write(&mut few(), |tx| (change.before)(&world, tx)).unwrap();
    (machine, segment, world)
}

fn found<A: Access>(world: &World, access: &mut A) -> Result<Found> {
    let items = world.queue.items(access)?;
    let (ready, leases) = world.queue.counts(access)?;
    Ok((items, ready, leases, world.lock.owner(access)?, world.counter.get(access)?))
}

fn snapshot(segment: &Attached, world: &World) -> Found {
    segment.write(&mut few(), |tx| found(world, tx)).unwrap()
}

fn read(machine: &Machine, world: &World) -> Found {
    machine.attach_readonly().read(&mut few(), |peek| found(world, peek)).unwrap()
}

fn done(change: &Change, segment: &Attached, world: &World) -> Result<()> {
    segment.write(&mut few(), |tx| (change.run)(world, tx))
}

/// What is there before and after the change.
fn outcomes(change: &Change) -> [Found; 2] {
    let (_machine, segment, world) = world(change);
    let before = snapshot(&segment, &world);
    done(change, &segment, &world).unwrap();
    assert_eq!(check(&segment, &mut few()).unwrap(), []);
    let after = snapshot(&segment, &world);
    assert_ne!(before, after, "{} changes nothing", change.name);
    [before, after]
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let mut deaths = 0;
        for point in COMMIT {
            let mut nth = 0;
            loop {
                let (machine, segment, world) = world(change);
                segment.switches.arm(point, nth, Action::Return);
                match done(change, &segment, &world) {
                    Ok(()) => break,
                    Err(Error::Died) => {}
                    Err(other) => panic!("{}: {other}", change.name),
                }
                machine.kill(1);
                let seen = read(&machine, &world);
                assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
                survive(&machine, &world, &seen, change.name);
                deaths += 1;
                nth += if nth < EACH { 1 } else { 1 + nth / 3 };
            }
        }
        assert!(deaths > 8, "{}: only {deaths} deaths", change.name);
    }
}

/// Another process finds what a reader has seen, gets the dead one's lock, and all of its items.
fn survive(machine: &Machine, world: &World, seen: &Found, name: &str) {
    let other = machine.attach(2);
    let was_held = seen.3.is_some();
    let taken = other.write(&mut few(), |tx| world.lock.acquire(tx, THREAD)).unwrap();
    assert_eq!(taken, Attempt::Taken { abandoned: was_held }, "{name}");
    let mut items = Vec::new();
    loop {
        let mut buffer = Vec::new();
        let take = other.write(&mut few(), |tx| {
            buffer.clear();
            world.queue.take(tx, Take::AtOnce, &mut buffer)
        });
        match take.unwrap() {
            Some(taken) => items.push(buffer[taken.item].to_vec()),
            None => break,
        }
    }
    assert_eq!(items, seen.0, "{name}: items are lost, doubled or in another order");
    assert_eq!(check(&other, &mut few()).unwrap(), [], "{name}");
}

#[test]
fn readers_in_the_middle_of_a_change_see_all_or_nothing() {
    for change in &CHANGES {
        let outcomes = outcomes(change);
        let (machine, segment, world) = world(change);
        let (port, others) = (machine.clone(), outcomes.clone());
        segment.switches.watch(move |_| {
            let reader = port.attach(3);
            assert!(others.contains(&read(&port, &world)), "a reader sees half");
            assert!(others.contains(&snapshot(&reader, &world)), "a transaction sees half");
        });
        done(change, &segment, &world).unwrap();
    }
}
