//! Which threads may touch which regions: by protection keys, or by `mprotect` for all threads.
//!
//! A domain is a set of regions. A thread that enters it may read and write them until it leaves;
//! a thread that has not entered gets a SIGSEGV, whatever code of it tries. With keys, entering is
//! one write of the thread's PKRU register; a processor has 15 keys for use, and one that nobody is
//! inside of goes to the domain that needs it (its regions are closed by `mprotect` meanwhile).
//! Without keys the regions are open for all threads while one is inside.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use libc::{PROT_NONE, PROT_READ, PROT_WRITE, c_int, c_long};

/// Key of what every thread may touch.
pub(crate) const PLAIN: u32 = 0;
/// In [`Domain::state`]: the key above, the number of entries below.
const KEY_SHIFT: u32 = 32;
const PKEY_DISABLE_ACCESS: c_long = 1;

/// Mapped bytes, and what may be done with them inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) at: usize,
    pub(crate) bytes: usize,
    pub(crate) protection: c_int,
}

/// A set of regions that only threads inside may touch.
#[derive(Debug)]
pub struct Domain {
    /// Key, 0 for none, and entries that have not been left.
    state: AtomicU64,
    parts: Mutex<Vec<Part>>,
    by_keys: bool,
}

thread_local! {
    /// Where this thread is, innermost last, and its PKRU before it entered.
    static INSIDE: RefCell<Vec<(Arc<Domain>, u32)>> = const { RefCell::new(Vec::new()) };
}

/// A mapping's place in a domain, given up when dropped, which must be before it is unmapped.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) domain: Arc<Domain>,
    pub(crate) at: usize,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.domain.let_go(self.at);
    }
}

/// Who has which key. Locked before the parts of any domain.
static OWNERS: Mutex<Vec<(u32, Weak<Domain>)>> = Mutex::new(Vec::new());
/// The bits that forbid all keys of ours.
static CLOSED: AtomicU32 = AtomicU32::new(0);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the processor and the system have protection keys for this process.
pub fn has_keys() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let Some(key) = new_key() else { return false };
        // SAFETY: allocated just now, and nothing is mapped with it.
        unsafe { libc::syscall(libc::SYS_pkey_free, c_long::from(key)) };
        true
    })
}

fn new_key() -> Option<u32> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    // SAFETY: takes no memory; it changes the register of this thread for the new key alone.
    let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0 as c_long, PKEY_DISABLE_ACCESS) };
    u32::try_from(key).ok().filter(|&key| key != PLAIN)
}

pub(crate) fn denied(key: u32) -> u32 {
    0b11 << (2 * key)
}

/// A key for as long as the process lives, which no thread has; `None` without keys, or if threads
/// are inside of domains with all of them.
pub(crate) fn keep_key() -> Option<u32> {
    new_key().or_else(|| free_key(&mut locked(&OWNERS)))
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn rights() -> u32 {
    let rights: u32;
    // SAFETY: only reached where the system has given out a key, so the instruction is there.
    unsafe {
        core::arch::asm!("rdpkru", in("ecx") 0, out("eax") rights, out("edx") _,
            options(nomem, nostack, preserves_flags));
    }
    rights
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn set_rights(rights: u32) {
    // SAFETY: as above; it opens and closes nothing but memory with keys of ours. Not `nomem`:
    // no access may move across it.
    unsafe {
        core::arch::asm!("wrpkru", in("eax") rights, in("ecx") 0, in("edx") 0,
            options(nostack, preserves_flags));
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn rights() -> u32 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn set_rights(_: u32) {}

/// Sets protection and key of some parts.
pub(crate) fn protect(parts: &[Part], open: bool, key: u32, by_keys: bool) -> io::Result<()> {
    for part in parts {
        let protection = if open { part.protection } else { PROT_NONE };
        let (at, bytes) = (part.at, part.bytes);
        // SAFETY: a region that its owner took in and takes out before it is unmapped; nobody has
        // a reference to its bytes.
        let done = unsafe {
            if by_keys {
                let key = key as c_long;
                libc::syscall(libc::SYS_pkey_mprotect, at, bytes, c_long::from(protection), key)
            } else {
                c_long::from(libc::mprotect(at as *mut libc::c_void, bytes, protection))
            }
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

impl Domain {
    /// An empty one. With `by_keys`, [`has_keys`] must be true.
    pub fn new(by_keys: bool) -> Arc<Domain> {
        Arc::new(Domain { state: AtomicU64::new(0), parts: Mutex::default(), by_keys })
    }

    fn key(&self) -> u32 {
        (self.state.load(SeqCst) >> KEY_SHIFT) as u32
    }

    fn entries(&self) -> u32 {
        self.state.load(SeqCst) as u32
    }

    /// Takes in mapped pages; from now on only threads inside may touch them.
    ///
    /// # Errors
    /// The system's; nothing was taken in then.
    pub(crate) fn take_in(&self, at: usize, bytes: usize, writable: bool) -> io::Result<()> {
        let owners = locked(&OWNERS);
        let mut parts = locked(&self.parts);
        let protection = if writable { PROT_READ | PROT_WRITE } else { PROT_READ };
        let part = Part { at, bytes, protection };
        let open = self.key() != PLAIN || (!self.by_keys && self.entries() > 0);
        protect(&[part], open, self.key(), self.by_keys)?;
        parts.push(part);
        drop(owners);
        Ok(())
    }

    /// Lets pages go that are about to be unmapped; any thread may touch them until then.
    pub(crate) fn let_go(&self, at: usize) {
        let _owners = locked(&OWNERS);
        let mut parts = locked(&self.parts);
        if let Some(place) = parts.iter().position(|part| part.at == at) {
            let part = parts.swap_remove(place);
            // Who is about to unmap them can do nothing about a refusal.
            let _ = protect(&[part], true, PLAIN, self.by_keys);
        }
    }

    /// Enters, which [`Domain::leave`] ends. False, and nothing happened, if all keys are in use
    /// by others.
    ///
    /// # Errors
    /// The system's; nothing happened then.
    pub fn enter(self: &Arc<Domain>) -> io::Result<bool> {
        if !self.by_keys {
            self.enter_all()?;
            INSIDE.with_borrow_mut(|inside| inside.push((self.clone(), 0)));
            return Ok(true);
        }
        let Some(key) = self.hold_key()? else { return Ok(false) };
        let before = rights();
        INSIDE.with_borrow_mut(|inside| inside.push((self.clone(), before)));
        set_rights((before | CLOSED.load(SeqCst)) & !denied(key));
        Ok(true)
    }

    /// Counts this entry in, so that the key stays; which one it is.
    fn hold_key(self: &Arc<Domain>) -> io::Result<Option<u32>> {
        let mut seen = self.state.load(SeqCst);
        while seen >> KEY_SHIFT != 0 {
            match self.state.compare_exchange_weak(seen, seen + 1, SeqCst, SeqCst) {
                Ok(_) => return Ok(Some((seen >> KEY_SHIFT) as u32)),
                Err(now) => seen = now,
            }
        }
        self.get_key()
    }

    #[cold]
    fn get_key(self: &Arc<Domain>) -> io::Result<Option<u32>> {
        let mut owners = locked(&OWNERS);
        let key = match self.key() {
            PLAIN => match new_key().or_else(|| free_key(&mut owners)) {
                Some(key) => key,
                None => return Ok(None),
            },
            key => {
                self.state.fetch_add(1, SeqCst);
                return Ok(Some(key));
            }
        };
        CLOSED.fetch_or(denied(key), SeqCst);
        owners.push((key, Arc::downgrade(self)));
        protect(&locked(&self.parts), true, key, true)?;
        self.state.store(u64::from(key) << KEY_SHIFT | 1, SeqCst);
        Ok(Some(key))
    }

    fn enter_all(&self) -> io::Result<()> {
        let _owners = locked(&OWNERS);
        if self.entries() == 0 {
            protect(&locked(&self.parts), true, PLAIN, false)?;
        }
        self.state.fetch_add(1, SeqCst);
        Ok(())
    }

    /// Whether this thread may touch the regions: it entered last, or inherited the right.
    pub fn is_inside(&self) -> bool {
        if self.by_keys {
            let key = self.key();
            return key != PLAIN && rights() & denied(key) == 0;
        }
        self.is_current()
    }

    /// Whether this is the domain that this thread entered last and has not left.
    pub fn is_current(&self) -> bool {
        INSIDE.with_borrow(|inside| {
            inside.last().is_some_and(|(domain, _)| std::ptr::eq(&raw const **domain, self))
        })
    }

    /// Leaves; false, and nothing happened, unless it is the one that this thread entered last.
    pub fn leave(&self) -> bool {
        leave(self)
    }

    /// Runs `body` inside, for what must be tidied up wherever this thread is.
    pub fn visit<T>(self: &Arc<Domain>, body: impl FnOnce() -> T) -> T {
        if matches!(self.enter(), Ok(true)) {
            let done = body();
            self.leave();
            return done;
        }
        // All keys are in use, or the system has no room: open it for everyone meanwhile.
        let parts = locked(&self.parts).clone();
        let _ = protect(&parts, true, PLAIN, self.by_keys);
        let done = body();
        let _owners = locked(&OWNERS);
        let key = self.key();
        let _ = protect(&parts, key != PLAIN, key, self.by_keys);
        done
    }
}

fn leave(domain: &Domain) -> bool {
    if !domain.is_current() {
        return false;
    }
    let Some((domain, before)) = INSIDE.with_borrow_mut(Vec::pop) else { return false };
    if domain.by_keys {
        set_rights(before);
        domain.state.fetch_sub(1, SeqCst);
        return true;
    }
    let _owners = locked(&OWNERS);
    if domain.state.fetch_sub(1, SeqCst) == 1 {
        // What cannot be closed stays open, for which nobody here can do anything.
        let _ = protect(&locked(&domain.parts), false, PLAIN, false);
    }
    true
}

/// A key of a domain that no thread is inside of, or that is gone; its regions are closed.
fn free_key(owners: &mut Vec<(u32, Weak<Domain>)>) -> Option<u32> {
    let place = owners.iter().position(|(key, owner)| {
        let Some(owner) = owner.upgrade() else { return true };
        let idle = u64::from(*key) << KEY_SHIFT;
        owner.state.compare_exchange(idle, 0, SeqCst, SeqCst).is_ok()
    })?;
    let (key, owner) = owners.remove(place);
    if let Some(owner) = owner.upgrade() {
        let _ = protect(&locked(&owner.parts), false, PLAIN, true);
    }
    Some(key)
}
