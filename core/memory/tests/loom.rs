//! Plain memory under loom: a copy published by a store is whole for whoever sees the store.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use vasmem_memory::Ordering::{Acquire, Relaxed, Release};
use vasmem_memory::{Medium, Memory, Plain};

#[test]
fn a_published_copy_is_whole() {
    loom::model(|| {
        let memory = Arc::new(Plain::new(32, Medium::Volatile));
        let writer = {
            let memory = memory.clone();
            thread::spawn(move || {
                memory.copy_in(11, b"0123456789");
                memory.store(0, 1, Release);
            })
        };
        if memory.load(0, Acquire) == 1 {
            let mut bytes = [0; 10];
            memory.copy_out(11, &mut bytes);
            assert_eq!(&bytes, b"0123456789");
        }
        writer.join().unwrap();
    });
}

#[test]
fn copies_are_relaxed() {
    // Words of one copy may be seen in any order: loom must find both being apart.
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let collected = seen.clone();
    loom::model(move || {
        let memory = Arc::new(Plain::new(16, Medium::Volatile));
        let writer = {
            let memory = memory.clone();
            thread::spawn(move || memory.copy_in(0, &[1; 16]))
        };
        let second = memory.load(8, Relaxed) != 0;
        let first = memory.load(0, Relaxed) != 0;
        collected.lock().unwrap().push((first, second));
        writer.join().unwrap();
    });
    let seen = seen.lock().unwrap();
    for outcome in [(false, false), (true, false), (false, true), (true, true)] {
        assert!(seen.contains(&outcome), "{outcome:?} in {seen:?}");
    }
}
