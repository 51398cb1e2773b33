//! The heap under several attachments: runs that change their kind, large transactions, reuse of
//! space across block classes and data extents.

mod common;

use common::{Attached, Files, patient};
use vasmem_engine::layout::{GRANULE, Kind};
use vasmem_engine::{Error, Offset};
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::HashMap;

fn assert_sound(segment: &Attached) {
    assert_eq!(check(segment, &mut patient()).unwrap(), []);
}

/// Runs transactions of `other` until the run that holds `block` is of another kind.
fn change_kind(other: &Attached, block: Offset) {
    let before = other.kind_at(block);
    for bytes in [2000, 300, 700].into_iter().cycle().take(3000) {
        other.write(&mut patient(), |tx| tx.alloc(bytes).map(|_| ())).unwrap();
        if other.kind_at(block) != before {
            return;
        }
    }
    panic!("the run is still of kind {before:?}");
}

#[test]
fn a_block_is_not_taken_from_a_run_that_changed_its_kind() {
    // One granule after the other, so that the other attachment needs the empty run.
    let files = Files::new(0, 1 << 20, Medium::Volatile);
    let (segment, other) = (files.attach(), files.attach());
    let mut attempts = 0;
    let block = segment
        .write(&mut patient(), |tx| {
            // Not the first block of the run, which the other attachment takes.
            let (first, block) = (tx.alloc(100)?, tx.alloc(100)?);
            tx.free(first)?;
            attempts += 1;
            if attempts == 1 {
                change_kind(&other, block);
            }
            tx.fill(block, &[&[1; 100]]);
            Ok(block)
        })
        .unwrap();
    assert!(attempts > 1, "the stale choice must not commit");
    let (meta, ..) = segment.block(block).unwrap();
    assert_eq!(Some(meta.kind()), Kind::for_bytes(100));
}

#[test]
fn space_of_small_blocks_serves_large_values_again() {
    let files = Files::new(1 << 20, 8 << 20, Medium::Volatile);
    let segment = files.attach();
    let map = segment.write(&mut patient(), |tx| HashMap::create(tx, "m", 0, 1)).unwrap();
    let mut record = Vec::new();
    let mut count = 0u64;
    loop {
        let put = segment
            .write(&mut patient(), |tx| map.put(tx, &count.to_le_bytes(), &[7; 900], &mut record));
        match put {
            Ok(_) => count += 1,
            Err(Error::Full { max_bytes, .. }) => break assert_eq!(max_bytes, 8 << 20),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(count > 6000, "{count} records of 916 bytes in 8 MiB");
    assert_sound(&segment);
    for key in 0..count {
        segment
            .write(&mut patient(), |tx| map.delete(tx, &key.to_le_bytes(), &mut record))
            .unwrap();
    }
    let large = vec![5; 40 * GRANULE as usize];
    segment.write(&mut patient(), |tx| map.put(tx, b"large", &large, &mut record)).unwrap();
    assert_sound(&segment);
}

#[test]
fn a_transaction_of_many_changes_is_one() {
    let files = Files::new(1 << 20, 1 << 30, Medium::CacheLine);
    let segment = files.attach();
    let map = segment.write(&mut patient(), |tx| HashMap::create(tx, "m", 0, 1)).unwrap();
    let mut record = Vec::new();
    let count = 50_000u64;
    for round in 0..2 {
        segment
            .write(&mut patient(), |tx| {
                for key in 0..count {
                    map.put(
                        tx,
                        &key.to_le_bytes(),
                        &vec![round; 40 + round as usize * 60],
                        &mut record,
                    )?;
                }
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(segment.read(&mut patient(), |peek| map.len(peek)).unwrap(), count);
    assert_sound(&segment);
    segment.write(&mut patient(), |tx| map.remove(tx, "m")).unwrap();
    assert_sound(&segment);
}

/// Its first granule is still to be written by this transaction, so nobody else's run may begin
/// there before the commit.
#[test]
fn an_extent_made_and_freed_in_a_transaction_is_not_used_before_its_end() {
    let files = Files::new(1 << 20, 64 << 20, Medium::Volatile);
    let segment = files.attach();
    let (extent, block) = segment
        .write(&mut patient(), |tx| {
            let extent = tx.alloc(9000)?;
            tx.free(extent)?;
            let block = tx.alloc(24)?;
            tx.fill(block, &[&[1; 24]]);
            Ok((extent, block))
        })
        .unwrap();
    assert_ne!(extent / GRANULE, block / GRANULE);
    assert!(segment.block(extent).is_err(), "nothing is there");
    let (meta, ..) = segment.block(block).unwrap();
    assert_eq!(Some(meta.kind()), Kind::for_bytes(24));
}

/// A long record continues in an extent, for which empty runs are given back: but not those from
/// which the transaction itself is going to take blocks.
#[test]
fn a_long_record_leaves_the_runs_of_its_transaction_alone() {
    // Some of these counts leave no room for the extent when the record needs it.
    for count in (1000..9000u64).step_by(100) {
        let files = Files::new(1 << 20, 1 << 30, Medium::Volatile);
        let segment = files.attach();
        let map = segment.write(&mut patient(), |tx| HashMap::create(tx, "m", 0, 1)).unwrap();
        let (mut record, mut attempts) = (Vec::new(), 0);
        segment
            .write(&mut patient(), |tx| {
                attempts += 1;
                for key in 0..count {
                    map.put(tx, &key.to_le_bytes(), &[7; 100], &mut record)?;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(attempts, 1, "nobody else writes, and {count} puts conflict");
        assert_sound(&segment);
    }
}
