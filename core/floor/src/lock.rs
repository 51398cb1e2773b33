//! One lock over the whole table, as most programs would take it: a mutex of the C library.
#![allow(unsafe_code)]

use std::io;

/// A mutex in shared memory. It is not robust: whoever dies while holding it blocks all others.
pub struct Mutex(*mut libc::pthread_mutex_t);

// SAFETY: a mutex that was made PTHREAD_PROCESS_SHARED may be used by any thread of any process.
unsafe impl Send for Mutex {}
// SAFETY: as above.
unsafe impl Sync for Mutex {}

/// Unlocks when it goes.
pub struct Held<'a>(&'a Mutex);

impl Mutex {
    /// Makes one in the memory at `place`, or takes the one that is there.
    ///
    /// # Safety
    /// `place` is aligned to 64, in shared memory that stays mapped as long as this lives, and has
    /// room for a mutex, which nobody else overwrites.
    pub unsafe fn at(place: *mut u8, make: bool) -> io::Result<Mutex> {
        let mutex = place.cast::<libc::pthread_mutex_t>();
        if make {
            let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
            // SAFETY: the attributes are initialised before they are used; the place is ours.
            let made = unsafe {
                libc::pthread_mutexattr_init(attributes.as_mut_ptr());
                libc::pthread_mutexattr_setpshared(
                    attributes.as_mut_ptr(),
                    libc::PTHREAD_PROCESS_SHARED,
                );
                libc::pthread_mutex_init(mutex, attributes.as_ptr())
            };
            if made != 0 {
                return Err(io::Error::from_raw_os_error(made));
            }
        }
        Ok(Mutex(mutex))
    }

    /// Waits until nobody holds it.
    #[inline]
    pub fn hold(&self) -> Held<'_> {
        // SAFETY: `at` saw to it that a mutex is there.
        unsafe { libc::pthread_mutex_lock(self.0) };
        Held(self)
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: locked by this thread, as `hold` is the only way to one.
        unsafe { libc::pthread_mutex_unlock(self.0.0) };
    }
}
