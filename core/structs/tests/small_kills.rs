//! A process dies at every numbered step of every change of a queue, a lock, a counter: others read
//! all or nothing of it, before and after they recover it.
#![cfg(feature = "lab")]

mod deaths;

use deaths::{Tx, few};
use std::sync::atomic::Ordering::Relaxed;
use vasmem_engine::simulated::{Attached, Machine};
use vasmem_engine::{Access, Memory, Owner, Result};
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::lock::Attempt;
use vasmem_structs::queue::Take;
use vasmem_structs::{Counter, Lock, Queue};

/// Items of the queue, those that wait, who has which lease, who has the lock, the number.
type Found = (Vec<Vec<u8>>, u64, Vec<Option<Owner>>, Option<Owner>, i64);

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

fn found<A: Access>(world: &World, access: &mut A) -> Result<Found> {
    let items = world.queue.items(access)?;
    let (ready, leases) = world.queue.counts(access)?;
    Ok((items, ready, leases, world.lock.owner(access)?, world.counter.get(access)?))
}

impl deaths::Change for Change {
    type Subject = World;
    type Found = Found;

    fn name(&self) -> &'static str {
        self.name
    }

    fn world(&self, medium: Medium) -> (Machine, Attached, World) {
        let machine = Machine::new(1 << 20, 4, 4096, medium);
        let segment = machine.attach(1);
        let world = segment
            .write(&mut few(), |tx| {
                let root = Queue::create(tx, ("queue", 0), 7, 5)?;
                let lock = Lock::create(tx, "lock", 8)?.into();
                let counter = Counter::create(tx, "counter", 9, 1)?.into();
                Ok(World { queue: Queue::at(tx, root)?, lock, counter })
            })
            .unwrap();
        segment.write(&mut few(), |tx| (self.before)(&world, tx)).unwrap();
        (machine, segment, world)
    }

    fn run(&self, world: &World, tx: &mut Tx<'_>) -> Result<()> {
        (self.run)(world, tx)
    }

    fn found<A: Access>(world: &World, access: &mut A) -> Result<Found> {
        found(world, access)
    }
}

#[test]
fn survivors_find_all_or_nothing_of_a_change() {
    for change in &CHANGES {
        let outcomes = deaths::outcomes(change);
        let deaths = deaths::each_death(change, Medium::Volatile, |machine, world| {
            let seen = deaths::read::<Change>(&machine, &world);
            assert!(outcomes.contains(&seen), "{}: a reader sees half", change.name);
            survive(&machine, &world, &seen, change.name);
        });
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
    CHANGES.iter().for_each(deaths::readers_in_the_middle_see_all_or_nothing);
}

#[test]
fn who_waits_for_an_item_can_see_that_one_is_there() {
    let (_machine, segment, World { queue, .. }) =
        deaths::Change::world(&CHANGES[1], Medium::Volatile);
    let word = || segment.memory.load(queue.arrivals(), Relaxed);
    let changes: [fn(&Queue, &mut Tx<'_>) -> Result<()>; 3] = [
        |queue, tx| queue.put(tx, b"item").map(|put| assert!(put)),
        |queue, tx| queue.take(tx, LEASE, &mut Vec::new()).map(|taken| assert!(taken.is_some())),
        |queue, tx| queue.give_back(tx, THREAD, None).map(|given| assert!(given)),
    ];
    let moved = changes.map(|change| {
        let before = word();
        segment.write(&mut few(), |tx| change(&queue, tx)).unwrap();
        word() != before
    });
    assert_eq!(moved, [true, false, true]);
}

/// Process 1 has the lock and both items on lease, and is killed; process 2 is on a lane of its
/// own, or comes later and takes over that of the dead one.
fn survivor(comes_later: bool) -> (Attached, World) {
    let (machine, segment, world) = deaths::Change::world(&CHANGES[4], Medium::Volatile);
    segment.write(&mut few(), |tx| acquire(&world, tx)).unwrap();
    segment.write(&mut few(), |tx| put(&world, tx, b"last")).unwrap();
    let other = machine.attach(2);
    if !comes_later {
        other.write(&mut few(), |tx| world.counter.renew(tx, |old| Some(old + 1))).unwrap();
        let held = other.write(&mut few(), |tx| world.lock.acquire(tx, THREAD)).unwrap();
        assert!(matches!(held, Attempt::Held(_)));
    }
    machine.kill(1);
    (other, world)
}

#[test]
fn the_next_owner_of_a_lock_is_told_that_the_last_one_died() {
    for comes_later in [false, true] {
        let (other, world) = survivor(comes_later);
        let attempt = other.write(&mut few(), |tx| world.lock.acquire(tx, THREAD)).unwrap();
        assert_eq!(attempt, Attempt::Taken { abandoned: true }, "comes later: {comes_later}");
        let again = other.write(&mut few(), |tx| world.lock.acquire(tx, THREAD)).unwrap();
        assert_eq!(again, Attempt::Mine);
    }
}

#[test]
fn items_of_a_dead_consumer_come_first() {
    for comes_later in [false, true] {
        for how in [LEASE, Take::AtOnce] {
            let (other, World { queue, .. }) = survivor(comes_later);
            let positions = [(); 3].map(|()| {
                let taken = other.write(&mut few(), |tx| queue.take(tx, how, &mut Vec::new()));
                taken.unwrap().map(|taken| taken.position)
            });
            assert_eq!(positions, [Some(0), Some(1), Some(2)], "comes later: {comes_later}");
        }
    }
}
