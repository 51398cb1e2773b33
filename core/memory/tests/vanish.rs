//! Files that are cut off under a mapping, and SIGBUS that is none of our business.
#![allow(unsafe_code)]
#![cfg(not(loom))]

mod common;

use std::ffi::c_void;
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{End, PAGE, file, fork, map};
use rustix::fs::ftruncate;
use vasmem_memory::{Access, Mapped, Medium, Memory};

fn load(memory: &Mapped, at: u64) -> u64 {
    memory.load(at, Ordering::Relaxed)
}

#[test]
fn a_truncated_file_reads_zeros_and_poisons_its_mapping_alone() {
    let (fd, other_fd) = (file(4 * PAGE), file(PAGE));
    let (memory, other) = (map(&fd, 16 * PAGE), map(&other_fd, PAGE));
    for page in 0..4 {
        memory.store(page * PAGE, 1 + page, Ordering::Relaxed);
    }
    other.store(0, 9, Ordering::Relaxed);
    ftruncate(&fd, PAGE).unwrap();
    assert_eq!(load(&memory, 0), 1);
    assert!(!memory.poisoned(), "what is there can be used");

    assert_eq!(load(&memory, 2 * PAGE), 0);
    assert!(memory.poisoned());
    assert_eq!(load(&memory, 0), 1, "the rest is still there");

    memory.store(3 * PAGE, 5, Ordering::Relaxed);
    assert_eq!(memory.cas(3 * PAGE, 5, 6, Ordering::Relaxed, Ordering::Relaxed), Ok(5));
    assert_eq!(memory.file_size().unwrap(), PAGE, "lost, and nothing came back");
    assert_eq!(load(&other, 0), 9);
    assert!(!other.poisoned());
}

#[test]
fn every_kind_of_access_survives() {
    type Use = fn(&Mapped);
    let uses: [Use; 7] = [
        |m| assert_eq!(load(m, 8), 0),
        |m| m.store(8, 1, Ordering::Relaxed),
        |m| _ = m.cas(8, 0, 1, Ordering::Relaxed, Ordering::Relaxed),
        |m| {
            let mut bytes = [1; 100];
            m.copy_out(3, &mut bytes);
            assert_eq!(bytes, [0; 100]);
        },
        |m| {
            let mut bytes = vec![1; 3 * PAGE as usize];
            m.copy_out(3, &mut bytes);
            assert!(bytes.iter().all(|byte| *byte == 0));
        },
        |m| m.copy_in(3, &[1; 100]),
        |m| m.copy_in(3, &vec![1; 3 * PAGE as usize]),
    ];
    for (number, access) in uses.iter().enumerate() {
        let fd = file(4 * PAGE);
        let memory = map(&fd, 4 * PAGE);
        memory.copy_in(0, &[7; 4 * PAGE as usize]);
        ftruncate(&fd, 0).unwrap();
        access(&memory);
        assert!(memory.poisoned(), "use {number}");
    }
}

#[test]
fn flushing_what_vanished_survives() {
    let fd = file(PAGE);
    let memory = Mapped::map(fd.as_fd(), PAGE, Access::ReadWrite, Medium::CacheLine).unwrap();
    ftruncate(&fd, 0).unwrap();
    memory.flush(0, PAGE);
    memory.drain();
    assert_eq!(load(&memory, 0), 0);
    assert!(memory.poisoned());
}

#[test]
fn a_read_only_mapping_stays_read_only() {
    let fd = file(PAGE);
    let memory = Mapped::map(fd.as_fd(), PAGE, Access::ReadOnly, Medium::Volatile).unwrap();
    ftruncate(&fd, 0).unwrap();
    assert_eq!(load(&memory, 0), 0);
    assert!(memory.poisoned());
    let line = maps_in(memory.base_address(), PAGE).remove(0);
    assert!(line.contains(" r--p "), "{line}");
}

#[test]
fn a_vast_hole_costs_few_mappings() {
    let fd = file(0);
    let memory = map(&fd, 4096 * PAGE);
    for page in 0..4096 {
        assert_eq!(load(&memory, page * PAGE), 0);
    }
    for page in (0..4096).rev() {
        memory.store(page * PAGE, 1, Ordering::Relaxed);
    }
    assert!(memory.poisoned());
    let count = maps_in(memory.base_address(), 4096 * PAGE).len();
    assert!(count < 64, "{count} mappings");
}

#[test]
fn a_hole_walked_downwards_ends_too() {
    let fd = file(0);
    let memory = map(&fd, 4096 * PAGE);
    for page in (0..4096).rev() {
        assert_eq!(load(&memory, page * PAGE), 0);
    }
}

#[test]
fn many_threads_can_fall_into_one_hole() {
    let fd = file(0);
    let memory = map(&fd, 512 * PAGE);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for page in 0..512 {
                    assert_eq!(load(&memory, page * PAGE), 0);
                }
            });
        }
    });
    assert!(memory.poisoned());
}

#[test]
fn a_dropped_mapping_leaves_its_place_clean() {
    let fd = file(0);
    let memory = map(&fd, PAGE);
    assert_eq!(load(&memory, 0), 0);
    assert!(memory.poisoned());
    drop(memory);
    for _ in 0..3 {
        assert!(!map(&fd, PAGE).poisoned());
    }
}

#[test]
fn a_forked_child_survives_as_well() {
    let fd = file(PAGE);
    let memory = map(&fd, PAGE);
    ftruncate(&fd, 0).unwrap();
    let child = fork(|| i32::from(load(&memory, 0) == 0 && memory.poisoned()));
    assert_eq!(child.wait(), End::Exit(1));
    assert!(!memory.poisoned(), "this process touched nothing");
}

/// Touches a page past the end of a file that this crate did not map.
fn touch_foreign() -> i32 {
    let fd = file(0);
    // SAFETY: a fresh mapping; reading it is what faults.
    unsafe {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let length = PAGE as usize;
        let place = mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, &fd, 0);
        i32::from(place.unwrap().cast::<u8>().read_volatile())
    }
}

fn raise() -> i32 {
    // SAFETY: sends a signal to this thread.
    unsafe { libc::raise(libc::SIGBUS) }
}

/// What SIGBUS does in a process before it maps anything.
fn set_action(handler: usize, flags: i32) {
    // SAFETY: a zeroed action is valid, and `handler` is of the type that the flags tell.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()), 0);
    }
}

static SEEN: AtomicU32 = AtomicU32::new(0);

extern "C" fn plain_handler(signal: i32) {
    assert_eq!(signal, libc::SIGBUS);
    SEEN.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn full_handler(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel's `info`, handed through.
    let same = unsafe { (*info).si_signo } == signal;
    SEEN.fetch_add(if same { 10 } else { 1000 }, Ordering::Relaxed);
}

extern "C" fn ending_handler(_: i32) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(42) }
}

/// Runs one case of [`what_is_not_ours_goes_on`] in a process that has mapped nothing yet, as the
/// handler that is chained to is the one found by the first mapping.
fn in_fresh_process(case: &str) -> End {
    let binary = std::env::current_exe().unwrap();
    let mut command = Command::new(binary);
    command.args(["--exact", "what_is_not_ours_goes_on", "--nocapture"]);
    command.env(CASE, case).stdout(Stdio::null());
    let status = command.stderr(Stdio::null()).status().unwrap();
    status.signal().map_or_else(|| End::Exit(status.code().unwrap()), End::Signal)
}

const CASE: &str = "VASMEM_TEST_CASE";

fn run_case(case: &str) -> i32 {
    match case {
        "default" | "default raised" => set_action(libc::SIG_DFL, 0),
        "ignored" | "ignored raised" => set_action(libc::SIG_IGN, 0),
        "plain" => set_action(plain_handler as extern "C" fn(i32) as usize, 0),
        "full" => set_action(full_handler as *const () as usize, libc::SA_SIGINFO),
        "ending" => set_action(ending_handler as extern "C" fn(i32) as usize, 0),
        _ => return 99,
    }
    let fd = file(0);
    let memory = map(&fd, PAGE);
    assert_eq!(load(&memory, 0), 0, "ours is answered here");
    assert_eq!(SEEN.load(Ordering::Relaxed), 0);
    match case {
        "default" | "ignored" | "ending" => touch_foreign(),
        _ => raise(),
    };
    SEEN.load(Ordering::Relaxed) as i32
}

#[test]
fn what_is_not_ours_goes_on() {
    if let Ok(case) = std::env::var(CASE) {
        std::process::exit(run_case(&case));
    }
    let killed = End::Signal(libc::SIGBUS);
    assert_eq!(in_fresh_process("default"), killed);
    assert_eq!(in_fresh_process("default raised"), killed);
    assert_eq!(in_fresh_process("ignored"), killed, "a fault cannot be ignored");
    assert_eq!(in_fresh_process("ignored raised"), End::Exit(0));
    assert_eq!(in_fresh_process("plain"), End::Exit(1));
    assert_eq!(in_fresh_process("full"), End::Exit(10));
    assert_eq!(in_fresh_process("ending"), End::Exit(42));
}

/// The lines of the process's map that lie in the range.
fn maps_in(start: usize, bytes: u64) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let inside = |line: &&str| {
        let from = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        (start..start + bytes as usize).contains(&from)
    };
    maps.lines().filter(inside).map(str::to_owned).collect()
}
