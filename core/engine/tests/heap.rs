//! Blocks and extents under kills: nothing leaks, nothing is used twice, no stale record strikes.
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::*;
use std::sync::atomic::AtomicU32;

/// Small block, large block, extent: bytes.
const SIZES: [u64; 3] = [24, 5000, 20_000];

/// Puts a block of `bytes`, filled with `byte`, in place of the one that `slot` points to.
fn replace(segment: &Attached, slot: Offset, bytes: u64, byte: u8) -> Result<Offset> {
    segment.write(&mut few(), |tx| exchange(tx, slot, bytes, byte))
}

fn exchange(tx: &mut Tx<'_>, slot: Offset, bytes: u64, byte: u8) -> Result<Offset> {
    let (view, old) = pair(tx, slot)?;
    if old != 0 {
        tx.free(old)?;
    }
    let mut block = 0;
    if bytes != 0 {
        block = tx.alloc(bytes)?;
        tx.fill(block, &[&vec![byte; bytes as usize]]);
    }
    put(tx, &view, block);
    Ok(block)
}

/// Blocks that the nodes point to, with all their bytes equal.
fn blocks(world: &World, segment: &Attached) -> Vec<Offset> {
    let slots = world.nodes.iter().map(|&slot| get(segment, slot).unwrap());
    let blocks: Vec<Offset> = slots.filter(|&block| block != 0).collect();
    for &block in &blocks {
        let first = world.word(block);
        assert_eq!(first, u64::from_le_bytes([first as u8; 8]), "half filled");
        assert_eq!(world.word(block + 16), first, "half filled");
    }
    blocks
}

#[test]
fn the_heap_is_whole_whatever_step_a_writer_dies_at() {
    for medium in [Medium::Volatile, Medium::CacheLine] {
        for (old, new) in [(0, 0), (0, 1), (0, 2), (1, 2), (2, 0), (2, 2)] {
            for &point in Point::ALL {
                for nth in 0..60 {
                    let world = World::sized(12, 4, medium);
                    let one = world.writer(1);
                    let slot = world.nodes[0];
                    replace(&one, slot, SIZES[old], 1).unwrap();
                    replace(&one, world.nodes[1], SIZES[new], 2).unwrap();
                    die_at(&one, point, nth);
                    match replace(&one, slot, SIZES[new], 3) {
                        Err(Error::Died) => {}
                        Ok(_) => break,
                        Err(other) => panic!("{other}"),
                    }
                    world.machine.kill(1);
                    assert_listed(&world);
                    let two = world.attach(2);
                    replace(&two, slot, SIZES[old], 4).unwrap();
                    replace(&two, world.nodes[2], SIZES[new], 5).unwrap();
                    two.exclusively(&mut few(), || Ok(())).unwrap();
                    check(&world, &two, &blocks(&world, &two));
                }
            }
        }
    }
}

/// Whoever frees what another one has freed meanwhile has a conflict; nothing is broken.
#[test]
fn freeing_what_is_gone_is_a_conflict() {
    for size in SIZES {
        let world = World::sized(12, 4, Medium::Volatile);
        let (one, two) = (world.writer(1), world.writer(2));
        let slot = world.nodes[0];
        replace(&one, slot, size, 1).unwrap();
        let mut rounds = 0;
        let done = one.write(&mut few(), |tx| {
            let (view, old) = pair(tx, slot)?;
            if rounds == 0 {
                replace(&two, slot, 0, 0).unwrap();
            }
            rounds += 1;
            if old != 0 {
                tx.free(old)?;
            }
            put(tx, &view, 0);
            Ok(())
        });
        done.unwrap();
        assert_eq!(rounds, 2);
        check(&world, &one, &blocks(&world, &one));
    }
}

/// Threads that really race for runs and extents, and die.
#[test]
fn the_heap_is_whole_after_races_and_kills() {
    for seed in 0..40 {
        let world = World::sized(24, 6, Medium::Volatile);
        let pids = AtomicU32::new(1);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (world, pids) = (&world, &pids);
                scope.spawn(move || race(world, pids, Random(seed * 8 + thread)));
            }
        });
        let last = world.attach(pids.into_inner());
        last.exclusively(&mut Bounded(100_000), || Ok(())).unwrap();
        check(&world, &last, &blocks(&world, &last));
    }
}

fn race(world: &World, pids: &AtomicU32, mut random: Random) {
    let fresh = || {
        let pid = pids.fetch_add(1, Ordering::Relaxed);
        (pid, world.attach(pid))
    };
    let (mut pid, mut segment) = fresh();
    for _ in 0..40 {
        if random.below(3) == 0 {
            die_at(&segment, Point::ALL[random.below(26) as usize], random.below(12) as u32);
        }
        let slot = world.nodes[random.below(4) as usize];
        let (size, byte) = (SIZES[random.below(3) as usize], random.below(255) as u8);
        let done = segment.write(&mut Bounded(10_000_000), |tx| exchange(tx, slot, size, byte));
        match done {
            Ok(_) => {}
            Err(Error::Died) => {
                world.machine.kill(pid);
                (pid, segment) = fresh();
            }
            Err(other) => panic!("{other}"),
        }
    }
    world.machine.kill(pid);
}

/// An extent that is committed but not yet applied can be looked at, and freed.
#[test]
fn a_committed_extent_can_be_freed_before_it_is_applied() {
    for size in SIZES {
        let world = World::sized(12, 4, Medium::Volatile);
        let one = world.writer(1);
        let slot = world.nodes[0];
        die_at(&one, Point::Committed, if size == SIZES[2] { 0 } else { 1 });
        assert!(replace(&one, slot, size, 1).is_err());
        world.machine.kill(1);
        let two = world.attach(2);
        let block = get(&two, slot).unwrap();
        assert!(two.block_bytes(block).unwrap() >= size);
        replace(&two, slot, SIZES[0], 2).unwrap();
        check(&world, &two, &blocks(&world, &two));
    }
}

#[test]
fn the_heap_is_whole_after_power_failures() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut world = World::sized(16, 4, Medium::CacheLine);
        let mut acked = [0; 4];
        for pid in 1..5 {
            let segment = world.attach(pid);
            die_at(&segment, Point::ALL[random.below(26) as usize], random.below(12) as u32);
            let mut unsure = None;
            for _ in 0..6 {
                let (slot, byte) = (random.below(4) as usize, random.below(255) as u8 + 1);
                let size = SIZES[random.below(3) as usize];
                match replace(&segment, world.nodes[slot], size, byte) {
                    Ok(_) => acked[slot] = byte,
                    Err(Error::Died) => {
                        unsure = Some((slot, byte));
                        break;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            let machine = world.machine.crash(|_| random.below(2) == 0);
            world = World { machine, ..world };
            let first = world.attach(10 + pid);
            first.recover_power_failure().unwrap();
            for (slot, value) in acked.iter_mut().enumerate() {
                let block = get(&first, world.nodes[slot]).unwrap();
                let found = if block == 0 { 0 } else { world.word(block) as u8 };
                let also = unsure.filter(|&(unsure, _)| unsure == slot).map(|(_, byte)| byte);
                assert!(found == *value || Some(found) == also, "an acknowledged write is lost");
                *value = found;
            }
            check(&world, &first, &blocks(&world, &first));
            first.release_all();
        }
    }
}

/// A data extent becomes a node extent; a record of another lane that once wrote into it is still
/// complete on the medium. Its node has moved on, so nothing of it is redone.
#[test]
fn a_stale_record_does_not_strike_an_extent_in_its_next_life() {
    let world = World::sized(5, 4, Medium::CacheLine);
    let (one, two) = (world.writer(1), world.writer(2));
    let slot = world.nodes[0];
    let extent = replace(&two, slot, SIZES[2] - 8000, 0).unwrap();
    // Lane 0 overwrites in place; its record stays as it is from here on.
    one.write(&mut few(), |tx| {
        let (view, block) = pair(tx, slot)?;
        (0..8).for_each(|word| tx.write(&view, block + word * 64, !0));
        Ok(())
    })
    .unwrap();
    replace(&two, slot, 0, 0).unwrap();
    let nodes = two.write(&mut few(), |tx| {
        let (view, _) = pair(tx, world.nodes[1])?;
        let block = tx.alloc_nodes(Kind::HASH_TABLE)?;
        tx.fill_nodes(block, &[0x5555; 2048]);
        put(tx, &view, block);
        Ok(block)
    });
    assert_eq!(nodes.unwrap(), extent, "the test is about this extent");
    for seed in 0..50 {
        let mut random = Random(seed);
        let crashed = world.machine.crash(|_| seed != 0 && random.below(2) == 0);
        // The state word of lane 0 may be any: after a power failure the sum alone decides.
        let at = crashed.geometry.lane(0);
        let port = crashed.port();
        let state = port.load(at, Ordering::Acquire);
        port.store(at, state & !3 | (1 + seed % 2), Ordering::Release);
        let first = crashed.attach(3);
        first.recover_power_failure().unwrap();
        for line in (extent..extent + 512).step_by(64) {
            let version = Version(port.load(line, Ordering::Acquire));
            assert!(version.0 != !0 && version.counter() <= 1, "a version word is overwritten");
            assert_eq!(port.load(line + 8, Ordering::Acquire), 0x5555);
        }
    }
}
