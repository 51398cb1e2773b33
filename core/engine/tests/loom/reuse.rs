//! Models 7 and 8: space that is freed and used again, under readers that are still there.

use super::*;
use loom::thread::spawn;

/// Model 7: one deletes a record, another lane reuses its block, a reader is copying it. Three
/// threads: what the reusing lane knows of the deletion, it knows from the run's lock alone.
#[test]
fn a_deleted_record_is_reused_under_a_copying_reader() {
    model(Some(1), || {
        let world = World::sized(5, 4, Medium::Volatile);
        let (one, two) = (world.writer(1), world.writer(2));
        let reader = world.machine.attach_readonly();
        let [a, b, ..] = world.nodes;
        let block = insert(&one, a, 7).unwrap();
        // The other lane has used this run before, too: it needs no search now.
        let spare = two.write(&mut Calm, |tx| tx.alloc(16)).unwrap();
        two.write(&mut Calm, |tx| tx.free(spare)).unwrap();
        let run = world.machine.geometry.place(block).descriptor;
        let ranges = [a..a + 16, block..block + 16, run..run + 8, state(&world, 0)];
        world.machine.track(&ranges);
        let reused = Signal::default();
        let signal = reused.clone();
        let reading = spawn(move || {
            signal.wait();
            let mut peek = Peek::new(&reader);
            let view = peek.read(None, a, KIND)?;
            let found = peek.word(&view, a + 8);
            if found != 0 {
                let mut bytes = [0; 16];
                peek.bytes(&view, found, &mut bytes);
                peek.check(&view)?;
                assert_eq!((bytes[0], bytes[8]), (7, 7), "the block was reused under it");
            }
            Ok::<(), Error>(())
        });
        let bit = 1 << ((block - (block & !((16 << 10) - 1))) / 32);
        let port = world.machine.port();
        let reusing = spawn(move || {
            while port.load(run + 16, Ordering::Relaxed) & bit != 0 {
                loom::thread::yield_now();
            }
            assert_eq!(insert(&two, b, 9).unwrap(), block, "the model is about this block");
            reused.give();
        });
        attempt(&one, |tx| {
            let view = tx.read(None, a, KIND)?;
            tx.write(&view, a + 8, 0);
            tx.free(block)
        })
        .unwrap();
        reusing.join().unwrap();
        let _ = reading.join().unwrap();
    });
}

/// One attempt: a block full of `byte`, to which the node's first word points.
fn insert(segment: &Attached, node: Offset, byte: u8) -> Result<Offset> {
    attempt(segment, |tx| {
        let view = tx.read(None, node, KIND)?;
        let block = tx.alloc(16)?;
        tx.fill(block, &[&[byte; 16]]);
        tx.write(&view, node + 8, block);
        Ok(block)
    })
}

/// Model 8: one unlinks and frees a child, another fills it anew and links it elsewhere, a reader
/// descends to it (E2, E3).
#[test]
fn a_freed_node_is_reused_under_a_descending_reader() {
    model(Some(3), || {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let reader = world.machine.attach_readonly();
        let [parent, child, ..] = world.nodes;
        let port = world.machine.port();
        port.store(parent + 8, child, Ordering::Relaxed);
        for at in [child + 8, child + 16] {
            port.store(at, 7, Ordering::Relaxed);
        }
        let ranges = [parent..parent + 24, node(child), state(&world, 0), state(&world, 1)];
        world.machine.track(&ranges);
        let reading = spawn(move || {
            let mut peek = Peek::new(&reader);
            let above = peek.navigate(None, parent, KIND)?;
            let old = peek.word(&above, parent + 8);
            if old != 0 {
                let view = peek.read(Some(&above), old, KIND)?;
                assert_eq!(both(&peek, &view)?, 7, "the node was reused under it");
            }
            Ok::<(), Error>(())
        });
        attempt(&one, |tx| unlink(tx, parent)).unwrap();
        attempt(&two, |tx| link_anew(tx, parent, child)).unwrap();
        let _ = reading.join().unwrap();
    });
}

/// The parent's first word leads to a child; this takes it away and frees the child.
fn unlink(tx: &mut Tx<'_>, parent: Offset) -> Result<()> {
    let above = tx.read(None, parent, KIND)?;
    let child = tx.word(&above, parent + 8);
    let view = tx.read(Some(&above), child, KIND)?;
    tx.write(&above, parent + 8, 0);
    tx.free_node(&view);
    Ok(())
}

/// Takes the free child as a fresh node, with another content, and links it as the second one.
fn link_anew(tx: &mut Tx<'_>, parent: Offset, child: Offset) -> Result<()> {
    let above = tx.read(None, parent, KIND)?;
    assert_eq!(tx.word(&above, parent + 8), 0);
    tx.fill_nodes(child, &[0, 9, 9, 0, 0, 0, 0, 0]);
    tx.write(&above, parent + 16, child);
    Ok(())
}
