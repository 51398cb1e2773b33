//! Model 11: somebody pins a block while another one frees it.

use super::*;
use loom::thread::spawn;
use vasmem_engine::Reading;
use vasmem_engine::layout::descriptor;

/// Finds the block that a node points to.
struct Pointed(Offset);

impl Reading<Option<(Offset, ())>> for Pointed {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<Option<(Offset, ())>> {
        let view = access.read(None, self.0, KIND)?;
        let block = access.word(&view, self.0 + 8);
        access.check(&view)?;
        Ok((block != 0).then_some((block, ())))
    }
}

/// Either the pin is seen and the block is kept, or the pinner sees that the block is gone. Without
/// waiting: one try each.
#[test]
fn a_block_is_pinned_while_another_frees_it() {
    model(Some(3), || {
        let world = World::sized(6, 4, Medium::Volatile);
        let (one, two) = (world.writer(1), world.writer(2));
        let a = world.nodes[0];
        let block = two.write(&mut Calm, |tx| {
            let view = tx.read(None, a, KIND)?;
            let block = tx.alloc(16)?;
            tx.fill(block, &[&[7; 16]]);
            tx.write(&view, a + 8, block);
            Ok(block)
        });
        let block = block.unwrap();
        // Its lane for pins is there already, and a run for the cell of a deferred block.
        let (first, ()) = one.pin(&mut Calm, &mut Pointed(a)).unwrap().unwrap();
        one.unpin(&first, true);
        let geometry = world.machine.geometry;
        let tail = geometry.lane(3) - lane::TAIL;
        let slot = geometry.lane(2) + lane::ENTRIES;
        world.machine.track(&[
            a..a + 16,
            header::TOKEN..header::PINS + 8,
            tail + lane::PINNED..tail + lane::PINNED + 8,
            slot..slot + 8,
            state(&world, 1),
        ]);
        let freer = spawn(move || {
            attempt(&two, |tx| {
                let view = tx.read(None, a, KIND)?;
                tx.write(&view, a + 8, 0);
                tx.free(block)
            })
        });
        let pinned = one.pin(&mut Once, &mut Pointed(a));
        let freed = freer.join().unwrap();
        assert!(matches!(freed, Ok(()) | Err(Error::Conflict)), "{freed:?}");
        if let Ok(Some((_pin, ()))) = pinned {
            let run = geometry.place(block).descriptor;
            let number = (block & ((16 << 10) - 1)) / 32;
            let used = world.word(run + descriptor::BITMAP + number / 64 * 8);
            assert!(used >> (number % 64) & 1 != 0, "a pinned block was freed");
        }
    });
}

/// Gives up where others wait.
struct Once;

impl vasmem_engine::Patience for Once {
    fn pause(&mut self, _: u32, holder: vasmem_engine::Holder) -> Result<bool> {
        Err(Error::Timeout { waited_for: holder })
    }
}
