//! Byte locks between real processes, and what a forked child does with them.
#![cfg(not(loom))]

mod common;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use common::{Child, End, file, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, setrlimit};
use vasmem_memory::{LockFile, generation};

const BYTE: u64 = 7;

/// One end each of a pipe: a process says something once and another waits for it.
struct Signal {
    receiver: OwnedFd,
    sender: OwnedFd,
}

impl Signal {
    fn new() -> Signal {
        let (receiver, sender) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        Signal { receiver, sender }
    }

    fn send(&self, value: u8) {
        assert_eq!(rustix::io::write(&self.sender, &[value]).unwrap(), 1);
    }

    /// Waits until it was sent, and leaves it to others.
    fn see(&self) {
        let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
        let mut events = [PollFd::new(&self.receiver, PollFlags::IN)];
        assert_eq!(poll(&mut events, Some(&patience)).unwrap(), 1, "no signal came");
    }

    fn wait(&self) -> u8 {
        self.see();
        let mut value = [0];
        let read = rustix::io::read(&self.receiver, &mut value).unwrap();
        assert_eq!(read, 1);
        value[0]
    }
}

fn open(fd: &OwnedFd) -> LockFile {
    LockFile::open_through(fd.as_fd()).unwrap()
}

/// A process that takes the byte and keeps it until it is killed.
fn holder(fd: &OwnedFd) -> Child {
    let ready = Signal::new();
    let child = fork(|| {
        let locks = open(fd);
        ready.send(u8::from(locks.try_exclusive(BYTE).unwrap()));
        loop {
            std::thread::park();
        }
    });
    assert_eq!(ready.wait(), 1);
    child
}

#[test]
fn an_exclusive_byte_is_one_owners() {
    let fd = file(0);
    let (one, other) = (open(&fd), open(&fd));
    assert!(!other.held_elsewhere(BYTE).unwrap());
    assert!(one.try_exclusive(BYTE).unwrap());
    assert!(one.try_exclusive(BYTE).unwrap(), "it is one's own");
    assert!(!one.held_elsewhere(BYTE).unwrap(), "one's own does not count");
    assert!(other.held_elsewhere(BYTE).unwrap());
    assert!(!other.try_exclusive(BYTE).unwrap());
    assert!(!other.try_shared(BYTE).unwrap());
    assert!(other.try_exclusive(BYTE + 1).unwrap(), "bytes are apart");
    one.unlock(BYTE).unwrap();
    one.unlock(BYTE).unwrap();
    assert!(other.try_exclusive(BYTE).unwrap());
}

#[test]
fn a_shared_byte_is_for_many() {
    let fd = file(0);
    let (one, other) = (open(&fd), open(&fd));
    assert!(one.try_shared(BYTE).unwrap());
    assert!(other.try_shared(BYTE).unwrap());
    assert!(!one.try_exclusive(BYTE).unwrap());
    assert!(one.held_elsewhere(BYTE).unwrap());
    other.unlock(BYTE).unwrap();
    assert!(one.try_exclusive(BYTE).unwrap());
    assert!(one.try_shared(BYTE).unwrap(), "goes down again");
    assert!(other.try_shared(BYTE).unwrap());
}

#[test]
fn dropping_gives_all_bytes_up() {
    let fd = file(0);
    let (one, other) = (open(&fd), open(&fd));
    for byte in [0, BYTE, i64::MAX as u64] {
        assert!(one.try_exclusive(byte).unwrap());
    }
    drop(one);
    for byte in [0, BYTE, i64::MAX as u64] {
        assert!(!other.held_elsewhere(byte).unwrap());
    }
}

#[test]
fn a_byte_beyond_the_last_is_an_error() {
    let locks = open(&file(0));
    let error = locks.try_shared(i64::MAX as u64 + 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn what_cannot_be_written_cannot_be_opened() {
    let directory = rustix::fs::open(
        "/",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let error = LockFile::open_through(directory.unwrap().as_fd()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
}

#[test]
fn a_killed_owner_frees_its_byte() {
    let fd = file(0);
    let locks = open(&fd);
    let child = holder(&fd);
    assert!(locks.held_elsewhere(BYTE).unwrap());
    assert!(!locks.try_exclusive(BYTE).unwrap());
    child.kill();
    assert_eq!(child.wait(), End::Signal(libc::SIGKILL));
    assert!(!locks.held_elsewhere(BYTE).unwrap());
    assert!(locks.try_exclusive(BYTE).unwrap());
}

#[test]
fn a_forked_child_sees_its_parents_byte_from_outside() {
    let fd = file(0);
    let locks = open(&fd);
    assert!(locks.try_exclusive(BYTE).unwrap());
    let child = fork(|| {
        let held = locks.held_elsewhere(BYTE).unwrap();
        let refused = !locks.try_exclusive(BYTE).unwrap();
        locks.unlock(BYTE).unwrap();
        i32::from(held && refused)
    });
    assert_eq!(child.wait(), End::Exit(1));
    assert!(open(&fd).held_elsewhere(BYTE).unwrap(), "the child took nothing away");
}

#[test]
fn a_forked_child_does_not_keep_a_dead_parents_byte() {
    let fd = file(0);
    let (ready, go_on, report) = (Signal::new(), Signal::new(), Signal::new());
    let parent = fork(|| {
        let locks = open(&fd);
        let locked = locks.try_exclusive(BYTE).unwrap();
        let grandchild = fork(|| {
            ready.send(u8::from(locked));
            go_on.wait();
            report.send(u8::from(locks.try_exclusive(BYTE).unwrap()));
            0
        });
        std::mem::forget(grandchild);
        loop {
            std::thread::park();
        }
    });
    assert_eq!(ready.wait(), 1);
    let locks = open(&fd);
    assert!(locks.held_elsewhere(BYTE).unwrap());
    parent.kill();
    parent.wait();
    assert!(!locks.held_elsewhere(BYTE).unwrap(), "though the grandchild lives");
    go_on.send(0);
    assert_eq!(report.wait(), 1, "and can take the byte for itself");
}

#[test]
fn a_child_that_cannot_reopen_has_no_locks_at_all() {
    let fd = file(0);
    let (ready, go_on) = (Signal::new(), Signal::new());
    let parent = fork(|| {
        let locks = open(&fd);
        assert!(locks.try_exclusive(BYTE).unwrap());
        // All descriptors below 1 are taken; `poll` takes as many as this.
        let no_more = Rlimit { current: Some(1), maximum: Some(1) };
        setrlimit(Resource::Nofile, no_more).unwrap();
        let grandchild = fork(|| {
            ready.send(u8::from(locks.try_shared(BYTE).is_err()));
            go_on.wait();
            0
        });
        std::mem::forget(grandchild);
        loop {
            std::thread::park();
        }
    });
    assert_eq!(ready.wait(), 1, "its operations are errors");
    let locks = open(&fd);
    assert!(locks.held_elsewhere(BYTE).unwrap(), "by the parent");
    parent.kill();
    parent.wait();
    assert!(!locks.held_elsewhere(BYTE).unwrap());
    go_on.send(0);
}

#[test]
fn the_generation_changes_in_each_child() {
    let here = generation();
    assert_ne!(here, 0);
    let child = fork(|| {
        let there = generation();
        let deeper = fork(|| i32::from(generation() != there && generation() != here));
        i32::from(there != here && deeper.wait() == End::Exit(1))
    });
    assert_eq!(child.wait(), End::Exit(1));
    assert_eq!(generation(), here);
}

/// Runs `work` while this thread forks children that live until `end` is sent.
fn among_forks(end: &Signal, work: impl FnOnce() + Send) -> Vec<Child> {
    let mut children = Vec::new();
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            children.push(fork(|| {
                end.see();
                0
            }));
        }
        working.join().unwrap();
    });
    assert!(!children.is_empty());
    children
}

#[test]
fn forks_at_any_moment_keep_no_byte_that_was_given_up() {
    let fd = file(0);
    let children = among_forks(&Signal::new(), || {
        for _ in 0..2000 {
            assert!(open(&fd).try_exclusive(BYTE).unwrap());
        }
    });
    assert!(!open(&fd).held_elsewhere(BYTE).unwrap());
    drop(children);
}

#[test]
fn forks_at_any_moment_keep_no_byte_of_the_dead() {
    const BYTES: u64 = 500;
    let fd = file(0);
    let (ready, end) = (Signal::new(), Signal::new());
    let parent = fork(|| {
        let children = among_forks(&end, || {
            for byte in 0..BYTES {
                let locks = open(&fd);
                assert!(locks.try_exclusive(byte).unwrap());
                std::mem::forget(locks);
            }
        });
        std::mem::forget(children);
        ready.send(0);
        loop {
            std::thread::park();
        }
    });
    ready.wait();
    let judge = open(&fd);
    assert!((0..BYTES).all(|byte| judge.held_elsewhere(byte).unwrap()));
    parent.kill();
    parent.wait();
    let held = || (0..BYTES).filter(|byte| judge.held_elsewhere(*byte).unwrap()).count();
    // The last child may not have run yet: it gives the bytes up as the first thing it does.
    let deadline = Instant::now() + Duration::from_secs(10);
    while held() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(held(), 0);
    end.send(0);
}
