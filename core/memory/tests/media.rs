//! The emulated medium: what is on it, when, and what a power failure leaves.
#![cfg(not(loom))]

mod common;

use std::os::fd::{AsFd, OwnedFd};

use common::{End, PAGE, file, fork};
use vasmem_memory::Ordering::{Acquire, Relaxed, Release};
use vasmem_memory::{Access, Latency, Mapped, Media, Medium, Memory, Survival};

const SIZE: u64 = 8 * PAGE;

struct Emulated {
    segment: OwnedFd,
    companion: OwnedFd,
}

impl Emulated {
    /// With a companion that was made before anyone else could attach, as those of segments are.
    fn new() -> Emulated {
        let emulated = Emulated { segment: file(SIZE), companion: file(0) };
        drop(emulated.attach());
        emulated
    }

    /// One more process's view, with redo records in the first page.
    fn attach(&self) -> Mapped {
        let access = Access::ReadWrite;
        let medium = Medium::CacheLine;
        let mut memory = Mapped::map(self.segment.as_fd(), SIZE, access, medium).unwrap();
        memory.set_limit(SIZE);
        let (companion, segment) = (self.companion.as_fd(), self.segment.as_fd());
        let media = Media::map(companion, segment, memory.reserved(), access, 0..PAGE).unwrap();
        memory.emulate(media);
        memory
    }

    /// The word at `at` if all that is not surely durable is lost.
    fn durable(&self, at: u64) -> u64 {
        let memory = self.attach();
        memory.crash(Survival::None, 0).unwrap();
        memory.load(at, Relaxed)
    }
}

fn persist(memory: &Mapped, at: u64, value: u64) {
    memory.store(at, value, Release);
    memory.flush(at, 8);
    memory.drain();
}

#[test]
fn only_what_is_flushed_and_then_fenced_is_durable() {
    let steps: [fn(&Mapped); 4] = [
        |_| {},
        |memory| memory.flush(72, 8),
        |memory| memory.drain(),
        |memory| {
            memory.drain();
            memory.flush(72, 8);
        },
    ];
    for step in steps {
        let emulated = Emulated::new();
        let memory = emulated.attach();
        persist(&memory, 64, 1);
        memory.store(72, 2, Release);
        step(&memory);
        assert_eq!(memory.load(72, Acquire), 2);
        drop(memory);
        assert_eq!((emulated.durable(64), emulated.durable(72)), (1, 0));
    }
    let emulated = Emulated::new();
    persist(&emulated.attach(), 72, 2);
    assert_eq!(emulated.durable(72), 2);
}

#[test]
fn a_fence_is_for_the_flushes_of_its_own_thread() {
    let emulated = Emulated::new();
    let memory = emulated.attach();
    memory.store(64, 1, Release);
    memory.flush(64, 8);
    std::thread::scope(|scope| scope.spawn(|| memory.drain()).join().unwrap());
    assert_eq!(memory.media().unwrap().counts()[3], 0, "no line was written");
    memory.drain();
    assert_eq!(memory.media().unwrap().counts()[3], 1);
}

#[test]
fn bytes_of_any_length_are_copied_and_flushed() {
    for len in [1, 63, 64, 65, 1000, 2047, 2048, 2049, 5000] {
        for at in [PAGE, PAGE + 1, PAGE + 8, PAGE + 63] {
            let emulated = Emulated::new();
            let memory = emulated.attach();
            let bytes: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
            memory.copy_in_flushed(at, &bytes);
            memory.drain();
            memory.crash(Survival::None, 0).unwrap();
            let mut found = vec![0; len + 2];
            memory.copy_out(at - 1, &mut found);
            assert_eq!(found[1..=len], bytes[..]);
            assert_eq!((found[0], found[len + 1]), (0, 0), "nothing beside it");
            assert!(!memory.poisoned());
        }
    }
}

#[test]
fn what_is_fenced_by_many_at_once_is_never_put_back() {
    let emulated = Emulated::new();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let emulated = &emulated;
            scope.spawn(move || {
                let memory = emulated.attach();
                for value in 1..=20_000 {
                    persist(&memory, number * 8, value);
                }
            });
        }
    });
    for number in 0..4 {
        assert_eq!(emulated.durable(number * 8), 20_000);
    }
}

#[test]
fn a_kill_in_the_middle_of_a_fence_stops_nobody() {
    let emulated = Emulated::new();
    let memory = emulated.attach();
    for round in 1..20 {
        let child = fork(|| {
            let memory = emulated.attach();
            for value in 0.. {
                persist(&memory, 8, value);
            }
            0
        });
        for value in 0..300 {
            persist(&memory, 16, round * 1000 + value);
        }
        child.kill();
        assert_eq!(child.wait(), End::Signal(9));
        persist(&memory, 24, round);
        assert_eq!(emulated.durable(16), round * 1000 + 299);
        assert_eq!(emulated.durable(24), round);
    }
}

#[test]
fn each_line_survives_by_itself_and_as_a_whole() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..20 {
        let emulated = Emulated::new();
        let memory = emulated.attach();
        for line in 0..16 {
            memory.copy_in(PAGE + line * 64, &[7; 64]);
        }
        let (lines, survived) = memory.crash(Survival::Each, seed).unwrap();
        assert_eq!(lines, 16);
        let mut kept = 0;
        for line in 0..16 {
            let mut found = [0; 64];
            memory.copy_out(PAGE + line * 64, &mut found);
            assert!(found == [0; 64] || found == [7; 64]);
            kept += u64::from(found == [7; 64]);
        }
        assert_eq!(kept, survived);
        (old, new) = (old + 16 - kept, new + kept);
        assert_eq!(memory.crash(Survival::Each, seed).unwrap(), (0, 0), "nothing is at stake");
    }
    assert!(old > 100 && new > 100, "{old} old, {new} new");
}

#[test]
fn it_counts_and_wears() {
    let emulated = Emulated::new();
    let memory = emulated.attach();
    let media = memory.media().unwrap();
    persist(&memory, PAGE, 1);
    persist(&memory, PAGE, 1);
    persist(&memory, PAGE, 2);
    memory.store(0, 3, Relaxed);
    memory.flush(0, 100);
    memory.drain();
    memory.committed(40);
    // flushes, lines, fences, lines and words written, bytes logged, commits, bytes asked
    assert_eq!(media.counts(), [4, 5, 4, 3, 3, 100, 1, 40]);
    assert_eq!(media.wear().unwrap(), [(0, 1), (PAGE / 64, 2)]);
    media.set_latency(Latency { fence_ns: 1, line_ns: 2, write_bytes_per_s: 3 });
    let other = emulated.attach();
    assert_eq!(other.media().unwrap().latency().write_bytes_per_s, 3);
    assert_eq!(other.media().unwrap().counts(), media.counts());
}
