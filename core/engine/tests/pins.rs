//! Pins: what somebody looks at is neither overwritten nor used again, whoever dies.
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::*;
use vasmem_engine::layout::{header, lane};
use vasmem_engine::{Pin, Reading};

/// Finds the block that a node points to, and its first byte.
struct Pointed(Offset);

impl Reading<Option<(Offset, u64)>> for Pointed {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<Option<(Offset, u64)>> {
        let view = access.read(None, self.0, KIND)?;
        let block = access.word(&view, self.0 + 8);
        access.check(&view)?;
        Ok((block != 0).then_some((block, block)))
    }
}

fn pin(segment: &Attached, node: Offset) -> (Pin, Offset) {
    segment.pin(&mut few(), &mut Pointed(node)).unwrap().expect("a block")
}

/// Puts a fresh block full of `byte` in place of the one that `node` points to.
fn replace(segment: &Attached, node: Offset, bytes: u64, byte: u8) -> Result<()> {
    segment.write(&mut few(), |tx| {
        let (view, old) = pair(tx, node)?;
        let block = tx.alloc(bytes)?;
        tx.fill(block, &[&vec![byte; bytes as usize]]);
        put(tx, &view, block);
        if old != 0 { tx.free(old) } else { Ok(()) }
    })
}

/// Uses freed space again, if there is any.
fn churn(segment: &Attached, world: &World, bytes: u64) {
    for byte in 100..180 {
        replace(segment, world.nodes[3], bytes, byte).unwrap();
    }
}

fn full_of(world: &World, block: Offset, byte: u8) -> bool {
    let word = u64::from_le_bytes([byte; 8]);
    world.word(block) == word && world.word(block + 8) == word
}

/// What the nodes point to.
fn pointed(world: &World, segment: &Attached) -> Vec<Offset> {
    let blocks = world.nodes.iter().map(|&node| get(segment, node).unwrap());
    blocks.filter(|&block| block != 0).collect()
}

fn deferred(segment: &Attached) -> usize {
    let lanes = 0..segment.lanes_used() as u16;
    lanes.map(|id| segment.deferred(id, 1000).unwrap().0.len()).sum()
}

#[test]
fn a_pinned_block_stays_until_it_is_unpinned() {
    for bytes in [24, 5000, 40_000] {
        let world = World::sized(24, 4, Medium::Volatile);
        let (one, two) = (world.writer(1), world.writer(2));
        let slot = world.nodes[0];
        replace(&two, slot, bytes, 1).unwrap();
        let (first, block) = pin(&one, slot);
        let (second, again) = pin(&one, slot);
        assert_eq!(block, again);
        replace(&two, slot, bytes, 2).unwrap();
        churn(&two, &world, bytes);
        assert!(full_of(&world, block, 1), "used again under its reader");
        assert_eq!(deferred(&two), 1);
        check(&world, &two, &pointed(&world, &two));
        one.unpin(&first, true);
        churn(&two, &world, bytes);
        assert!(full_of(&world, block, 1), "still pinned once");
        one.unpin(&second, true);
        churn(&two, &world, bytes);
        assert_eq!(deferred(&two), 0);
        assert_eq!(world.word(header::PINS) & 1, 0);
        check(&world, &two, &pointed(&world, &two));
    }
}

/// The block is freed, and used again, between the pin and the second look.
#[test]
fn a_pin_that_comes_too_late_pins_what_is_there_now() {
    let world = World::sized(12, 4, Medium::Volatile);
    let (one, two) = (world.writer(1), world.writer(2));
    let slot = world.nodes[0];
    replace(&two, slot, 24, 1).unwrap();
    let meddler = two.clone();
    // As if the other one had looked at the pins before: it does not see this one.
    at(&one, Point::Pinned, 0, move || {
        let word = meddler.memory.load(header::PINS, Ordering::Acquire);
        meddler.memory.store(header::PINS, word & !1, Ordering::Release);
        replace(&meddler, slot, 24, 2).unwrap();
        meddler.memory.store(header::PINS, word, Ordering::Release);
    });
    let (_pin, block) = pin(&one, slot);
    assert!(full_of(&world, block, 2));
    replace(&two, slot, 24, 3).unwrap();
    churn(&two, &world, 24);
    assert!(full_of(&world, block, 2), "used again under its reader");
}

/// The pin comes when the other transaction has decided to free, and is not committed yet.
#[test]
fn a_commit_looks_at_pins_after_its_locks() {
    for before in [false, true] {
        let world = World::sized(12, 4, Medium::Volatile);
        let (one, two) = (world.writer(1), world.writer(2));
        let slot = world.nodes[0];
        replace(&two, slot, 24, 1).unwrap();
        replace(&two, world.nodes[1], 24, 1).unwrap();
        // With a pin of another block the transaction looks each block up before it frees it.
        let _other = before.then(|| pin(&one, world.nodes[1]));
        let found = Arc::new(std::sync::Mutex::new(None));
        let (place, pinner) = (found.clone(), one.clone());
        at(&two, Point::Prepared, 0, move || *place.lock().unwrap() = Some(pin(&pinner, slot)));
        replace(&two, slot, 24, 2).unwrap();
        let (_pin, block) = found.lock().unwrap().take().unwrap();
        churn(&two, &world, 24);
        assert!(full_of(&world, block, 1), "used again under its reader");
        check(&world, &two, &pointed(&world, &two));
    }
}

#[test]
fn whoever_pins_waits_for_a_transaction_that_lasts() {
    let world = World::sized(12, 4, Medium::Volatile);
    let (one, two) = (world.writer(1), world.writer(2));
    let slot = world.nodes[0];
    replace(&two, slot, 24, 1).unwrap();
    let mut lane = two.claim().unwrap().unwrap();
    two.take_token(&mut lane, &mut few()).unwrap();
    let waited = one.pin(&mut few(), &mut Pointed(slot));
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    two.drop_token(&mut lane).unwrap();
    two.release(&lane);
    pin(&one, slot);
}

#[test]
fn pins_end_with_their_process() {
    let world = World::sized(12, 6, Medium::Volatile);
    let (one, two) = (world.writer(1), world.writer(2));
    let slot = world.nodes[0];
    replace(&two, slot, 24, 1).unwrap();
    pin(&one, slot);
    replace(&two, slot, 24, 2).unwrap();
    assert_eq!(deferred(&two), 1);
    world.machine.kill(1);
    churn(&two, &world, 24);
    assert_eq!(deferred(&two), 0);
    assert_eq!(world.word(header::PINS) & 1, 0);
    check(&world, &two, &pointed(&world, &two));
}

/// Whoever defers, and whoever frees what was deferred, may die at any step.
#[test]
fn a_deferred_block_is_neither_lost_nor_used_whatever_step_its_writer_dies_at() {
    for medium in [Medium::Volatile, Medium::CacheLine] {
        for unpins in [false, true] {
            for &point in Point::ALL {
                for nth in 0..40 {
                    let world = World::sized(16, 6, medium);
                    let (one, two) = (world.writer(1), world.writer(2));
                    let slot = world.nodes[0];
                    replace(&two, slot, 24, 1).unwrap();
                    let (pinned, block) = pin(&one, slot);
                    if unpins {
                        replace(&two, slot, 24, 2).unwrap();
                        one.unpin(&pinned, true);
                    }
                    die_at(&two, point, nth);
                    match replace(&two, slot, 24, 3) {
                        Err(Error::Died) => {}
                        Ok(()) => break,
                        Err(other) => panic!("{other}"),
                    }
                    world.machine.kill(2);
                    let three = world.attach(3);
                    churn(&three, &world, 24);
                    assert!(unpins || full_of(&world, block, 1), "used again under its reader");
                    three.exclusively(&mut few(), || Ok(())).unwrap();
                    check(&world, &three, &pointed(&world, &three));
                }
            }
        }
    }
}

/// Slots are words of the lane; more pins than it has need another lane, then there is none.
#[test]
fn pins_beyond_the_slots_take_more_lanes() {
    let world = World::new();
    let one = world.writer(1);
    replace(&one, world.nodes[0], 24, 1).unwrap();
    let slots = world.machine.geometry.inline_words() as usize;
    let mut pins = Vec::new();
    while let Some((pin, _)) = one.pin(&mut few(), &mut Pointed(world.nodes[0])).unwrap() {
        pins.push(pin);
    }
    assert_eq!(pins.len(), 3 * slots, "one lane of four is for transactions");
    for pin in &pins {
        one.unpin(pin, false);
    }
    let tails = (1..4).map(|id| world.machine.geometry.lane(id) - lane::TAIL);
    assert!(tails.into_iter().all(|tail| world.word(tail + lane::PINNED) == 0));
    assert_eq!(one.pin(&mut few(), &mut Pointed(world.nodes[1])).unwrap().map(|_| ()), None);
    pin(&one, world.nodes[0]);
}
