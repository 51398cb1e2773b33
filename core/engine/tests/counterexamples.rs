//! What the model checker found wrong in the first draft of the protocol (E1 to E7 and the smaller
//! ones), each as the one schedule that shows it.
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::*;
use std::sync::Mutex;
use vasmem_engine::lanes::Lane;

/// Something found in the middle of another process's operation.
type Found<T> = Arc<Mutex<Option<T>>>;

fn nothing<T>() -> Found<T> {
    Arc::new(Mutex::new(None))
}

fn take<T>(found: &Found<T>) -> T {
    found.lock().unwrap().take().expect("the step was reached")
}

fn is_timeout(done: &Result<()>) -> bool {
    matches!(done, Err(Error::Timeout { .. }))
}

/// A transaction on a lane apart, so that it can go on between steps of others.
struct Slow(Arc<Attached>, Mutex<Lane>);

impl Slow {
    fn new(segment: Arc<Attached>) -> Arc<Slow> {
        let lane = segment.claim().unwrap().unwrap();
        Arc::new(Slow(segment, Mutex::new(lane)))
    }

    fn step<T>(&self, body: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let (mut lane, mut patience) = (self.1.lock().unwrap(), Bounded(3));
        body(&mut Transaction::resume(&self.0, &mut lane, &mut patience))
    }
}

#[test]
fn e1_what_was_only_read_cannot_change_before_the_commit() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let [a, b, ..] = world.nodes;
    let found = nothing();
    let kept = found.clone();
    at(&one, Point::Validated, 0, move || {
        *kept.lock().unwrap() = Some(set_all_within(&two, &[a], 1, 3));
    });
    one.write(&mut few(), |tx| {
        let (_, value) = pair(tx, a)?;
        let (view, _) = pair(tx, b)?;
        put(tx, &view, value + 7);
        Ok(())
    })
    .unwrap();
    assert!(is_timeout(&take(&found)), "a reader could see A new and B old, then B as of old A");
}

/// As `set_all`, with so many pauses.
fn set_all_within(segment: &Attached, nodes: &[Offset], value: u64, pauses: u32) -> Result<()> {
    segment.write(&mut Bounded(pauses), |tx| {
        for &node in nodes {
            let (view, _) = pair(tx, node)?;
            put(tx, &view, value);
        }
        Ok(())
    })
}

/// The parent's first word leads to the child, whose pair is 7.
fn family(world: &World) -> (Offset, Offset) {
    let [parent, child, ..] = world.nodes;
    let port = world.machine.port();
    for (at, value) in [(parent + 8, child), (child + 8, 7), (child + 16, 7)] {
        port.store(at, value, Ordering::Relaxed);
    }
    (parent, child)
}

/// Takes the child away from its parent and frees it; spoils it first.
fn unlink(tx: &mut Tx<'_>, parent: Offset) -> Result<()> {
    let above = tx.read(None, parent, KIND)?;
    let child = tx.word(&above, parent + 8);
    let view = tx.read(Some(&above), child, KIND)?;
    tx.write(&above, parent + 8, 0);
    tx.write(&view, child + 8, 13);
    tx.free_node(&view);
    Ok(())
}

/// Fills the free child anew and links it as the parent's second.
fn link_anew(tx: &mut Tx<'_>, parent: Offset, child: Offset) -> Result<()> {
    let above = tx.read(None, parent, KIND)?;
    assert_eq!(tx.word(&above, parent + 8), 0, "it was unlinked");
    tx.fill_nodes(child, &[0, 9, 9, 0, 0, 0, 0, 0]);
    tx.write(&above, parent + 16, child);
    Ok(())
}

/// E2: a reader is half way through the child when it is freed and filled anew.
#[test]
fn e2_a_freed_node_is_bumped() {
    for killed in [false, true] {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let (parent, child) = family(&world);
        let reader = world.machine.attach_readonly();
        let mut peek = Peek::new(&reader);
        let above = peek.navigate(None, parent, KIND).unwrap();
        let view = peek.read(Some(&above), child, KIND).unwrap();
        assert_eq!(peek.word(&view, child + 16), 7);
        one.write(&mut few(), |tx| unlink_only(tx, parent)).unwrap();
        if killed {
            die_at(&two, Point::Filled, 0);
        }
        let linked = two.write(&mut few(), |tx| link_anew(tx, parent, child));
        assert_eq!(linked.is_err(), killed);
        world.machine.kill(2);
        world.attach(3).recover_dead(1).unwrap();
        assert_eq!(peek.word(&view, child + 8), 9);
        assert!(matches!(peek.check(&view), Err(Error::Conflict)), "torn, and not noticed");
    }
}

/// As `unlink`, without a word written to the child.
fn unlink_only(tx: &mut Tx<'_>, parent: Offset) -> Result<()> {
    let above = tx.read(None, parent, KIND)?;
    let view = tx.read(Some(&above), tx.word(&above, parent + 8), KIND)?;
    tx.write(&above, parent + 8, 0);
    tx.free_node(&view);
    Ok(())
}

/// E3: the freeing lane dies between its unlocks; its recovery must not hit the node's next life.
#[test]
fn e3_a_freed_node_is_not_reused_under_its_old_lock() {
    for nth in 0..2 {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let (parent, child) = family(&world);
        die_at(&one, Point::Unlocked, nth);
        assert!(one.write(&mut few(), |tx| unlink(tx, parent)).is_err());
        world.machine.kill(1);
        two.write(&mut few(), |tx| link_anew(tx, parent, child)).unwrap();
        let three = world.attach(3);
        three.recover_dead(0).unwrap();
        assert_eq!(get(&three, child).unwrap(), 9, "a committed update is lost");
    }
}

/// E4: the locker finds the owner idle and not listing the node; that voids nothing.
#[test]
fn e4_a_lock_is_never_void() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let [a, x, ..] = world.nodes;
    let port = world.machine.port();
    let slow = Slow::new(two.clone());
    slow.step(|tx| {
        let (view, _) = pair(tx, a)?;
        put(tx, &view, 1);
        Ok(())
    })
    .unwrap();
    let found = nothing();
    let kept = found.clone();
    // The owner is idle for a moment with its lock still there, as the locker may see it when it
    // loads the word before the abort and the state after it.
    at(&one, Point::Locked, 0, move || {
        let state = two.geometry.lane(0);
        let held = port.load(state, Ordering::Acquire);
        port.store(state, held & !3, Ordering::Release);
        let done = slow.step(|tx| tx.commit());
        port.store(state, held, Ordering::Release);
        *kept.lock().unwrap() = Some(done);
    });
    set_all(&one, &[a, x], 5).unwrap();
    assert!(is_timeout(&take(&found)), "two owners of one lock");
    assert_eq!(get(&one, a).unwrap(), 5);
}

/// E5a: A is read under PREPARED, B under COMMITTED of one transaction.
#[test]
fn e5_a_read_only_transaction_compares_effective_versions() {
    for second in [Point::Committed, Point::Unlocked] {
        let world = World::new();
        let one = world.writer(1);
        // B is unlocked first.
        let [b, a, ..] = world.nodes;
        let reader = Slow::new(world.attach(2));
        let found = nothing();
        let kept = found.clone();
        let mut seen = false;
        one.switches.watch(move |point| {
            if point == Point::Validated {
                assert_eq!(reader.step(|tx| pair(tx, a).map(|seen| seen.1)).unwrap(), 0);
                seen = true;
            } else if point == second && std::mem::take(&mut seen) {
                let done = reader.step(|tx| {
                    assert_eq!(pair(tx, b)?.1, 5);
                    tx.commit()
                });
                *kept.lock().unwrap() = Some(done);
            }
        });
        set_all(&one, &[a, b], 5).unwrap();
        assert!(matches!(take(&found), Err(Error::Conflict)), "A old and B new");
    }
}

/// E5b: a navigation read that another lane has locked fails, whatever that lane's state.
#[test]
fn e5_a_locked_navigation_read_does_not_validate() {
    let world = World::new();
    let one = world.writer(1);
    let [a, b, ..] = world.nodes;
    let slow = Slow::new(world.attach(2));
    let found = nothing();
    let kept = found.clone();
    at(&one, Point::Validated, 0, move || {
        let done = slow.step(|tx| {
            tx.navigate(None, a, KIND)?;
            let (view, _) = pair(tx, b)?;
            put(tx, &view, 6);
            tx.commit()
        });
        *kept.lock().unwrap() = Some(done);
    });
    one.write(&mut few(), |tx| {
        tx.navigate(None, b, KIND)?;
        let (view, _) = pair(tx, a)?;
        put(tx, &view, 5);
        Ok(())
    })
    .unwrap();
    assert!(matches!(take(&found), Err(Error::Conflict)), "each navigated past the other");
}

/// Others lock nodes before they see the token, and give up: that is no conflict for its holder.
#[test]
fn a_token_holder_passes_what_others_have_locked() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let [a, b, ..] = world.nodes;
    let slow = Slow::new(one.clone());
    one.take_token(&mut slow.1.lock().unwrap(), &mut few()).unwrap();
    slow.step(|tx| {
        tx.navigate(None, b, KIND)?;
        let (view, _) = pair(tx, a)?;
        put(tx, &view, 5);
        Ok(())
    })
    .unwrap();
    let found = nothing();
    let kept = found.clone();
    at(&two, Point::Locked, 0, move || {
        *kept.lock().unwrap() = Some(slow.step(|tx| tx.commit()));
    });
    assert!(is_timeout(&set_all_within(&two, &[b], 6, 3)), "the token was not looked at");
    take(&found).unwrap();
}

/// E7: the system says of one's own lanes that nobody holds them.
#[test]
fn e7_own_lanes_are_never_taken_for_dead() {
    let world = World::new();
    let one = world.writer(1);
    let [a, b, ..] = world.nodes;
    let (thread, found) = (one.clone(), nothing());
    let kept = found.clone();
    at(&one, Point::Locked, 1, move || {
        let claimed = thread.claim().unwrap().unwrap().id;
        *kept.lock().unwrap() = Some((thread.recover_dead(0).unwrap(), claimed));
    });
    set_all(&one, &[a, b], 5).unwrap();
    assert_eq!(take(&found), (false, 1), "not recovered, not claimed again");
}

/// A block freed in a transaction would be filled while the bucket still points there.
#[test]
fn a_block_freed_in_a_transaction_is_not_allocated_in_it() {
    let world = World::sized(5, 4, Medium::Volatile);
    let one = world.writer(1);
    let a = world.nodes[0];
    let replace = |tx: &mut Tx<'_>| {
        let (view, old) = pair(tx, a)?;
        if old != 0 {
            tx.free(old)?;
        }
        let block = tx.alloc(24)?;
        tx.fill(block, &[&[1; 24]]);
        put(tx, &view, block);
        Ok((old, block))
    };
    one.write(&mut few(), replace).unwrap();
    let (old, block) = one.write(&mut few(), replace).unwrap();
    assert_ne!(old, block);
    check(&world, &one, &[block]);
}

/// Fresh space is filled only under its run's lock: another lane may take the block first.
#[test]
fn a_fresh_block_is_filled_under_the_lock_of_its_run() {
    let world = World::sized(5, 4, Medium::Volatile);
    let (one, two) = (world.writer(1), world.writer(2));
    let [a, b, ..] = world.nodes;
    fn insert(segment: &Attached, slot: Offset, byte: u8) -> Result<Offset> {
        segment.write(&mut few(), |tx| {
            let (view, _) = pair(tx, slot)?;
            let block = tx.alloc(24)?;
            tx.fill(block, &[&[byte; 24]]);
            put(tx, &view, block);
            Ok(block)
        })
    }
    // Both lanes know the run.
    for segment in [&one, &two] {
        let spare = segment.write(&mut few(), |tx| tx.alloc(24)).unwrap();
        segment.write(&mut few(), |tx| tx.free(spare)).unwrap();
    }
    let (other, found) = (two.clone(), nothing());
    let kept = found.clone();
    at(&one, Point::Prepared, 0, move || {
        *kept.lock().unwrap() = Some(insert(&other, b, 2).unwrap());
    });
    let mine = insert(&one, a, 1).unwrap();
    let others = take(&found);
    assert_ne!(mine, others);
    assert_eq!(world.word(others), u64::from_le_bytes([2; 8]), "another's block is overwritten");
    assert_eq!(world.word(mine), u64::from_le_bytes([1; 8]));
}

/// Two lanes that write the same nodes lock them in the same order, however they came to them.
#[test]
fn locks_are_taken_in_one_order() {
    let world = World::new();
    let [a, b, ..] = world.nodes;
    let barrier = Arc::new((Mutex::new(0), std::sync::Condvar::new()));
    let run = |pid, nodes: [Offset; 2]| {
        let segment = world.writer(pid);
        let barrier = barrier.clone();
        at(&segment, Point::Locked, 0, move || {
            // Both have one lock now, or one of them waits for the other's.
            let (count, bell) = &*barrier;
            let mut count = count.lock().unwrap();
            *count += 1;
            bell.notify_all();
            let wait = std::time::Duration::from_millis(100);
            drop(bell.wait_timeout_while(count, wait, |count| *count < 2).unwrap());
        });
        std::thread::spawn(move || set_all_within(&segment, &nodes, u64::from(pid), 1_000_000))
    };
    let threads = [run(1, [a, b]), run(2, [b, a])];
    for thread in threads {
        thread.join().unwrap().expect("nobody waits for ever");
    }
}

/// A newcomer on a dead lane numbers its transactions on: a slow reader knows its record by that.
#[test]
fn a_slow_reader_notices_the_newcomer_on_the_lane() {
    let world = World::new();
    let one = world.writer(1);
    let [a, b, ..] = world.nodes;
    let found = nothing();
    let (kept, all, dying) = (found.clone(), world.clone(), one.clone());
    let mut seen = None;
    let reader = world.attach(7);
    one.switches.watch(move |point| {
        let mut peek = Peek::new(&reader);
        match point {
            Point::Validated => {
                let view = peek.read(None, a, KIND).unwrap();
                assert_eq!(peek.word(&view, a + 16), 0, "prepared: as it is");
                seen = Some(view);
            }
            Point::Applied => {
                let Some(view) = seen.take() else { return };
                assert_eq!(peek.word(&view, a + 8), 5, "applied meanwhile");
                let (world, dying) = (all.clone(), dying.clone());
                at(&reader, Point::Rechecking, 0, move || {
                    world.machine.kill(1);
                    die_at(&dying, Point::Applied, 0);
                    let newcomer = world.writer(2);
                    die_at(&newcomer, Point::Prepared, 0);
                    assert!(set_all(&newcomer, &[b], 1).is_err());
                });
                *kept.lock().unwrap() = Some(peek.check(&view));
            }
            _ => {}
        }
    });
    assert!(matches!(set_all(&one, &[a], 5), Err(Error::Died)));
    assert!(matches!(take(&found), Err(Error::Conflict)), "torn, and not noticed");
}
