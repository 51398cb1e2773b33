//! Faults on mapped files that vanished: a page takes their place and the mapping is poisoned.
//!
//! A file may be truncated under a mapping, or have a hole that a full file system cannot fill.
//! Touching such a page raises SIGBUS. The handler here looks the address up in a fixed table of
//! watched ranges, without locks; whatever is not ours goes to the handler that was there before.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use libc::{c_int, sigaction, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::param::page_size;

use crate::words::Window;

/// Mappings that one process can have.
const RANGES: usize = 4096;

/// Faults of one mapping that are answered with a single page; later ones with ever larger
/// stretches, as each may cost the process one of its limited number of mappings.
const SINGLE_PAGES: u32 = 16;

/// A watched range. It outlives its mapping, so the handler never follows a stale pointer.
struct Range {
    /// First address; `FREE`, or `CLAIMED` while the other fields are being set.
    start: AtomicUsize,
    end: AtomicUsize,
    writable: AtomicBool,
    poisoned: AtomicBool,
    /// Index of the entry that is poisoned with it: another one if its bytes are mapped twice.
    told: AtomicUsize,
    faults: AtomicU32,
}

const FREE: usize = 0;
const CLAIMED: usize = 1;

static TABLE: [Range; RANGES] = [const {
    Range {
        start: AtomicUsize::new(FREE),
        end: AtomicUsize::new(0),
        writable: AtomicBool::new(false),
        poisoned: AtomicBool::new(false),
        told: AtomicUsize::new(0),
        faults: AtomicU32::new(0),
    }
}; RANGES];

/// Entries of the table that were ever in use.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Whether the handler is in place.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// What SIGBUS did before; set before the handler is in place, then never changed.
static PREVIOUS: AtomicPtr<sigaction> = AtomicPtr::new(ptr::null_mut());

/// A mapping's entry in the table, given back when dropped.
pub(crate) struct Guard {
    range: &'static Range,
    index: usize,
}

impl Guard {
    /// Watches the window's range until dropped; `None` if the table is full.
    pub(crate) fn watch(window: &Window) -> io::Result<Option<Guard>> {
        Guard::watch_for(window, None)
    }

    /// As `watch`; a fault in it poisons `other`, which watches another mapping of the same bytes.
    pub(crate) fn watch_for(window: &Window, other: Option<&Guard>) -> io::Result<Option<Guard>> {
        install()?;
        let claim = |range: &Range| {
            let start = &range.start;
            start.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let Some(index) = TABLE.iter().position(claim) else {
            return Ok(None);
        };
        let range = &TABLE[index];
        let start = window.base().addr().get();
        range.end.store(start + window.bytes() as usize, Ordering::Relaxed);
        range.writable.store(window.is_writable(), Ordering::Relaxed);
        range.poisoned.store(false, Ordering::Relaxed);
        range.told.store(other.map_or(index, |other| other.index), Ordering::Relaxed);
        range.faults.store(0, Ordering::Relaxed);
        USED.fetch_max(index + 1, Ordering::Relaxed);
        range.start.store(start, Ordering::Release);
        Ok(Some(Guard { range, index }))
    }

    #[inline]
    pub(crate) fn poisoned(&self) -> bool {
        self.range.poisoned.load(Ordering::Relaxed)
    }

    pub(crate) fn poison(&self) {
        self.range.poisoned.store(true, Ordering::Relaxed);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.range.start.store(FREE, Ordering::Release);
    }
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Installs the handler if it is not there yet. Threads may race, and a fork may come between any
/// two steps: each may be repeated.
fn install() -> io::Result<()> {
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    let ours = on_sigbus as Handler as usize;
    // SAFETY: all zeros is a valid `sigaction`, and both calls get valid pointers to one. What was
    // there is stored before the handler can run.
    unsafe {
        let mut before: sigaction = mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        if before.sa_sigaction == ours {
            return Ok(());
        }
        let before = Box::into_raw(Box::new(before));
        let stored =
            PREVIOUS.compare_exchange(ptr::null_mut(), before, Ordering::AcqRel, Ordering::Acquire);
        if stored.is_err() {
            drop(Box::from_raw(before));
        }
        let mut action: sigaction = mem::zeroed();
        action.sa_sigaction = ours;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// Everything from here on runs in a signal handler: no locks, no allocation.
extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid `info`; for these codes it holds an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let vanished = matches!(code, libc::BUS_ADRERR | libc::BUS_OBJERR | libc::BUS_MCEERR_AR);
    // SAFETY: this thread's own errno, which the interrupted code must find unchanged.
    let errno = unsafe { &mut *libc::__errno_location() };
    let kept = *errno;
    let healed = vanished && heal(address);
    *errno = kept;
    if !healed {
        pass_on(signal, info, context, code > 0);
    }
}

/// Puts zeroed memory at `address` if it is in a watched range, and poisons the range.
fn heal(address: usize) -> bool {
    let used = USED.load(Ordering::Relaxed);
    let hit = TABLE[..used].iter().find_map(|range| {
        let start = range.start.load(Ordering::Acquire);
        let end = range.end.load(Ordering::Relaxed);
        (start > CLAIMED && start <= address && address < end).then_some((range, end))
    });
    let Some((range, end)) = hit else {
        return false;
    };
    TABLE[range.told.load(Ordering::Relaxed)].poisoned.store(true, Ordering::Relaxed);
    let faults = range.faults.fetch_add(1, Ordering::Relaxed);
    let page = page_size();
    let place = address & !(page - 1);
    let doublings = faults.saturating_sub(SINGLE_PAGES).min(31);
    let length = page.saturating_mul(1 << doublings).min(end - place);
    let mut protection = ProtFlags::READ;
    if range.writable.load(Ordering::Relaxed) {
        protection |= ProtFlags::WRITE;
    }
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: the faulting thread is in the middle of an access to this range, so its mapping
    // lives, and shared bytes may change to zeros as they may change to anything else. The call
    // is a plain system call; the page size was asked for before, when the range was mapped.
    unsafe { mmap_anonymous(ptr::with_exposed_provenance_mut(place), length, protection, flags) }
        .is_ok()
}

/// Does what would have happened without this handler. `raised`: by the kernel for a fault, which
/// comes again when the handler returns, rather than sent by someone.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, raised: bool) {
    // SAFETY: stored before the handler was installed, valid and unchanged ever since.
    let previous = unsafe { &*PREVIOUS.load(Ordering::Acquire) };
    match previous.sa_sigaction {
        libc::SIG_IGN if !raised => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: a zeroed action is the default one. The signal, blocked now, comes when the
            // handler returns: by the fault itself, or as sent again here.
            unsafe {
                let default: sigaction = mem::zeroed();
                libc::sigaction(signal, &default, ptr::null_mut());
                if !raised {
                    libc::raise(signal);
                }
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with this flag it is a function of this type, by whoever installed it.
            let handler: Handler = unsafe { mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag it is a function of this type.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}
