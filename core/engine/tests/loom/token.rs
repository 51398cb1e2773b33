//! Model 6: the writer token.

use super::*;
use loom::thread::spawn;

/// While the holder has the token and all lanes were quiet, nobody else commits.
#[test]
fn a_token_holder_is_alone() {
    holder(None, false);
}

/// The same with the holder's own commit in between.
#[test]
fn a_token_holder_commits_alone() {
    holder(None, true);
}

fn holder(preemptions: Option<usize>, commits: bool) {
    model(preemptions, move || {
        let world = World::new();
        let (one, two) = (world.writer(1), world.writer(2));
        let a = world.nodes[0];
        world.machine.track(&[a..a + 16, state(&world, 0), state(&world, 1), token()]);
        let other = spawn(move || {
            let done = attempt(&two, |tx| {
                let view = tx.read(None, a, KIND)?;
                tx.write(&view, a + 8, 9);
                Ok(())
            });
            assert!(matches!(done, Ok(()) | Err(Error::Conflict)));
        });
        let mut patience = Calm;
        let mut lane = one.lane(&mut patience).unwrap();
        one.take_token(&mut lane, &mut patience).unwrap();
        let before = peek_word(&one, a);
        if commits {
            let mut tx = Transaction::resume(&*one, &mut lane, &mut patience);
            let view = tx.read(None, a, KIND).unwrap();
            tx.write(&view, a + 8, 5);
            tx.commit().expect("a token holder meets no conflict");
        }
        let after = peek_word(&one, a);
        assert_eq!(after, if commits { 5 } else { before }, "somebody committed meanwhile");
        one.drop_token(&mut lane).unwrap();
        drop(lane);
        other.join().unwrap();
    });
}

fn peek_word(segment: &Attached, at: Offset) -> u64 {
    loop {
        let mut peek = Peek::new(segment);
        let view = peek.read(None, at, KIND).unwrap();
        let word = peek.word(&view, at + 8);
        if peek.check(&view).is_ok() {
            return word;
        }
        loom::thread::yield_now();
    }
}
