//! Mapped memory: bounds, growth, read-only access, the tap.
#![cfg(not(loom))]

mod common;

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use common::{PAGE, file, map};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use vasmem_memory::Ordering::{Acquire, Relaxed, Release, SeqCst};
use vasmem_memory::{Access, MapError, Mapped, Medium, Memory, Offset, Tap};

fn read_only(fd: impl AsFd, reserve: u64) -> Mapped {
    Mapped::map(fd.as_fd(), reserve, Access::ReadOnly, Medium::Volatile).unwrap()
}

fn on_lines(fd: impl AsFd, reserve: u64) -> Mapped {
    Mapped::map(fd.as_fd(), reserve, Access::ReadWrite, Medium::CacheLine).unwrap()
}

#[test]
fn two_mappings_of_a_file_share_it() {
    let fd = file(PAGE);
    let (one, other) = (map(&fd, PAGE), map(&fd, 4 * PAGE));
    assert_ne!(one.base_address(), other.base_address());
    one.store(8, 5, Release);
    assert_eq!(other.load(8, Acquire), 5);
    assert_eq!(other.cas(8, 5, 6, SeqCst, Relaxed), Ok(5));
    assert_eq!(other.cas(8, 5, 7, SeqCst, Relaxed), Err(6));
    assert_eq!(one.load(8, Acquire), 6);
    one.copy_in(17, b"hello");
    let mut bytes = [0; 5];
    other.copy_out(17, &mut bytes);
    assert_eq!(&bytes, b"hello");
    assert!(!one.poisoned() && !other.poisoned());
}

#[test]
fn it_keeps_the_file_open_itself() {
    let fd = file(PAGE);
    let memory = map(&fd, PAGE);
    drop(fd);
    assert_eq!(memory.file_size().unwrap(), PAGE);
    memory.allocate(0, 2 * PAGE).unwrap();
    assert_eq!(memory.file_size().unwrap(), 2 * PAGE);
}

#[test]
fn growth_needs_no_new_mapping() {
    let fd = file(0);
    let (writer, reader) = (map(&fd, 1 << 36), read_only(&fd, 1 << 36));
    assert_eq!(writer.reserved(), 1 << 36);
    for pages in [1, 2, 64] {
        let end = pages * PAGE;
        writer.allocate(end / 2, end - end / 2).unwrap();
        assert_eq!(reader.file_size().unwrap(), end);
        writer.store(end - 8, pages, Relaxed);
        assert_eq!(reader.load(end - 8, Relaxed), pages);
    }
    assert!(!writer.poisoned() && !reader.poisoned());
}

#[test]
fn the_limit_only_rises_and_stays_in_the_reservation() {
    let memory = map(&file(PAGE), 8 * PAGE);
    assert_eq!(memory.limit(), 0);
    memory.set_limit(2 * PAGE);
    memory.set_limit(PAGE);
    assert_eq!(memory.limit(), 2 * PAGE);
    memory.set_limit(u64::MAX);
    assert_eq!(memory.limit(), 8 * PAGE);
}

#[test]
fn the_limit_is_raised_no_further_than_the_file() {
    let memory = map(&file(PAGE), 8 * PAGE);
    memory.raise_limit(4 * PAGE);
    assert_eq!(memory.limit(), PAGE);
    memory.allocate(PAGE, 4 * PAGE).unwrap();
    memory.raise_limit(4 * PAGE);
    assert_eq!(memory.limit(), 4 * PAGE);
}

#[test]
fn allocation_that_cannot_be_is_an_error() {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("vasmem-test", flags).unwrap();
    let memory = map(&fd, 4 * PAGE);
    memory.allocate(0, PAGE).unwrap();
    assert!(memory.allocate(u64::MAX, 2).is_err());
    memory.allocate(2 * PAGE, 0).unwrap();
    fcntl_add_seals(&fd, SealFlags::GROW).unwrap();
    let error = memory.allocate(PAGE, PAGE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(memory.file_size().unwrap(), PAGE);
}

#[test]
fn punched_space_reads_as_zeros_and_can_be_taken_again() {
    let memory = map(&file(4 * PAGE), 4 * PAGE);
    for page in 0..4 {
        memory.store(page * PAGE, 9, Relaxed);
    }
    memory.punch(PAGE, 2 * PAGE).unwrap();
    memory.punch(0, 0).unwrap();
    let words = [0, 1, 2, 3].map(|page| memory.load(page * PAGE, Relaxed));
    assert_eq!(words, [9, 0, 0, 9]);
    memory.allocate(PAGE, 2 * PAGE).unwrap();
    memory.store(PAGE, 1, Relaxed);
    assert_eq!(memory.load(PAGE, Relaxed), 1);
    assert_eq!(memory.file_size().unwrap(), 4 * PAGE);
}

#[test]
fn a_read_only_mapping_refuses_writes() {
    let fd = file(PAGE);
    map(&fd, PAGE).store(0, 7, Relaxed);
    let writes: [fn(&Mapped); 4] = [
        |m| m.store(0, 1, Relaxed),
        |m| m.copy_in(3, b"x"),
        |m| m.copy_in(0, &[1; 3000]),
        |m| assert_eq!(m.cas(0, 7, 8, SeqCst, Relaxed), Err(!7)),
    ];
    for write in writes {
        let memory = read_only(&fd, PAGE);
        assert!(!memory.writable());
        assert_eq!(memory.load(0, Relaxed), 7);
        memory.flush(0, 8);
        memory.drain();
        assert!(!memory.poisoned());
        write(&memory);
        assert!(memory.poisoned());
        assert_eq!(memory.load(0, Relaxed), 7);
    }
}

#[test]
fn a_read_only_descriptor_maps_for_reading_only() {
    let readable = std::fs::File::open("/proc/self/exe").unwrap();
    let head = read_only(&readable, PAGE).load(0, Relaxed).to_le_bytes();
    assert_eq!(&head[..4], b"\x7fELF");
    let refused = Mapped::map(readable.as_fd(), PAGE, Access::ReadWrite, Medium::Volatile);
    assert!(matches!(refused, Err(MapError::Refused { reserve: PAGE, .. })), "{refused:?}");
}

#[test]
fn what_cannot_be_mapped_is_an_error() {
    let fd = file(PAGE);
    for bytes in [0, u64::MAX, u64::MAX - PAGE, 1 << 63] {
        let refused = Mapped::map(fd.as_fd(), bytes, Access::ReadWrite, Medium::Volatile);
        assert!(matches!(refused, Err(MapError::BadSize(_))), "{refused:?}");
    }
    let refused = Mapped::map(fd.as_fd(), 1 << 62, Access::ReadWrite, Medium::Volatile);
    let error = refused.unwrap_err();
    assert!(matches!(error, MapError::Refused { .. }));
    assert!(error.to_string().starts_with("cannot map 4611686018427387904 bytes: "));
    let (pipe, _) = rustix::pipe::pipe().unwrap();
    let refused = Mapped::map(pipe.as_fd(), PAGE, Access::ReadOnly, Medium::Volatile);
    assert!(matches!(refused, Err(MapError::Refused { .. })), "{refused:?}");
}

#[test]
fn emulated_media_say_so() {
    let memory = on_lines(file(PAGE), PAGE);
    assert!(memory.needs_flush());
    assert!(!memory.synchronous(), "memory is no DAX mount");
    assert!(!map(&file(PAGE), PAGE).needs_flush());
    memory.sync().unwrap();
}

/// What a tap was told.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Store(Offset, Vec<u8>),
    Flush(Offset, u64),
    Fence,
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    fn note(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    fn taken(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Tap for Recorder {
    fn store(&self, at: Offset, bytes: &[u8]) {
        self.note(Event::Store(at, bytes.to_vec()));
    }

    fn flush(&self, at: Offset, len: u64) {
        self.note(Event::Flush(at, len));
    }

    fn fence(&self) {
        self.note(Event::Fence);
    }
}

#[test]
fn the_tap_sees_all_writes_in_order() {
    let memory = on_lines(file(PAGE), PAGE);
    let recorder = Arc::new(Recorder::default());
    memory.store(0, 1, Relaxed);
    memory.tap(Some(recorder.clone()));
    memory.store(8, 2, Release);
    memory.copy_in(13, b"abc");
    memory.flush(8, 8);
    memory.fence(SeqCst);
    memory.drain();
    assert_eq!(memory.cas(8, 9, 3, SeqCst, Relaxed), Err(memory.load(8, Relaxed)));
    let word = memory.load(0, Relaxed);
    assert_eq!(memory.cas(0, word, 3, SeqCst, Relaxed), Ok(1));
    memory.copy_in(100, &[5; 3000]);
    assert_eq!(
        recorder.taken(),
        [
            Event::Store(8, vec![2, 0, 0, 0, 0, 0, 0, 0]),
            Event::Store(13, b"abc".to_vec()),
            Event::Flush(8, 8),
            Event::Fence,
            Event::Store(0, vec![3, 0, 0, 0, 0, 0, 0, 0]),
            Event::Store(100, vec![5; 3000]),
        ]
    );
    assert_eq!(memory.load(0, Relaxed), 3);
    assert!(!memory.poisoned());

    memory.tap(None);
    memory.store(16, 4, Relaxed);
    memory.flush(16, 8);
    memory.drain();
    assert_eq!(memory.load(16, Relaxed), 4);
    assert_eq!(recorder.taken(), []);
}

#[test]
fn the_tap_hears_of_nothing_that_did_not_happen() {
    let recorder = Arc::new(Recorder::default());
    let volatile = map(&file(PAGE), PAGE);
    volatile.tap(Some(recorder.clone()));
    volatile.flush(0, 8);
    volatile.drain();
    assert_eq!(recorder.taken(), [], "this medium asks for no flushes");
    volatile.store(PAGE, 1, Relaxed);
    volatile.store(4, 1, Relaxed);
    volatile.copy_in(PAGE - 1, b"xy");
    assert!(volatile.cas(PAGE, 0, 1, SeqCst, Relaxed).is_err());
    let lines = on_lines(file(PAGE), PAGE);
    lines.tap(Some(recorder.clone()));
    lines.flush(PAGE, 1);
    assert_eq!(recorder.taken(), []);
    assert!(volatile.poisoned() && lines.poisoned());
}

#[test]
fn the_record_is_in_the_order_of_the_memory() {
    const THREADS: u64 = 3;
    const TURNS: u64 = 5_000;
    let memory = map(&file(PAGE), PAGE);
    let recorder = Arc::new(Recorder::default());
    memory.tap(Some(recorder.clone()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..TURNS {
                    let mut seen = memory.load(0, Relaxed);
                    while let Err(found) = memory.cas(0, seen, seen + 1, SeqCst, Relaxed) {
                        seen = found;
                    }
                }
            });
        }
    });
    let counted = (1..=THREADS * TURNS).map(|n: u64| Event::Store(0, n.to_le_bytes().to_vec()));
    assert!(recorder.taken().into_iter().eq(counted));
}

#[test]
fn racing_copies_are_whole_once_validated() {
    // A sequence lock over 200 bytes that only relaxed copies touch.
    const LEN: usize = 200;
    const ROUNDS: u64 = 20_000;
    let memory = map(&file(PAGE), PAGE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                memory.store(0, 2 * round - 1, Relaxed);
                memory.fence(Release);
                memory.copy_in(11, &[round as u8; LEN]);
                memory.store(0, 2 * round, Release);
            }
        });
        let mut seen = 0;
        while seen < 2 * ROUNDS {
            let mut bytes = [0; LEN];
            let before = memory.load(0, Acquire);
            memory.copy_out(11, &mut bytes);
            memory.fence(Acquire);
            if before.is_multiple_of(2) && memory.load(0, Relaxed) == before {
                assert_eq!(bytes, [(before / 2) as u8; LEN]);
                seen = before;
            }
        }
    });
}
