//! Plain use of the engine by simulated processes, without kills.
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::*;

#[test]
fn two_nodes_change_together() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let [a, b, ..] = world.nodes;
    set_all(&one, &[a, b], 5).unwrap();
    set_all(&two, &[b], 6).unwrap();
    assert_eq!(get(&one, a).unwrap(), 5);
    assert_eq!(get(&world.machine.attach_readonly(), b).unwrap(), 6);
    assert_eq!(world.word(a), 1 << 24, "unlocked, counter 1");
    assert_eq!(world.word(b), 2 << 24);
}

#[test]
fn a_transaction_reads_its_own_writes_and_forgets_them_on_error() {
    let world = World::new();
    let one = world.writer(1);
    let a = world.nodes[0];
    let failed = one.write(&mut few(), |tx| {
        let (view, _) = pair(tx, a)?;
        put(tx, &view, 9);
        assert_eq!(pair(tx, a)?.1, 9);
        let mut bytes = [0; 3];
        tx.overwrite(&view, a + 8, &[8], &[7]);
        tx.bytes(&view, a + 8, &mut bytes);
        assert_eq!(bytes, [8, 7, 0]);
        Err::<(), _>(Error::WrongKind)
    });
    assert!(matches!(failed, Err(Error::WrongKind)));
    assert_eq!(get(&one, a).unwrap(), 0);
    set_all(&one, &[a], 3).unwrap();
    assert_eq!(get(&one, a).unwrap(), 3);
}

#[test]
fn a_conflicting_transaction_runs_again_and_loses_nothing() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let [a, b, ..] = world.nodes;
    let mut rounds = 0;
    one.write(&mut few(), |tx| {
        let (view, value) = pair(tx, a)?;
        let (other, _) = pair(tx, b)?;
        if rounds == 0 {
            set_all(&two, &[b], 40).unwrap();
            set_all(&two, &[a], 41).unwrap();
        }
        rounds += 1;
        put(tx, &view, value + 1);
        put(tx, &other, value + 1);
        Ok(())
    })
    .unwrap();
    assert_eq!((rounds, get(&one, a).unwrap(), get(&one, b).unwrap()), (2, 42, 42));
}

#[test]
fn after_many_conflicts_it_runs_under_the_token() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let a = world.nodes[0];
    let mut patience = Bounded(1000);
    let mut refused = 0;
    one.write(&mut patience, |tx| {
        let (view, value) = pair(tx, a)?;
        let foreign = two.write(&mut Bounded(2), |tx| {
            let (view, value) = pair(tx, a)?;
            put(tx, &view, value + 1);
            Ok(())
        });
        refused += u32::from(foreign.is_err());
        put(tx, &view, value + 1000);
        Ok(())
    })
    .unwrap();
    assert_eq!((refused, get(&one, a).unwrap()), (1, 1064));
    set_all(&two, &[a], 1).unwrap();
}

#[test]
fn a_transaction_that_conflicts_for_ever_ends_with_its_patience() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let done = one.write(&mut few(), |_| Err::<(), _>(Error::Conflict));
    assert!(matches!(done, Err(Error::Timeout { .. })));
    set_all(&two, &world.nodes, 3).unwrap();
}

#[test]
fn a_read_only_transaction_sees_one_state() {
    let world = World::new();
    let (one, two) = (world.writer(1), world.writer(2));
    let [a, b, ..] = world.nodes;
    let mut rounds = 0;
    let seen = one.write(&mut few(), |tx| {
        let first = pair(tx, a)?.1;
        if rounds == 0 {
            set_all(&two, &[a, b], 8).unwrap();
        }
        rounds += 1;
        Ok((first, pair(tx, b)?.1))
    });
    assert_eq!((seen.unwrap(), rounds), ((8, 8), 2));
}

#[test]
fn a_record_that_is_too_long_continues_in_the_heap() {
    let world = World::sized(8, 4, Medium::CacheLine);
    let (one, two) = (world.writer(1), world.writer(2));
    let first = world.nodes[0];
    for round in 1..=3 {
        one.write(&mut few(), |tx| {
            for i in (0..250).rev() {
                let (view, _) = pair(tx, first + i * 64)?;
                put(tx, &view, round * 1000 + i);
            }
            Ok(())
        })
        .unwrap();
        for i in 0..250 {
            assert_eq!(get(&two, first + i * 64).unwrap(), round * 1000 + i);
        }
    }
    check(&world, &two, &[]);
}

#[test]
fn blocks_come_and_go_and_the_heap_stays_whole() {
    let world = World::sized(20, 4, Medium::Volatile);
    let (one, two) = (world.writer(1), world.writer(2));
    let slots = world.nodes[0];
    let mut live = vec![];
    for round in 0..200u64 {
        let segment = if round % 3 == 0 { &one } else { &two };
        let slot = slots + round * 7 % 20 * 64;
        let bytes = [24, 700, 5000, 40_000][round as usize % 4];
        live.retain(|&(at, _)| at != slot);
        let block = segment
            .write(&mut few(), |tx| {
                let view = tx.read(None, slot, KIND)?;
                let old = tx.word(&view, slot + 8);
                if old != 0 {
                    tx.free(old)?;
                }
                let block = if bytes == 40_000 && round % 16 != 3 { 0 } else { tx.alloc(bytes)? };
                if block != 0 {
                    tx.fill(block, &[&round.to_le_bytes(), &[round as u8; 9]]);
                }
                tx.write(&view, slot + 8, block);
                Ok(block)
            })
            .unwrap();
        if block != 0 {
            live.push((slot, round));
        }
    }
    let mut reached = vec![];
    for (slot, round) in live {
        let block = world.word(slot + 8);
        assert_eq!(world.word(block), round);
        reached.push(block);
    }
    check(&world, &one, &reached);
}

#[test]
fn names_are_entered_found_and_removed() {
    let world = World::sized(8, 4, Medium::Volatile);
    let (one, two) = (world.writer(1), world.writer(2));
    let directory = world.machine.geometry.directory_at;
    for i in 0..500 {
        let named = vasmem_engine::directory::Named {
            name: format!("name {i}"),
            kind: KIND,
            flags: 0,
            node: world.nodes[0],
        };
        one.write(&mut few(), |tx| tx.enter(&named)).unwrap();
    }
    for i in (0..500).step_by(2) {
        two.write(&mut few(), |tx| tx.leave(&format!("name {i}"))).unwrap().unwrap();
    }
    for i in 0..500 {
        let name = format!("name {i}");
        let found = one
            .read(&mut few(), |peek| vasmem_engine::directory::find(peek, directory, &name))
            .unwrap();
        assert_eq!(found.is_some(), i % 2 == 1, "{name}");
    }
    check(&world, &one, &[]);
}
